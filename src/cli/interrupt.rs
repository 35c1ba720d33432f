//! Ctrl-C and its like, as something that a command notices between two steps instead of dying of it.

use futures_util::FutureExt;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::CliError;

/// The signals that ask a command to end.
#[derive(Debug)]
pub(super) struct Interrupt {
    signals: [Signal; 3],
    seen: bool,
}

impl Interrupt {
    /// Listens from now on; the signals do not end the process any more.
    pub(super) fn listen() -> Result<Interrupt, CliError> {
        let listen = |kind| signal(kind).map_err(CliError::Signals);
        Ok(Interrupt {
            signals: [
                listen(SignalKind::interrupt())?,
                listen(SignalKind::terminate())?,
                listen(SignalKind::hangup())?,
            ],
            seen: false,
        })
    }

    /// Fails if a signal has come.
    pub(super) fn check(&mut self) -> Result<(), CliError> {
        match self.wait().now_or_never() {
            Some(interrupted) => Err(interrupted),
            None => Ok(()),
        }
    }

    /// Returns when a signal comes, or at once if one has come already.
    pub(super) async fn wait(&mut self) -> CliError {
        if !self.seen {
            let [interrupt, terminate, hangup] = &mut self.signals;
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            self.seen = true;
        }
        CliError::Interrupted
    }
}
