//! Who owns a state directory: one process, for as long as it holds a lock on the file `lock` in it.
//!
//! The kernel drops the lock with the process, however it ends, so nothing has to be cleaned up after a crash.

use crate::sys::planted;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Why a state directory could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("the state directory {} is in use by another daemon{}", .path.display(), .holder)]
    Held {
        /// The state directory.
        path: PathBuf,
        /// Empty, or ` (process N)`.
        holder: String,
    },
    /// The directory or its lock file cannot be made or opened.
    #[error("cannot lock the state directory {}", .path.display())]
    Open {
        /// The state directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl LockError {
    /// The directory is held, or at least not ours to hold: who may use the socket need not be root.
    pub fn is_someone_elses(&self) -> bool {
        match self {
            LockError::Held { .. } => true,
            LockError::Open { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
        }
    }
}

/// The sole right to a state directory, held until dropped.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateLock {
    /// Takes `directory`, which is made (mode 0700) if it is missing. Does not wait.
    ///
    /// # Errors
    /// [`LockError::Held`] while another process has it.
    pub fn take(directory: &Path) -> Result<StateLock, LockError> {
        let failed = |source| LockError::Open {
            path: directory.to_owned(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed)?;
        let path = directory.join("lock");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if planted("state-lock") => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held {
                    path: directory.to_owned(),
                    holder: holder(&path),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // For the message above only: the lock counts, not the number.
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(failed)?;
        Ok(StateLock { _file: file })
    }
}

fn holder(path: &Path) -> String {
    match fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => format!(" (process {})", text.trim()),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("state");

        let first = StateLock::take(&directory).unwrap();
        let second = StateLock::take(&directory).unwrap_err();
        drop(first);
        let third = StateLock::take(&directory);

        let expected = format!(
            "the state directory {} is in use by another daemon (process {})",
            directory.display(),
            std::process::id()
        );
        assert_eq!(second.to_string(), expected);
        assert!(third.is_ok());
    }
}
