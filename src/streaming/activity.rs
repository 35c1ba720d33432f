//! When a connection last moved, and the two limits to its silence.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a client may take nothing of what is still to be written after its session's end.
const STALLED: Duration = Duration::from_secs(60);

/// One connection's clock.
#[derive(Debug)]
pub(super) struct Activity {
    begin: Instant,
    /// Milliseconds from `begin` to the last movement.
    moved: AtomicU64,
    closing: CancellationToken,
}

impl Activity {
    pub(super) fn new() -> Activity {
        Activity {
            begin: Instant::now(),
            moved: AtomicU64::new(0),
            closing: CancellationToken::new(),
        }
    }

    /// Something was read or written.
    pub(super) fn moves(&self) {
        let now = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(now, Ordering::Relaxed);
    }

    /// The session is over: what is left must move on.
    pub(super) fn close(&self) {
        self.moves();
        self.closing.cancel();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Returns when nothing has moved for too long: for `idle`, or less once it is closing.
    pub(super) async fn silence(&self, idle: Duration) {
        loop {
            let closing = self.is_closing();
            let limit = if closing { STALLED } else { idle };
            let moved = Duration::from_millis(self.moved.load(Ordering::Relaxed));
            let silent = self.begin.elapsed().saturating_sub(moved);
            let rest = limit.saturating_sub(silent);
            if rest.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = self.closing.cancelled(), if !closing => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn silence_is_counted_from_the_last_movement() {
        let (activity, begin) = (Activity::new(), Instant::now());
        let silence = activity.silence(IDLE);
        tokio::pin!(silence);

        tokio::time::timeout(IDLE - Duration::from_secs(1), &mut silence)
            .await
            .unwrap_err();
        activity.moves();
        silence.await;

        assert!(begin.elapsed() >= IDLE * 2 - Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_closing_is_given_less_time() {
        let (activity, begin) = (Activity::new(), Instant::now());

        tokio::join!(activity.silence(IDLE), async { activity.close() });

        assert!(begin.elapsed() < IDLE);
    }
}
