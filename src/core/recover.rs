//! Start of the daemon: records, observations and monitors compared, and every container's truth found.
//!
//! ```text
//! record, has an end ------------------------------------> ended, and a monitor that is still there is let go
//! record, observed, monitor answers ---------------------> what the monitor says
//! record, observed, monitor does not answer -------------> as last known, until it does
//! record, observed, no monitor, exit record -------------> ended as recorded
//! record, observed, no monitor, no exit record ----------> killed, unknown
//! record, nothing observed, directory there -------------> creation was cut short: taken apart
//! record, no directory (a reboot) -----------------------> ended
//! directory or writable layer without a record ----------> taken apart, unless records may have been lost
//! ```

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

use super::entry::{Entry, Live, Phase};
use super::observe::{stored_exit, unknown};
use super::record::{ContainerRecord, End, Observation};
use super::{Core, failed};
use crate::model::Result;
use crate::monitor::protocol::{self, Process, State};
use crate::monitor::{MonitorClient, MonitorError};

/// Containers looked at side by side.
const SIDE_BY_SIDE: usize = 512;

/// How long a monitor that an earlier daemon left may take to answer. It has nothing else to do.
const FIRST_ANSWER: Duration = Duration::from_secs(3);
/// How long after it could not be asked a monitor is asked again, the first time and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The first process of a container, as the last stage ran it. Kept beside the bundle for exec after a restart.
pub(super) const PROCESS: &str = "process.json";

/// Asks a monitor that an earlier daemon left in `dir` for its state, and does not wait for one that is stopped.
pub(super) async fn ask(dir: &Path) -> std::result::Result<(MonitorClient, State), MonitorError> {
    let asked = async {
        let monitor = MonitorClient::connect(dir).await?;
        let state = monitor.state().await?;
        Ok((monitor, state))
    };
    let answer = tokio::time::timeout(FIRST_ANSWER, asked).await;
    answer.unwrap_or_else(|_| Err(MonitorError::Silent(dir.to_owned())))
}

impl Core {
    pub(super) async fn recover(&self) -> Result<()> {
        let found = self.inner.store.take::<ContainerRecord>()?;
        let records = found.records;
        let mut known: BTreeSet<String> = records.iter().map(|(id, _)| id.clone()).collect();
        // What has a record that cannot be read has an owner all the same.
        known.extend(found.unreadable);
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
            let asked = ask(&self.directory(&id)).await;
            let entry = Arc::new(Entry::new(id, record, Phase::Ended(end)));
            self.adopt(Arc::clone(&entry));
            if let Ok((monitor, _)) = asked {
                self.release_left(entry, monitor);
            }
            return;
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

    /// Lets the monitor go of a container whose end an earlier daemon had stored when it was killed.
    fn release_left(&self, entry: Arc<Entry>, monitor: MonitorClient) {
        let core = self.clone();
        self.inner.tasks.spawn(async move {
            let _operation = entry.operation.lock().await;
            if core.inner.registry.find(&entry.id).is_ok() {
                core.release(&entry, monitor).await;
            }
        });
    }

    async fn recover_observed(&self, id: String, record: ContainerRecord, observed: Observation) {
        let entry = Arc::new(Entry::new(id, record, Phase::Creating));
        let answer = ask(&self.directory(&entry.id)).await;
        self.adopt(Arc::clone(&entry));
        match answer {
            Err(error) if !error.is_gone() => self.ask_again(&entry, observed, error),
            answer => self.found(&entry, &observed, answer.ok()).await,
        }
    }

    /// Knows a container by what its monitor says, or, without one, by what is left of it.
    async fn found(
        &self,
        entry: &Arc<Entry>,
        observed: &Observation,
        answer: Option<(MonitorClient, State)>,
    ) {
        let Some((monitor, state)) = answer else {
            let end = match stored_exit(&self.directory(&entry.id), observed.started_at) {
                Some(end) => end,
                None => self.lost(entry).await,
            };
            return self.end(entry, end).await;
        };
        let created = matches!(state.phase, protocol::Phase::Created);
        // Running, or ended: the observer is told of the end at once then.
        if entry.set_phase(self.living(entry, observed, monitor.clone(), created)) {
            self.follow(entry, monitor);
        }
    }

    fn living(&self, entry: &Entry, observed: &Observation, monitor: MonitorClient, created: bool) -> Phase {
        let live = Live {
            monitor,
            pid: observed.pid,
            start_time: observed.start_time,
            started_at: observed.started_at,
            process: self.first_process(&entry.id),
        };
        match created {
            true => Phase::Created(live),
            false => Phase::Running(live),
        }
    }

    /// A monitor is there and says nothing. Its container stays as it was last known, nobody waits for it, and when the
    /// monitor goes on its word counts.
    fn ask_again(&self, entry: &Arc<Entry>, observed: Observation, error: MonitorError) {
        tracing::warn!(container = entry.id, %error, "container stays as it was last known");
        let dir = self.directory(&entry.id);
        match MonitorClient::unreached(&dir) {
            Ok(monitor) => {
                entry.set_silent(true);
                entry.set_phase(self.living(entry, &observed, monitor, observed.started_at == 0));
            }
            // It is not listed until there are descriptors again.
            Err(error) => tracing::error!(container = entry.id, %error, "container is not in sight"),
        }
        let (core, entry) = (self.clone(), Arc::clone(entry));
        self.inner.tasks.spawn(async move {
            let mut pause = FIRST_PAUSE;
            let answer = loop {
                match MonitorClient::connect(&dir).await {
                    // It has just answered, and does again.
                    Ok(monitor) => match monitor.state().await {
                        Ok(state) => break Some((monitor, state)),
                        Err(error) => tracing::debug!(container = entry.id, %error, "no state"),
                    },
                    Err(error) if error.is_gone() => break None,
                    Err(error) => tracing::debug!(container = entry.id, %error, "no answer"),
                }
                tokio::time::sleep(pause).await;
                pause = LONGEST_PAUSE.min(pause * 2);
            };
            tracing::info!(container = entry.id, "the monitor answers, or has ended");
            let _operation = entry.operation.lock().await;
            entry.set_silent(false);
            core.found(&entry, &observed, answer).await;
        });
    }

    fn adopt(&self, entry: Arc<Entry>) {
        entry.hold(self.inner.labelling.hold(&entry.record.config));
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
