//! Completes a layer from the layers below it.
//!
//! A layer may use a directory that it does not describe, or link to a file that only a lower layer has. Overlayfs shows
//! the topmost description of a directory and links within one layer only: the first is copied from below, and so is
//! the file.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, linkat};
use rustix::io::Errno;

use super::copy::{copy_attributes, copy_leaf};
use super::merged::{Directory, Found, Leaf};
use super::unpack::{BYTES, LayerFacts, Pending, Tree, UnpackError, remove_all, split};

/// Settles what is pending in `content`, with the contents of the layers below, topmost first. Blocks.
///
/// What is copied counts like what the archive holds, up to `limit` bytes: an entry of some bytes can name a large file.
pub(super) fn settle(
    content: &Path,
    pending: &Pending,
    below: &[&Path],
    limit: u64,
    facts: &mut LayerFacts,
) -> Result<(), UnpackError> {
    let fail = |path: &[u8]| {
        let path = path.to_vec();
        move |error: io::Error| UnpackError::write(&path, error)
    };
    let mut tree = Tree::open(content).map_err(fail(b"/"))?;
    let lower = Directory::root(below.iter().copied()).map_err(fail(b"/"))?;
    for path in &pending.directories {
        describe(&lower, &mut tree, path).map_err(fail(path))?;
    }
    // The first copy of a file, for further links to it.
    let mut copies: HashMap<&[u8], &[u8]> = HashMap::new();
    let mut copied = 0u64;
    for (path, target) in &pending.links {
        let leaf = match lower.literal(target).map_err(fail(path))? {
            Some(Found::Other(leaf)) => leaf,
            Some(Found::Directory(_)) | None => {
                return Err(UnpackError::Malformed(format!(
                    "hard link {} has no target {}",
                    String::from_utf8_lossy(path),
                    String::from_utf8_lossy(target)
                )));
            }
        };
        let first = copies.get(target.as_slice()).copied();
        let size = leaf.stat.st_size as u64;
        if first.is_none() {
            copied = copied.saturating_add(size);
            if copied > limit {
                return Err(UnpackError::TooLarge { limit, unit: BYTES });
            }
        }
        link(&leaf, &mut tree, path, first).map_err(fail(path))?;
        if first.is_none() {
            copies.insert(target, path);
            facts.inodes += 1;
            facts.bytes += size.next_multiple_of(4096);
        }
    }
    Ok(())
}

/// Gives a directory what the layers below say of it.
fn describe(lower: &Directory, tree: &mut Tree, path: &[u8]) -> io::Result<()> {
    match lower.literal(path)? {
        Some(Found::Directory(described)) => copy_attributes(described.top(), tree.directory(path)?),
        _ => Ok(()),
    }
}

/// Makes a link to a file below: of the first copy if there is one, else the copy.
fn link(leaf: &Leaf, tree: &mut Tree, path: &[u8], first: Option<&[u8]>) -> io::Result<()> {
    let (parent, name) = split(path);
    // The link may replace what an earlier entry made.
    match remove_all(tree.directory(parent)?, name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => tree.forget(),
    }
    let Some(first) = first else {
        return copy_leaf(leaf, tree.directory(parent)?, name);
    };
    let (first_parent, first_name) = split(first);
    let from = tree.directory(first_parent)?.try_clone_to_owned()?;
    match linkat(&from, first_name, tree.directory(parent)?, name, AtFlags::empty()) {
        // The first copy was replaced meanwhile, or has as many names as the file system allows.
        Err(Errno::NOENT | Errno::MLINK) => copy_leaf(leaf, tree.directory(parent)?, name),
        other => Ok(other?),
    }
}
