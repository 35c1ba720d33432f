//! The socket by which daemons find the monitor of a container's directory.
//!
//! A zygote that is killed after it has forked a monitor, and before it has said so, is asked again: there are two, and the
//! first has lost its client. Whoever makes or removes the door holds the directory meanwhile, so that the door is in the
//! end that of the monitor which serves.

use crate::monitor::client::SOCKET;
use crate::sys::{fs, pipe, socket, step};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(super) struct Door {
    dir: PathBuf,
    listener: OwnedFd,
    /// Inode of our socket: the directory may get a new monitor, whose socket replaces ours.
    inode: u64,
}

impl Door {
    /// Opens the door of `dir`, in place of another's.
    ///
    /// # Errors
    /// `ConnectionAborted`: the client has gone, and another monitor may be there in our place.
    pub(super) fn open(dir: &Path, client: impl AsFd) -> io::Result<Door> {
        let held = fs::hold_directory(dir)?;
        if pipe::has_hung_up(client)? {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let path = dir.join(SOCKET);
        let listener = socket::listen(&path)?;
        let inode = std::fs::metadata(path)?.ino();
        drop(held);
        step("monitor.door");
        pipe::set_nonblocking(&listener)?;
        Ok(Door {
            dir: dir.to_owned(),
            listener,
            inode,
        })
    }

    /// Takes a waiting connection.
    pub(super) fn accept(&self) -> io::Result<OwnedFd> {
        socket::accept(&self.listener)
    }

    /// Nobody finds this monitor any more.
    pub(super) fn close(&self) {
        step("monitor.close");
        let _held = fs::hold_directory(&self.dir);
        let path = self.dir.join(SOCKET);
        if std::fs::metadata(&path).is_ok_and(|m| m.ino() == self.inode) {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_monitor_that_has_lost_its_client_leaves_the_door_to_the_one_that_came_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let (lost, late) = socket::pair().unwrap();
        let (_client, serving) = socket::pair().unwrap();
        drop(lost);
        let door = Door::open(dir.path(), &serving).unwrap();

        let refused = Door::open(dir.path(), &late).unwrap_err();

        assert_eq!(refused.kind(), io::ErrorKind::ConnectionAborted);
        let found = socket::connect(&dir.path().join(SOCKET)).unwrap();
        assert!(door.accept().is_ok());
        drop(found);
    }

    #[test]
    fn a_door_that_another_has_replaced_is_not_closed() {
        let dir = tempfile::tempdir().unwrap();
        let (_client, client) = socket::pair().unwrap();
        let first = Door::open(dir.path(), &client).unwrap();
        let second = Door::open(dir.path(), &client).unwrap();

        first.close();
        let stays = dir.path().join(SOCKET).exists();
        second.close();

        assert_eq!((stays, dir.path().join(SOCKET).exists()), (true, false));
    }
}
