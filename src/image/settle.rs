//! Completes a layer from the layers below it.
//!
//! A layer may use a directory that it does not describe, or link to a file that only a lower layer has. Overlayfs shows
//! the topmost description of a directory and links within one layer only: the first is copied from below, and so is
//! the file.

use std::io;
use std::path::Path;

use super::copy::{copy_attributes, copy_leaf};
use super::merged::{Directory, Found};
use super::unpack::{LayerFacts, Pending, Tree, remove_all, split};

/// Settles what is pending in `content`, with the contents of the layers below, topmost first. Blocks.
pub(super) fn settle(
    content: &Path,
    pending: &Pending,
    below: &[&Path],
    facts: &mut LayerFacts,
) -> io::Result<()> {
    let mut tree = Tree::open(content)?;
    let lower = Directory::root(below.iter().copied())?;
    for path in &pending.directories {
        if let Some(Found::Directory(described)) = lower.literal(path)? {
            copy_attributes(described.top(), tree.directory(path)?)?;
        }
    }
    for (path, target) in &pending.links {
        let leaf = match lower.literal(target)? {
            Some(Found::Other(leaf)) => leaf,
            Some(Found::Directory(_)) | None => {
                let text = format!(
                    "hard link {} has no target {}",
                    String::from_utf8_lossy(path),
                    String::from_utf8_lossy(target)
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
        };
        let (parent, name) = split(path);
        let directory = tree.directory(parent)?;
        // The link may replace what an earlier entry made.
        match remove_all(directory, name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        copy_leaf(&leaf, directory, name)?;
        facts.inodes += 1;
        facts.bytes += (leaf.stat.st_size as u64).next_multiple_of(4096);
    }
    Ok(())
}
