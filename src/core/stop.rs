//! StopContainer: the stop signal once, patience, then SIGKILL. What was created and not started is killed at once.
//!
//! Stopping takes no lock: exec goes on during the grace period, and a second stop with less patience shortens the
//! first one's wait, since whichever deadline comes first kills.

use std::sync::Arc;
use std::time::Duration;

use super::Core;
use super::entry::{Entry, Live, Phase};
use super::start::monitor_error;
use crate::model::{Error, Kind, Result, StopContainerRequest};
use crate::spec::Signal;
use crate::sys::step;

/// How long the kernel gets to end a killed container before the caller is told that it has not.
const KILL_PATIENCE: Duration = Duration::from_secs(60);

impl Core {
    pub(super) async fn stop(&self, request: &StopContainerRequest) -> Result<()> {
        let entry = match self.inner.registry.find(&request.container_id) {
            Ok(entry) => entry,
            // CRI: "must not return an error if the container has already been stopped", nor if it is gone.
            Err(error) if error.kind() == Kind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let live = match entry.phase() {
            Phase::Running(live) => live,
            // Its first process waits for a start that nobody wants any more, and is deaf to signals.
            Phase::Created(live) => return self.kill(&entry, &live).await,
            Phase::Creating | Phase::Ended(_) => return Ok(()),
        };
        let patience = Duration::from_secs(u64::try_from(request.timeout).unwrap_or(0));
        if !patience.is_zero() {
            let asked = async {
                self.ask_to_stop(&entry, &live).await?;
                entry.ended().await;
                Ok(())
            };
            // The monitor's own time counts: it may be stopped.
            if let Ok(outcome) = tokio::time::timeout(patience, asked).await {
                return outcome;
            }
        }
        self.kill(&entry, &live).await
    }

    async fn ask_to_stop(&self, entry: &Arc<Entry>, live: &Live) -> Result<()> {
        if !entry.claim_stop_signal() {
            return Ok(());
        }
        let signal = Signal::from_name(&entry.record.stop_signal)?;
        step("stop.signal");
        match live.monitor.signal(signal.number()).await {
            Ok(()) => Ok(()),
            // It has just ended, or its monitor has: the wait that follows tells.
            Err(error) => {
                tracing::debug!(container = entry.id, %error, "stop signal not delivered");
                Ok(())
            }
        }
    }

    /// Kills every process of the container and waits until it has ended.
    pub(super) async fn kill(&self, entry: &Arc<Entry>, live: &Live) -> Result<()> {
        step("stop.kill");
        let killed = live.monitor.kill_all().await;
        if killed.as_ref().is_err_and(|error| !error.is_gone()) {
            // What it does not do is done without it.
            self.kill_group(&entry.record.cgroup).await;
        }
        match tokio::time::timeout(KILL_PATIENCE, entry.ended()).await {
            Ok(()) => Ok(()),
            Err(_) => match killed {
                Err(error) => Err(monitor_error(&entry.id, "kill", error)),
                Ok(()) => {
                    let text = format!("container {} was killed and has not ended", entry.id);
                    Err(Error::new(Kind::DeadlineExceeded, text))
                }
            },
        }
    }
}
