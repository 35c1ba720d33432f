//! RemoveContainer.

use std::sync::Arc;

use super::Core;
use super::entry::{Entry, Phase};
use crate::model::{Change, Kind, Result};
use crate::telemetry::{self, Stage};

impl Core {
    pub(super) async fn remove(&self, id: &str) -> Result<()> {
        let entry = match self.inner.registry.find(id) {
            Ok(entry) => entry,
            // CRI: "must not return an error if the container has already been removed".
            Err(error) if error.kind() == Kind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let core = self.clone();
        self.detached(async move { core.remove_now(&entry).await }).await
    }

    async fn remove_now(&self, entry: &Arc<Entry>) -> Result<()> {
        let _underway = telemetry::begin(Stage::Remove);
        // Without the lock, which the observer needs to tell the end.
        if let Phase::Running(live) = entry.phase() {
            self.kill(entry, &live).await?;
        }
        let _operation = entry.operation.lock().await;
        if self.inner.registry.find(&entry.id).is_err() {
            // Somebody else has removed it meanwhile.
            return Ok(());
        }
        let monitor = match entry.phase() {
            Phase::Created(live) | Phase::Running(live) => Some(live.monitor),
            Phase::Creating | Phase::Ended(_) => None,
        };
        self.tear_down(&entry.id, &entry.record.cgroup, monitor).await?;
        self.transit(entry, Change::Deleted, || {
            // A created one has now ended, for its observer and whoever else waits.
            entry.set_phase(Phase::Ended(super::observe::unknown(0, "removed")));
            self.inner.registry.remove(&entry.id)
        });
        Ok(())
    }
}
