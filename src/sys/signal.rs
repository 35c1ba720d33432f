//! Signal state: what must not reach a container, and how the monitor hears of deaths.

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;

/// Resets every signal to its default, empties the mask and sets the file mode mask to 022.
///
/// Rust's start-up ignores SIGPIPE, and our own parents may have blocked or ignored anything; a container would
/// inherit all of it. Real-time signals are beyond the enums of the safe crates.
pub fn reset() -> io::Result<()> {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL is no handler, so nothing of ours can run in signal context. Fails for KILL, STOP and the
        // two that the C library keeps for itself, which cannot be changed by anyone.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    Ok(())
}

/// Has the kernel reap all children, orphans that come to us included.
pub fn ignore_children() {
    // SAFETY: SIG_IGN is no handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// Blocks SIGCHLD and returns a non-blocking descriptor that is readable while a child has died.
pub fn child_deaths() -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
    Ok(SignalFd::with_flags(
        &set,
        SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
    )?)
}

/// Waits for a signal, for ever.
pub fn pause() {
    nix::unistd::pause();
}
