//! Files that must be whole after a crash.

use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// Writes a file so that readers, and a power cut at any instant, find the old content or the new one, whole: beside it
/// under another name, synced, renamed over it, and the directory synced. `mode` is that of the new file.
pub fn write_atomic(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let temporary = beside(path)?;
    let result = replace(path, &temporary, content, mode);
    if result.is_err() && !super::planted("leftover") {
        let _ = std::fs::remove_file(&temporary);
    }
    result
}

fn replace(path: &Path, temporary: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(temporary)?;
    // The mask of the process does not decide about modes that matter.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(temporary, path)?;
    sync_parent(path)
}

/// Makes a file that is locked for as long as any process holds the descriptor, which forks inherit.
pub fn held(path: &Path) -> io::Result<OwnedFd> {
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file.into())
}

/// Waits until nobody else holds a directory, and holds it: for two processes that change something in it.
pub fn hold_directory(path: &Path) -> io::Result<OwnedFd> {
    let directory = File::open(path)?;
    rustix::fs::flock(&directory, FlockOperation::LockExclusive)?;
    Ok(directory.into())
}

/// Tells whether a process holds what [`held`] made.
pub fn is_held(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        other => other.map(|()| false).map_err(io::Error::from),
    }
}

/// The names in a directory; none where there is no such directory.
pub fn names(dir: &Path) -> io::Result<BTreeSet<String>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        other => other?,
    };
    let name = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    Ok(entries.flatten().map(name).collect())
}

/// Makes a rename, a new name or a removal in `path`'s directory durable.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    // Two writers of one path must not share the temporary; within a process the thread tells them apart.
    temporary.push(format!(".{}", rustix::thread::gettid().as_raw_nonzero()));
    Ok(path.with_file_name(temporary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");

        write_atomic(&path, b"one", 0o600).unwrap();
        write_atomic(&path, b"two", 0o644).unwrap();

        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o644
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_held_file_is_free_once_the_last_descriptor_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("held");
        assert!(!is_held(&path).unwrap());

        let first = held(&path).unwrap();
        let second = first.try_clone().unwrap();
        drop(first);
        let between = is_held(&path).unwrap();
        drop(second);

        assert!(between && !is_held(&path).unwrap());
    }

    #[test]
    fn a_failed_write_leaves_the_old_content_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d");
        std::fs::create_dir(&path).unwrap();

        assert!(write_atomic(&path, b"text", 0o600).is_err());

        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
