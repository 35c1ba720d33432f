//! Processes by descriptor, which no reuse of a number can redirect.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Opens a descriptor of a process, close-on-exec.
pub fn open(pid: i32) -> io::Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::pidfd_open(
        pid,
        rustix::process::PidfdFlags::empty(),
    )?)
}

/// Opens the process `pid` that started at `start_time` (see `proc::start_time`); `NotFound`: the number is another's.
pub fn open_exact(pid: i32, start_time: u64) -> io::Result<OwnedFd> {
    let fd = match open(pid) {
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => return Err(io::ErrorKind::NotFound.into()),
        other => other?,
    };
    // Read after opening: if the number has gone to another process by then, the start time differs.
    match crate::sys::proc::start_time(pid) {
        Ok(found) if found == start_time => Ok(fd),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Kills a process as [`open_exact`] finds it. Doing so twice succeeds.
pub fn kill_exact(pid: i32, start_time: u64) -> io::Result<()> {
    match open_exact(pid, start_time) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
        Ok(fd) => match signal(fd, libc::SIGKILL) {
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            done => done,
        },
    }
}

/// Sends any signal, real-time ones included (which the enums of the safe crates do not have).
pub fn signal(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    let fd = pidfd.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed for the call; a null siginfo asks the kernel to fill it.
    match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
