//! Work that blocks: one place that runs it, and syncs of the disk that are shared.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::ImageError;

/// Runs what blocks, in the module's one place for it. It runs to its end even if the caller goes.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ImageError::Task(error.to_string()))?
}

/// Syncs of the store's file system: one serves all who asked before it began.
#[derive(Debug, Default)]
pub(super) struct Syncs {
    begun: AtomicU64,
    turn: tokio::sync::Mutex<()>,
}

impl Syncs {
    /// Returns when what was written before the call is on disk.
    pub(super) async fn sync(&self, root: &Path) -> Result<(), ImageError> {
        let before = self.begun.load(Ordering::SeqCst);
        let _turn = self.turn.lock().await;
        // Somebody's sync began after the question and is over: we hold the turn.
        if self.begun.load(Ordering::SeqCst) > before {
            return Ok(());
        }
        self.begun.fetch_add(1, Ordering::SeqCst);
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
        .await
    }
}
