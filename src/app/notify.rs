//! Tells a service manager about the daemon's life (sd_notify(3)). Without one these calls do nothing.

use std::time::Duration;

use sd_notify::NotifyState;

/// The socket is bound and calls are answered.
pub(super) fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// No new call is taken.
pub(super) fn stopping() {
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("finishing the calls under way"),
    ]);
}

/// How long the daemon may be silent, if the manager watches it.
pub(super) fn watched() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// The daemon has shown that it is alive.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        // The manager has its own deadline and says so itself.
        tracing::warn!(%error, "service manager cannot be told");
    }
}
