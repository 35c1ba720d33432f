//! How a daemon is told to end: the first SIGTERM or SIGINT asks for an orderly end, a second one for an end at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The two requests. The task that listens belongs to this and ends with it.
#[derive(Debug)]
pub(super) struct Shutdown {
    drain: CancellationToken,
    abort: CancellationToken,
    _listener: JoinSet<()>,
}

impl Shutdown {
    /// Listens from now on; the signals do not end the process any more.
    pub(super) fn listen() -> io::Result<Shutdown> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (drain, abort) = (CancellationToken::new(), CancellationToken::new());
        let mut listener = JoinSet::new();
        let (first, second) = (drain.clone(), abort.clone());
        listener.spawn(async move {
            either(&mut terminate, &mut interrupt).await;
            first.cancel();
            either(&mut terminate, &mut interrupt).await;
            second.cancel();
        });
        Ok(Shutdown {
            drain,
            abort,
            _listener: listener,
        })
    }

    /// Returns when the daemon is to take no more work and finish what it has.
    pub(super) fn drain(&self) -> impl Future<Output = ()> + Send + 'static {
        self.drain.clone().cancelled_owned()
    }

    /// Returns when the daemon is to end whatever is under way.
    pub(super) fn abort(&self) -> impl Future<Output = ()> + Send + 'static {
        self.abort.clone().cancelled_owned()
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
