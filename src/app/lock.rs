//! Who owns a state directory: one process, for as long as it holds a lock on the file `lock` in it.
//!
//! The kernel drops the lock with the process, however it ends, so nothing has to be cleaned up after a crash. What that
//! process was about to start has it for an instant longer, from its fork to its execve.

use crate::sys::{planted, proc};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the lock of a process that is dead is waited for.
const INHERITED: Duration = Duration::from_secs(5);
/// How often it is tried meanwhile: who waits for a lock of this kind cannot be told to stop.
const AGAIN: Duration = Duration::from_millis(5);

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
    /// Takes `directory`, which is made (mode 0700) if it is missing. Does not wait for a process that has it.
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
        let until = Instant::now() + INHERITED;
        loop {
            let holder = match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if planted("state-lock") => break,
                Err(TryLockError::WouldBlock) => holder(&path),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            };
            if holder.is_none_or(|pid| !proc::is_ending(pid)) || Instant::now() > until {
                return Err(LockError::Held {
                    path: directory.to_owned(),
                    holder: holder.map_or_else(String::new, |pid| format!(" (process {pid})")),
                });
            }
            std::thread::sleep(AGAIN);
        }
        // For the message above only: the lock counts, not the number.
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(failed)?;
        Ok(StateLock { _file: file })
    }
}

/// Who noted its number last.
fn holder(path: &Path) -> Option<i32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
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

    #[test]
    fn what_a_dead_owner_has_left_to_its_child_is_waited_for() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("state");
        let first = StateLock::take(&directory).unwrap();
        let mut dead = std::process::Command::new("true").spawn().unwrap();
        fs::write(directory.join("lock"), dead.id().to_string()).unwrap();
        dead.wait().unwrap();

        let taken = std::thread::scope(|scope| {
            let taking = scope.spawn(|| StateLock::take(&directory).map(drop));
            std::thread::sleep(4 * AGAIN);
            drop(first);
            taking.join().unwrap()
        });

        assert!(taken.is_ok());
    }
}
