//! The times of directories. What is made in a directory changes its time, so they are set once the layer is whole.

use std::os::fd::BorrowedFd;

use rustix::fs::{Timespec, fstat, futimens};
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
    pub(super) fn remember(
        &mut self,
        path: &[u8],
        directory: BorrowedFd<'_>,
        time: Timespec,
    ) -> rustix::io::Result<()> {
        self.0.push(Remembered {
            path: path.to_vec(),
            inode: fstat(directory)?.st_ino,
            time,
        });
        Ok(())
    }

    /// Sets them. A directory that is no more is passed over.
    pub(super) fn set(self, tree: &mut Tree) -> Result<(), UnpackError> {
        for Remembered { path, inode, time } in self.0 {
            let set = match tree.directory(&path) {
                // The path may lead to another one by now.
                Ok(directory) => fstat(directory).and_then(|stat| match stat.st_ino == inode {
                    true => futimens(directory, &both(time)),
                    false => Ok(()),
                }),
                // A later entry took its place, or the place of one above it: perhaps a link, and perhaps to itself.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
                Err(error) => Err(error),
            };
            set.map_err(|e| UnpackError::write(&path, e))?;
        }
        Ok(())
    }
}
