//! StartContainer, ReopenContainerLog: what a created or running container's monitor is asked to do.

use std::sync::Arc;
use std::time::Duration;

use super::Core;
use super::entry::{Entry, Live, Phase};
use super::observe::{ended, unknown};
use super::record::{End, Observation, VERSION};
use crate::model::{Change, Error, Kind, Result, is_shortage};
use crate::monitor::MonitorError;
use crate::monitor::protocol::{Failure, FailureKind};
use crate::sys::clock::now;
use crate::sys::step;
use crate::telemetry::{self, Stage};

/// The exit code of a container whose command could not be executed.
pub(super) const START_ERROR: i32 = 128;

/// How long the death of a container that was killed may take to be told.
const KILLED: Duration = Duration::from_secs(5);

impl Core {
    pub(super) async fn start(&self, entry: Arc<Entry>) -> Result<()> {
        let core = self.clone();
        self.detached(async move { core.start_now(&entry).await }).await
    }

    async fn start_now(&self, entry: &Arc<Entry>) -> Result<()> {
        let _underway = telemetry::begin(Stage::Start);
        let _operation = entry.operation.lock().await;
        let Phase::Created(mut live) = entry.phase() else {
            let state = entry.state().name();
            return Err(Error::precondition(format!(
                "container {} is in state {state}",
                entry.id
            )));
        };
        entry.heard()?;
        step("start.observation");
        // Before the command: it may have ended before the answer is here.
        live.started_at = now();
        self.observe_start(entry, &live)?;
        step("start.monitor");
        match live.monitor.start().await {
            Ok(()) => {
                step("start.done");
                self.transit(entry, Change::Started, || entry.set_phase(Phase::Running(live)));
                Ok(())
            }
            Err(MonitorError::Failed(Failure {
                kind: FailureKind::Command,
                text,
                ..
            })) => {
                self.end(entry, start_error(&text)).await;
                Err(Error::new(
                    Kind::Internal,
                    format!("cannot start container {}: {text}", entry.id),
                ))
            }
            Err(MonitorError::Failed(failure)) if failure.kind == FailureKind::Exhausted => {
                // Nothing was done: it can be started when there is what was missing.
                live.started_at = 0;
                if let Err(error) = self.observe_start(entry, &live) {
                    tracing::warn!(container = entry.id, %error, "that the container did not start is not noted");
                }
                Err(monitor_error(&entry.id, "start", MonitorError::Failed(failure)))
            }
            Err(error) if error.is_gone() => {
                // The command may have run, and may have ended: nobody knows better than the record, if there is one.
                entry.set_phase(Phase::Running(live));
                let end = self.lost(entry).await;
                self.end(entry, end).await;
                Err(monitor_error(&entry.id, "start", error))
            }
            Err(error) => {
                let text = error.to_string();
                // Whatever it does now, nobody may think that it runs: it is killed, and told as ended.
                if let Err(error) = live.monitor.kill_all().await {
                    tracing::warn!(container = entry.id, %error, "container that did not start is killed without its monitor");
                    self.kill_group(&entry.record.cgroup).await;
                }
                // The command may have run, and may have ended before: its monitor knows how.
                let text = format!("the container did not start as it should, and was killed: {text}");
                let mut exited = live.monitor.exited();
                let told = tokio::time::timeout(KILLED, exited.wait_for(Option::is_some)).await;
                let record = told.ok().and_then(|told| told.ok()?.clone());
                let end = match record {
                    Some(record) => End {
                        message: text,
                        ..ended(&record, live.started_at)
                    },
                    None => unknown(live.started_at, &text),
                };
                self.end(entry, end).await;
                Err(monitor_error(&entry.id, "start", error))
            }
        }
    }

    fn observe_start(&self, entry: &Entry, live: &Live) -> Result<()> {
        let (pid, start_time, started_at) = (live.pid, live.start_time, live.started_at);
        let observation = Observation {
            version: VERSION,
            pid,
            start_time,
            started_at,
        };
        let dir = self.directory(&entry.id);
        observation
            .save(&dir)
            .map_err(|e| super::failed("write below", &dir, e))
    }

    pub(super) async fn reopen_log(&self, id: &str) -> Result<()> {
        let entry = self.inner.registry.find(id)?;
        let Phase::Running(live) = entry.phase() else {
            return Err(Error::precondition(format!(
                "container {} is not running",
                entry.id
            )));
        };
        live.monitor
            .reopen_log()
            .await
            .map_err(|e| monitor_error(&entry.id, "reopen the log of", e))
    }
}

fn start_error(text: &str) -> End {
    End {
        started_at: 0,
        finished_at: now(),
        exit_code: START_ERROR,
        reason: "StartError".into(),
        message: format!("cannot start the command: {text}"),
        unknown: false,
    }
}

/// Puts a monitor's refusal in the model's terms.
pub(super) fn monitor_error(id: &str, verb: &str, error: MonitorError) -> Error {
    Error::new(kind_of(&error), format!("cannot {verb} container {id}")).because(error)
}

/// What a monitor's refusal means to the caller.
pub(super) fn kind_of(error: &MonitorError) -> Kind {
    match error {
        MonitorError::Failed(failure) if failure.shortage => Kind::ResourceExhausted,
        MonitorError::Failed(failure) => match failure.kind {
            FailureKind::Phase => Kind::FailedPrecondition,
            FailureKind::Invalid => Kind::InvalidArgument,
            FailureKind::Exhausted => Kind::ResourceExhausted,
            FailureKind::Unsupported => Kind::Unimplemented,
            FailureKind::Command | FailureKind::Runtime => Kind::Internal,
        },
        MonitorError::Unreachable { .. } | MonitorError::Gone(_) | MonitorError::Silent(_) => {
            Kind::Unavailable
        }
        other if is_shortage(other) => Kind::ResourceExhausted,
        _ => Kind::Internal,
    }
}
