//! The times of directories. What is made in a directory changes its time, so they are set once the layer is whole.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use rustix::fs::{Timespec, fstat, futimens, readlink};
use rustix::io::Errno;

use super::UnpackError;
use super::attributes::both;
use super::tree::Tree;

/// The times to be set, in the order of the archive: of two about one directory the later counts.
#[derive(Debug, Default)]
pub(super) struct DirectoryTimes(Vec<Remembered>);

#[derive(Debug)]
struct Remembered {
    path: Vec<u8>,
    inode: u64,
    time: Timespec,
}

impl DirectoryTimes {
    /// Returns the length of what is kept.
    pub(super) fn remember(
        &mut self,
        tree: &mut Tree,
        path: &[u8],
        time: Timespec,
    ) -> rustix::io::Result<usize> {
        let root = name(tree.root())?;
        let directory = tree.directory(path)?;
        // Links on the way may lead elsewhere in the end: this is the way without them.
        let (inode, path) = (fstat(directory)?.st_ino, name(directory)?);
        let path = path.strip_prefix(&root[..]).ok_or(Errno::XDEV)?;
        let path = path.strip_prefix(b"/").unwrap_or(path).to_vec();
        let length = path.len();
        self.0.push(Remembered { path, inode, time });
        Ok(length)
    }

    /// Sets them. A directory that is no more is passed over.
    pub(super) fn set(self, tree: &mut Tree) -> Result<(), UnpackError> {
        for Remembered { path, inode, time } in self.0 {
            let set = match tree.directory(&path) {
                // It may be another one by now.
                Ok(directory) => fstat(directory).and_then(|stat| match stat.st_ino == inode {
                    true => futimens(directory, &both(time)),
                    false => Ok(()),
                }),
                // A later entry took its place, or the place of one above it: perhaps a link to itself.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
                Err(error) => Err(error),
            };
            set.map_err(|e| UnpackError::write(&path, e))?;
        }
        Ok(())
    }
}

/// The kernel's name of an open directory.
fn name(directory: BorrowedFd<'_>) -> rustix::io::Result<Vec<u8>> {
    let link = format!("/proc/self/fd/{}", directory.as_raw_fd());
    Ok(readlink(link, Vec::new())?.into_bytes())
}
