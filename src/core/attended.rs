//! What a caller that stays with its container needs beyond the model's calls: its end, and signals.

use super::Core;
use super::entry::Phase;
use super::start::monitor_error;
use crate::model::{Error, Result};

impl Core {
    /// Returns the exit code of a container when it has ended.
    ///
    /// # Errors
    /// `NotFound`; `Internal`: nobody can tell how it ended. Cancel safety: nothing changes.
    pub async fn wait(&self, id: &str) -> Result<i32> {
        let entry = self.inner.registry.find(id)?;
        entry.ended().await;
        match entry.phase() {
            Phase::Ended(end) if !end.unknown => Ok(end.exit_code),
            _ => Err(Error::internal(format!(
                "nobody can tell how container {id} ended"
            ))),
        }
    }

    /// Sends a signal to the first process of a running container.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition`: it does not run.
    pub async fn signal(&self, id: &str, signal: i32) -> Result<()> {
        let entry = self.inner.registry.find(id)?;
        let Phase::Running(live) = entry.phase() else {
            return Err(Error::precondition(format!("container {id} does not run")));
        };
        live.monitor
            .signal(signal)
            .await
            .map_err(|error| monitor_error(id, "signal", error))
    }
}
