//! The signals that are passed on to the container, as one stream of numbers.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::cli::CliError;

/// What people and service managers send.
const PASSED_ON: [i32; 7] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
];

/// Listens from its making on; the tasks that do end with it.
#[derive(Debug)]
pub(super) struct Signals {
    received: mpsc::Receiver<i32>,
    _listeners: JoinSet<()>,
}

impl Signals {
    pub(super) fn listen() -> Result<Signals, CliError> {
        let (sender, received) = mpsc::channel(PASSED_ON.len());
        let mut listeners = JoinSet::new();
        for number in PASSED_ON {
            let mut signal = signal(SignalKind::from_raw(number)).map_err(CliError::Signals)?;
            let sender = sender.clone();
            listeners.spawn(async move {
                while signal.recv().await.is_some() && sender.send(number).await.is_ok() {}
            });
        }
        Ok(Signals {
            received,
            _listeners: listeners,
        })
    }

    /// The next signal's number. Cancel safety: none is lost.
    pub(super) async fn next(&mut self) -> i32 {
        match self.received.recv().await {
            Some(number) => number,
            // The listeners live as long as this.
            None => std::future::pending().await,
        }
    }
}
