//! One file watched as it grows, and as another takes its place.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, WatchFlags};
use tokio::io::unix::AsyncFd;

use super::{events, instance};

/// Watches the directory of one file, where writes to it and what replaces it are told.
#[derive(Debug)]
pub struct FileWatch {
    inotify: AsyncFd<OwnedFd>,
}

impl FileWatch {
    /// Begins to watch. The file may be missing, its directory not.
    ///
    /// # Errors
    /// The kernel lends no watch, or the directory is not there.
    pub fn new(path: &Path) -> io::Result<FileWatch> {
        let inotify = instance()?;
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::DELETE;
        inotify::add_watch(inotify.get_ref(), path.parent().unwrap_or(Path::new("/")), flags)?;
        Ok(FileWatch { inotify })
    }

    /// Returns once something has happened since the last time, perhaps to a neighbour of the file's.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub async fn changed(&mut self) -> io::Result<()> {
        events(&self.inotify, |_| {}).await
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn a_file_that_grows_and_one_that_takes_its_place_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut file = std::fs::File::create(&path).unwrap();
        let mut watch = FileWatch::new(&path).unwrap();

        file.write_all(b"a").unwrap();
        watch.changed().await.unwrap();
        std::fs::write(dir.path().join("new"), "b").unwrap();
        std::fs::rename(dir.path().join("new"), &path).unwrap();
        watch.changed().await.unwrap();
    }
}
