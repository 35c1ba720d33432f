//! The end of containers: one task a living container waits for its monitor's word, stores the truth, and lets the
//! monitor go. An ended container costs a record, no process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Core;
use super::entry::{Entry, Live, Phase};
use super::record::End;
use super::start::kind_of;
use crate::model::{Change, Kind};
use crate::monitor::MonitorClient;
use crate::monitor::client::read_exit_record;
use crate::monitor::protocol::ExitRecord;
use crate::sys::clock::now;
use crate::sys::step;

/// How long a store that says it is well and refuses a record all the same is left alone.
const STORE_AGAIN: Duration = Duration::from_secs(5);
/// How long after it had no process to spare a monitor is asked to end again, the first time and at most.
const RELEASE_AGAIN: Duration = Duration::from_secs(1);
const RELEASE_SELDOM: Duration = Duration::from_secs(60);

impl Core {
    /// Follows a living container to its end. The task ends with the container, or with its monitor.
    pub(super) fn follow(&self, entry: &Arc<Entry>, monitor: MonitorClient) {
        let (core, entry) = (self.clone(), Arc::clone(entry));
        self.inner.tasks.spawn(async move {
            let mut exited = monitor.exited();
            let told = exited
                .wait_for(Option::is_some)
                .await
                .ok()
                .and_then(|record| record.clone());
            // The calls under way first: a start that fails tells more than the exit it causes.
            let _operation = entry.operation.lock().await;
            if matches!(entry.phase(), Phase::Ended(_)) {
                return;
            }
            let end = match told {
                Some(record) => ended(&record, entry.status().started_at),
                None => core.lost(&entry).await,
            };
            core.end(&entry, end).await;
        });
    }

    /// Stores how the container ended, tells those who wait, and releases monitor and cgroups.
    ///
    /// The caller holds the entry's operation lock.
    pub(super) async fn end(&self, entry: &Arc<Entry>, end: End) {
        let live = match entry.phase() {
            Phase::Created(live) | Phase::Running(live) => Some(live),
            Phase::Creating | Phase::Ended(_) => None,
        };
        tracing::info!(
            container = entry.id,
            code = end.exit_code,
            reason = end.reason,
            "container ended"
        );
        if !self.transit(entry, Change::Stopped, || entry.set_phase(Phase::Ended(end))) {
            return;
        }
        // The exit record in the runtime directory is the truth until this is on disk.
        step("end.record");
        match self.store_record(entry).await {
            Ok(()) => {
                if let Some(live) = live {
                    self.release(entry, live.monitor).await;
                }
            }
            Err(error) => {
                tracing::error!(container = entry.id, %error, "end of container not stored, its monitor keeps it");
                self.store_later(entry, live);
            }
        }
    }

    /// Stores an end once the store can be written again. Until then the monitor keeps it, and the exit record.
    fn store_later(&self, entry: &Arc<Entry>, live: Option<Live>) {
        let (core, entry) = (self.clone(), Arc::clone(entry));
        self.inner.tasks.spawn(async move {
            loop {
                core.inner.store.untroubled().await;
                let operation = entry.operation.lock().await;
                if core.inner.registry.find(&entry.id).is_err() {
                    return;
                }
                match core.store_record(&entry).await {
                    Ok(()) => {
                        if let Some(live) = live {
                            core.release(&entry, live.monitor).await;
                        }
                        return;
                    }
                    Err(error) => {
                        tracing::warn!(container = entry.id, %error, "end of container still not stored")
                    }
                }
                // A removal need not wait for the pause.
                drop(operation);
                tokio::time::sleep(STORE_AGAIN).await;
            }
        });
    }

    /// Writes the record as the container now is, for the time after the next reboot.
    pub(super) async fn store_record(&self, entry: &Entry) -> crate::model::Result<()> {
        let _storing = entry.storing.lock().await;
        let mut record = entry.record.clone();
        record.resources = entry.resources();
        record.end = match entry.phase() {
            Phase::Ended(end) => Some(end),
            _ => None,
        };
        self.inner.store.put(&entry.id, &record).await?;
        Ok(())
    }

    pub(super) async fn release(&self, entry: &Arc<Entry>, monitor: MonitorClient) {
        step("end.release");
        if let Err(error) = monitor.delete().await {
            // Removal tries again, and says so if it cannot.
            tracing::warn!(container = entry.id, %error, "monitor of ended container not released");
            if kind_of(&error) == Kind::ResourceExhausted {
                self.release_later(entry, monitor);
            }
        }
    }

    /// Lets a monitor go once it has what it takes, unless the container is removed before.
    fn release_later(&self, entry: &Arc<Entry>, monitor: MonitorClient) {
        let (core, entry) = (self.clone(), Arc::clone(entry));
        self.inner.tasks.spawn(async move {
            let mut pause = RELEASE_AGAIN;
            loop {
                tokio::time::sleep(pause).await;
                pause = RELEASE_SELDOM.min(pause * 2);
                let _operation = entry.operation.lock().await;
                if core.inner.registry.find(&entry.id).is_err() {
                    return;
                }
                match monitor.delete().await {
                    Err(error) if kind_of(&error) == Kind::ResourceExhausted => {
                        tracing::debug!(container = entry.id, %error, "monitor still not released");
                    }
                    _ => return,
                }
            }
        });
    }

    /// The monitor is gone without a word: its record on disk tells, or nothing does.
    pub(super) async fn lost(&self, entry: &Entry) -> End {
        let started_at = entry.status().started_at;
        if let Some(end) = stored_exit(&self.directory(&entry.id), started_at) {
            return end;
        }
        // Never an orphan: what the monitor left running has no log, no reaper and no owner.
        self.kill_group(&entry.record.cgroup).await;
        unknown(
            started_at,
            "the monitor of the container died; the container was killed, and its last output may be missing in the log",
        )
    }
}

/// Reads the exit record that a monitor has left.
pub(super) fn stored_exit(dir: &Path, started_at: i64) -> Option<End> {
    match read_exit_record(dir) {
        Ok(record) => record.map(|r| ended(&r, started_at)),
        Err(error) => {
            tracing::error!(dir = %dir.display(), %error, "exit record cannot be read");
            None
        }
    }
}

/// An end that nobody can tell the code of. Invented success or failure would be worse than saying so.
pub(super) fn unknown(started_at: i64, message: &str) -> End {
    End {
        started_at,
        finished_at: now(),
        exit_code: 255,
        reason: "Unknown".into(),
        message: message.into(),
        unknown: true,
    }
}

/// An end as its monitor has recorded it.
pub(super) fn ended(record: &ExitRecord, started_at: i64) -> End {
    let reason = match (record.oom_killed, &record.reason, record.code) {
        // CRI: the kubelet looks for exactly this word.
        (true, _, code) if code != 0 => "OOMKilled",
        (_, Some(_), _) => "StartError",
        (_, None, 0) => "Completed",
        (_, None, _) => "Error",
    };
    End {
        started_at: if reason == "StartError" { 0 } else { started_at },
        finished_at: record.finished_at,
        exit_code: record.code,
        reason: reason.into(),
        message: record.reason.clone().unwrap_or_default(),
        unknown: false,
    }
}
