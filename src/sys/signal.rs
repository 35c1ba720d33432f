//! Signal state: what must not reach a container, and how the monitor hears of deaths.

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;

/// Resets every signal to its default, empties the mask and sets the file mode mask to 022.
///
/// Rust's start-up ignores SIGPIPE, and our own parents may have blocked or ignored anything; a container would
/// inherit all of it. The safe crates have neither real-time signals nor the two that the C library keeps for itself.
pub fn reset() -> io::Result<()> {
    // struct kernel_sigaction: handler, flags, restorer, mask; all zero is SIG_DFL with nothing blocked.
    let default = [0u64; 4];
    for signal in 1..=64 {
        // SAFETY: SIG_DFL is no handler, so nothing of ours can run in signal context; the kernel reads `default`, whose
        // mask has the 8 bytes that are named. Fails for KILL and STOP only, which nobody can change. The C library
        // would refuse 32 and 33 as well, which its thread cancellation uses: a parent may have ignored them.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), 0, 8) };
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

/// Lets writing to a pipe that nobody reads fail instead of killing the process. [`reset`] and [`heed_broken_pipes`] take
/// it back.
pub fn ignore_broken_pipes() {
    // SAFETY: SIG_IGN is no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Takes back [`ignore_broken_pipes`].
pub fn heed_broken_pipes() {
    // SAFETY: SIG_DFL is no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
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
