//! Work that blocks: one place that runs it, and syncs of the disk that are shared.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::ImageError;
use crate::sys::planted;

/// Runs what blocks, in the module's one place for it. It runs to its end even if the caller goes.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work))
        .await
        .map_err(|error| ImageError::Task(error.to_string()))?
}

/// Syncs of the store's file system: one serves all who asked before it began.
#[derive(Debug, Default)]
pub(super) struct Syncs {
    begun: AtomicU64,
    /// The number of the last one that came to its end well.
    turn: tokio::sync::Mutex<u64>,
}

impl Syncs {
    /// Returns when what was written before the call is on disk.
    pub(super) async fn sync(&self, root: &Path) -> Result<(), ImageError> {
        let before = self.begun.load(Ordering::SeqCst);
        if planted("layer-sync") {
            return Ok(());
        }
        let mut done = self.turn.lock().await;
        // Somebody's sync began after the question, is over, and did not fail.
        if *done > before {
            return Ok(());
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let path = root.to_owned();
        blocking(move || {
            File::open(&path)
                .and_then(|root| Ok(rustix::fs::syncfs(root)?))
                .map_err(|source| ImageError::Disk {
                    what: "sync image store",
                    path,
                    source,
                })
        })
        .await?;
        *done = number;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sync_that_failed_serves_nobody() {
        let (syncs, dir) = (Syncs::default(), tempfile::tempdir().unwrap());
        let missing = dir.path().join("missing");

        // The first is under way when the others ask; the second's is the one that would serve the third.
        let (first, second, third) =
            tokio::join!(syncs.sync(&missing), syncs.sync(&missing), syncs.sync(&missing));

        assert!(first.is_err() && second.is_err() && third.is_err());
        assert!(syncs.sync(dir.path()).await.is_ok());
    }
}
