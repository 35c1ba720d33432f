//! A directory on disk held against the model of it.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use super::entries::FIRST_TIME;
use super::model::{Model, Node};

impl Model {
    /// Compares a directory on disk with the model, and the number of its inodes with what unpacking counted.
    pub(super) fn compare(&self, root: &Path, counted: u64) {
        let mut inodes = HashSet::new();
        let mut paired = BTreeMap::new();
        self.compare_node(0, root, &mut inodes, &mut paired);
        assert_eq!(counted, inodes.len() as u64, "inodes were counted wrong");
    }

    fn compare_node(
        &self,
        node: usize,
        path: &Path,
        inodes: &mut HashSet<u64>,
        paired: &mut BTreeMap<usize, u64>,
    ) {
        let meta = path.symlink_metadata().expect("what the model has is there");
        inodes.insert(meta.ino());
        assert_eq!(
            *paired.entry(node).or_insert(meta.ino()),
            meta.ino(),
            "{path:?} is another file"
        );
        let kind = meta.file_type();
        match &self.nodes[node] {
            Node::File(content) => assert_eq!(std::fs::read(path).expect("a file"), [*content], "{path:?}"),
            Node::Symlink(target) => {
                assert_eq!(
                    std::fs::read_link(path).expect("a link"),
                    Path::new(target),
                    "{path:?}"
                );
            }
            Node::Fifo => assert!(kind.is_fifo(), "{path:?}"),
            Node::Whiteout => assert!(kind.is_char_device() && meta.rdev() == 0, "{path:?}"),
            Node::Directory { names, opaque, time } => {
                assert!(kind.is_dir(), "{path:?}");
                if let Some(time) = time {
                    let time = FIRST_TIME + u64::from(*time);
                    assert_eq!(meta.mtime(), time as i64, "{path:?} has another time");
                }
                let mut value = [0; 4];
                let set = rustix::fs::lgetxattr(path, "trusted.overlay.opaque", &mut value[..]).is_ok();
                assert_eq!(set, *opaque, "{path:?} is opaque");
                let entries = std::fs::read_dir(path).expect("a directory");
                let mut found: Vec<_> = entries.map(|e| e.expect("an entry").file_name()).collect();
                found.sort();
                let expected: Vec<&str> = names.keys().map(String::as_str).collect();
                assert_eq!(found, expected, "{path:?}");
                for (name, child) in names {
                    self.compare_node(*child, &path.join(name), inodes, paired);
                }
            }
        }
    }
}
