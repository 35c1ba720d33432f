//! The content of layers, compared with what was listed while they were unpacked: `m/<n>/files` has a line
//! `xxh3 size path` for each regular file.
//!
//! Beside content and size of each file, the list itself, the description of the layer, and a sum over owners, modes, times
//! and links are compared. A layer whose list does not tell what became of replaced files (one of an earlier version) cannot
//! be compared. What was read is let go from the page cache: a store is larger than memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Advice, OFlags, fadvise};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::model::Result;
use crate::model::audit::{Class, Finding, Thing};

use super::Images;
use super::attributes_sum::attributes_sum;
use super::blocking::blocking;
use super::description::Description;
use super::layers::{Layer, LayerKey, Layers};
use super::unpack::Tree;

const BUFFER: usize = 128 << 10;

/// What the comparison of layers came to.
#[derive(Debug, Default)]
pub struct Compared {
    /// Damaged files, each as a finding.
    pub findings: Vec<Finding>,
    /// The layers that they belong to.
    pub(super) damaged: Vec<Damaged>,
    /// Layers that cannot be compared, by the digest of what they were unpacked from.
    pub unverifiable: Vec<String>,
}

/// A damaged layer: what is to be put right, and where its files are.
#[derive(Clone, Debug)]
pub(super) struct Damaged {
    pub key: LayerKey,
    pub path: PathBuf,
}

impl Images {
    /// Reads every file of every layer and compares it with what was unpacked. As slow as the disk is.
    ///
    /// # Errors
    /// The comparison itself ended badly.
    pub async fn compare(&self) -> Result<Compared> {
        let inner = Arc::clone(&self.inner);
        let compare = move || {
            let compared = compare_all(&inner.layers);
            // Those that were given up meanwhile were held until now.
            inner.layers.collect();
            Ok(compared)
        };
        Ok(blocking(compare).await?)
    }
}

/// As [`Images::compare`], of a store that nobody has open. Blocks.
///
/// # Errors
/// The store cannot be listed.
pub fn compare_at_rest(root: &Path) -> io::Result<Compared> {
    if !root.join("l").exists() {
        return Ok(Compared::default());
    }
    let (layers, _) = Layers::look(root)?;
    Ok(compare_all(&layers))
}

fn compare_all(layers: &Layers) -> Compared {
    let mut all = Compared::default();
    for layer in layers.all() {
        if !layer.facts().listed {
            all.unverifiable.push(layer.facts().diff_id.clone());
            continue;
        }
        let found = compare_layer(layers, &layer);
        if !found.is_empty() {
            all.damaged.push(Damaged {
                key: layer.key().clone(),
                path: layer.path().to_owned(),
            });
        }
        all.findings.extend(found);
    }
    all.unverifiable.sort();
    all
}

/// Everything that is wrong with one layer.
pub(super) fn compare_layer(layers: &Layers, layer: &Layer) -> Vec<Finding> {
    let meta = layers.meta(layer);
    let facts = layer.facts();
    let described = Description::read(&meta);
    if !described.is_some_and(|found| found.is_whole() && found.facts == *facts && found.key == *layer.key())
    {
        return vec![damaged(layer, b"", "a description as it was written")];
    }
    let list = match fs::read(meta.join("files")) {
        Ok(list) => list,
        Err(error) => return vec![damaged(layer, b"", &format!("a list of its files ({error})"))],
    };
    if facts.list_sum.is_some_and(|sum| sum != xxh3_64(&list)) {
        return vec![damaged(layer, b"", "a list of its files as it was written")];
    }
    let Some(listed) = listed(&list) else {
        return vec![damaged(layer, b"", "a list of its files that makes sense")];
    };
    let mut found = compare(layer, listed);
    let changed = |sum| attributes_sum(layer.path()).is_ok_and(|found| found != sum);
    // A file that is gone or was written anew is told already.
    if found.is_empty() && facts.attributes_sum.is_some_and(changed) {
        let expected = "files with the owners, modes, times and links that were unpacked";
        found.push(damaged(layer, b"", expected));
    }
    found
}

/// The files of a list, with hash and size: as the last line about each has it.
fn listed(list: &[u8]) -> Option<BTreeMap<Vec<u8>, Listed>> {
    let mut last = BTreeMap::new();
    for line in list.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        match entry(line)? {
            (path, Some(content)) => drop(last.insert(path, content)),
            (path, None) => {
                last.remove(&path);
                // All that is inside, and nothing else, sorts between `path/` and `path0`.
                let ends = [b'/', b'/' + 1].map(|end| [&path[..], &[end]].concat());
                let [first, behind] = ends;
                let inside: Vec<_> = last
                    .range(first..behind)
                    .map(|(known, _)| known.clone())
                    .collect();
                for known in inside {
                    last.remove(&known);
                }
            }
        }
    }
    Some(last)
}

/// Compares the files of one layer with their list.
fn compare(layer: &Layer, listed: BTreeMap<Vec<u8>, Listed>) -> Vec<Finding> {
    let Ok(tree) = Tree::open(layer.path()) else {
        return vec![damaged(layer, b"", "a directory")];
    };
    let (mut found, mut good) = (vec![], BTreeSet::new());
    for (path, (hash, size)) in listed {
        let (inode, expected) = match content_of(&tree, &path) {
            Ok(same) if (same.hash, same.size) == (hash, size) => {
                good.insert(same.inode);
                continue;
            }
            Ok(other) if other.size != size => (other.inode, format!("a file of {size} bytes, as unpacked")),
            Ok(other) => (other.inode, "the content that was unpacked".to_owned()),
            Err(error) => (0, format!("a file of {size} bytes, as unpacked ({error})")),
        };
        found.push((inode, damaged(layer, &path, &expected)));
    }
    // One file by two names (a directory and a link to it) is what it became by the later one.
    found.retain(|(inode, _)| !good.contains(inode));
    found.into_iter().map(|(_, finding)| finding).collect()
}

fn damaged(layer: &Layer, path: &[u8], expected: &str) -> Finding {
    use std::os::unix::ffi::OsStrExt as _;

    let path = layer.path().join(std::ffi::OsStr::from_bytes(path));
    Finding::repairable(Class::Content, Thing::Path(path), expected)
}

/// Hash and size of a file.
type Listed = (u64, u64);

/// A line of the list: path, and hash and size unless it says that the path is gone.
fn entry(line: &[u8]) -> Option<(Vec<u8>, Option<Listed>)> {
    let mut fields = line.splitn(3, |b| *b == b' ');
    let (hash, size) = (
        str::from_utf8(fields.next()?).ok()?,
        str::from_utf8(fields.next()?).ok()?,
    );
    let content = match (hash, size) {
        ("-", "-") => None,
        _ => Some((u64::from_str_radix(hash, 16).ok()?, size.parse().ok()?)),
    };
    let mut path = Vec::new();
    let mut escaped = fields.next()?.iter();
    while let Some(byte) = escaped.next() {
        path.push(match byte {
            b'\\' => match escaped.next()? {
                b'n' => b'\n',
                other => *other,
            },
            other => *other,
        });
    }
    Some((path, content))
}

/// What is read of a regular file.
struct Content {
    hash: u64,
    size: u64,
    inode: u64,
}

fn content_of(tree: &Tree, path: &[u8]) -> io::Result<Content> {
    let opened = tree.open_beneath(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK)?;
    let mut file = fs::File::from(opened);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let (mut hash, mut size) = (Xxh3::new(), 0);
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                hash.update(&buffer[..count]);
                size += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // Advice may be refused.
    let _ = fadvise(&file, 0, None, Advice::DontNeed);
    Ok(Content {
        hash: hash.digest(),
        size,
        inode: metadata.ino(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_about_a_path_counts() {
        let list =
            b"0000000000000001 3 a/b\n0000000000000002 4 ab\n- - a\n0000000000000003 5 c\\nd\n- - gone\n";

        let listed = listed(list).unwrap();

        assert_eq!(
            listed,
            BTreeMap::from([(b"ab".to_vec(), (2, 4)), (b"c\nd".to_vec(), (3, 5))])
        );
    }

    #[test]
    fn a_list_that_makes_no_sense_is_none() {
        assert_eq!(listed(b"zz 3 a\n"), None);
        assert_eq!(listed(b"0000000000000001\n"), None);
    }
}
