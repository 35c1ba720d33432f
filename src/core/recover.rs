//! Start of the daemon: records, observations and monitors compared, and every container's truth found.
//!
//! ```text
//! record, has an end ------------------------------------> ended
//! record, observed, monitor answers ---------------------> what the monitor says
//! record, observed, no monitor, exit record -------------> ended as recorded
//! record, observed, no monitor, no exit record ----------> killed, unknown
//! record, nothing observed, directory there -------------> creation was cut short: taken apart
//! record, no directory (a reboot) -----------------------> ended
//! directory or writable layer without a record ----------> taken apart, unless records may have been lost
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::StreamExt;

use super::observe::{stored_exit, unknown};
use super::record::{ContainerRecord, End, Observation};
use super::registry::{Entry, Live, Phase};
use super::{Core, failed};
use crate::model::Result;
use crate::monitor::MonitorClient;
use crate::monitor::protocol::{self, Process};

/// Containers looked at side by side.
const SIDE_BY_SIDE: usize = 64;

/// The first process of a container, as the last stage ran it. Kept beside the bundle for exec after a restart.
pub(super) const PROCESS: &str = "process.json";

impl Core {
    pub(super) async fn recover(&self) -> Result<()> {
        let records = self.inner.store.load::<ContainerRecord>()?;
        let mut known: BTreeSet<String> = records.iter().map(|(id, _)| id.clone()).collect();
        // What has a record that cannot be read has an owner all the same.
        known.extend(self.inner.store.peek::<ContainerRecord>()?.unreadable);
        futures_util::stream::iter(records)
            .for_each_concurrent(SIDE_BY_SIDE, |(id, record)| self.recover_one(id, record))
            .await;
        if !self.inner.store.damaged().is_empty() {
            tracing::warn!(
                "the record store was damaged: what has no record is left alone, `coracle check` tells"
            );
            return Ok(());
        }
        self.sweep(&known).await
    }

    async fn recover_one(&self, id: String, record: ContainerRecord) {
        if let Some(end) = record.end.clone() {
            let entry = Arc::new(Entry::new(id, record, Phase::Ended(end)));
            return self.adopt(entry);
        }
        let dir = self.directory(&id);
        let observed = match Observation::load(&dir) {
            Ok(observed) => observed,
            Err(error) => {
                tracing::error!(container = id, %error, "observation cannot be read");
                None
            }
        };
        match observed {
            Some(observed) => self.recover_observed(id, record, observed).await,
            None if dir.exists() => {
                tracing::info!(container = id, "creation was cut short, taking it apart");
                if let Err(error) = self.tear_down(&id, &record.cgroup, None).await {
                    tracing::error!(container = id, %error, "unfinished container remains");
                    // In sight, so that whoever asked for it can remove it, and with it what is left.
                    let entry = Arc::new(Entry::new(id, record, Phase::Creating));
                    self.adopt(Arc::clone(&entry));
                    self.end(&entry, unknown(0, &error.to_string())).await;
                }
            }
            None => {
                // It has ended for certain; how, nobody has seen.
                let end = End {
                    unknown: false,
                    reason: "NodeRestarted".into(),
                    ..unknown(
                        0,
                        "the node was restarted; how the container ended was not recorded",
                    )
                };
                let entry = Arc::new(Entry::new(id, record, Phase::Creating));
                self.adopt(Arc::clone(&entry));
                self.end(&entry, end).await;
            }
        }
    }

    async fn recover_observed(&self, id: String, record: ContainerRecord, observed: Observation) {
        let dir = self.directory(&id);
        let entry = Arc::new(Entry::new(id, record, Phase::Creating));
        let found = match MonitorClient::connect(&dir).await {
            Ok(monitor) => monitor.state().await.ok().map(|state| (monitor, state)),
            Err(_) => None,
        };
        self.adopt(Arc::clone(&entry));
        let Some((monitor, state)) = found else {
            let end = match stored_exit(&dir, observed.started_at) {
                Some(end) => end,
                None => self.lost(&entry).await,
            };
            return self.end(&entry, end).await;
        };
        let live = Live {
            monitor: monitor.clone(),
            pid: observed.pid,
            start_time: observed.start_time,
            started_at: observed.started_at,
            process: self.first_process(&entry.id),
        };
        match state.phase {
            protocol::Phase::Created => entry.set_phase(Phase::Created(live)),
            // Running, or ended: the observer is told of the end at once then.
            _ => entry.set_phase(Phase::Running(live)),
        };
        self.follow(&entry, monitor);
    }

    fn adopt(&self, entry: Arc<Entry>) {
        if let Err(error) = self.inner.registry.insert(entry) {
            tracing::error!(%error, "record appears twice");
        }
    }

    fn first_process(&self, id: &str) -> Arc<Process> {
        let path = self.directory(id).join(PROCESS);
        let read = std::fs::read(&path).map_err(|e| e.to_string());
        match read.and_then(|text| serde_json::from_slice(&text).map_err(|e| e.to_string())) {
            Ok(process) => Arc::new(process),
            Err(error) => {
                tracing::error!(
                    container = id,
                    error,
                    "process settings cannot be read, exec will fail"
                );
                Arc::default()
            }
        }
    }

    /// Takes apart what has no record: the rest of a removal, or of a creation, that was cut short.
    async fn sweep(&self, known: &BTreeSet<String>) -> Result<()> {
        let dir = self.inner.settings.run_dir.join("containers");
        let mut strays: BTreeSet<String> = self
            .inner
            .images
            .snapshots()
            .into_iter()
            .map(|s| s.container_id)
            .collect();
        let entries = std::fs::read_dir(&dir).map_err(|e| failed("list", &dir, e))?;
        strays.extend(entries.flatten().filter_map(|e| e.file_name().into_string().ok()));
        for id in strays.difference(known) {
            tracing::info!(container = id, "no record, taking it apart");
            if let Err(error) = self.tear_down(id, "", None).await {
                tracing::error!(container = id, %error, "remains of a container");
            }
        }
        Ok(())
    }
}
