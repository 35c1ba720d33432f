//! Feeds the service manager's watchdog (`WatchdogSec=`, sd_notify(3)) for as long as the daemon answers a Status call on its own
//! socket. What it answers does not matter: a new start mends no missing network. What a silence leads to is the manager's.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_cri::v1::StatusRequest;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::notify;
use crate::cri::client::channel;
use crate::telemetry::chain;

/// The task that asks and feeds; it ends with the value.
#[derive(Debug)]
pub(super) struct Watchdog {
    _task: JoinSet<()>,
}

impl Watchdog {
    /// Feeds from now on, if the manager watches this process. The socket has to be bound.
    pub(super) fn feed(socket: &Path) -> Option<Watchdog> {
        let silence = notify::watched()?;
        let mut task = JoinSet::new();
        task.spawn(watch(socket.to_owned(), silence, notify::alive));
        Some(Watchdog { _task: task })
    }
}

/// Asks three times in the longest silence allowed, so that one answer may be late.
async fn watch(socket: PathBuf, silence: Duration, alive: impl Fn()) {
    let patience = silence / 3;
    let mut ticks = interval(patience);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let why = match timeout(patience, ask(&socket)).await {
            Ok(Ok(())) => {
                alive();
                continue;
            }
            Ok(Err(error)) => chain(error.as_ref()),
            Err(_) => format!("no answer in {patience:?}"),
        };
        tracing::warn!(
            error = why,
            "the daemon does not answer itself, the watchdog is not fed"
        );
    }
}

/// One call on a connection of its own, as a client makes it.
async fn ask(socket: &Path) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut runtime = RuntimeServiceClient::new(channel(socket).await?);
    runtime.status(StatusRequest::default()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::net::UnixListener;

    use super::*;

    /// How often the manager hears of `socket` in ten times the silence that it allows.
    async fn fed(socket: &Path) -> usize {
        let count = AtomicUsize::new(0);
        let silence = Duration::from_secs(60);
        let watching = watch(socket.to_owned(), silence, || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let _ = timeout(silence * 10, watching).await;
        count.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_takes_connections_and_answers_none_is_not_alive() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();

        assert_eq!(fed(&socket).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_that_is_gone_is_nobody_alive() {
        let dir = tempfile::tempdir().unwrap();

        assert_eq!(fed(&dir.path().join("socket")).await, 0);
    }
}
