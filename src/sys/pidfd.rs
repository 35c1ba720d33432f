//! Processes by descriptor, which no reuse of a number can redirect.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

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

/// Kills every process that was started with all of these in its environment, as in `NAME=value`, and waits until they are
/// gone, but not for long: the kernel may hold one fast. Returns how many there were.
pub fn kill_started_with(variables: &[String], patience: Duration) -> io::Result<usize> {
    let until = Instant::now() + patience;
    let mut killed = vec![];
    for pid in crate::sys::proc::processes()? {
        if !crate::sys::proc::was_started_with(pid, variables) {
            continue;
        }
        // Looked at again after opening: the number may have gone to another process.
        let Ok(fd) = open(pid) else { continue };
        if crate::sys::proc::was_started_with(pid, variables) && signal(&fd, libc::SIGKILL).is_ok() {
            killed.push(fd);
        }
    }
    for fd in &killed {
        // Any signal ends the wait, such as a child's end: what is left of it goes on.
        retry_on_intr(|| {
            let left = until.saturating_duration_since(Instant::now());
            let limit = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
            poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&limit))
        })?;
    }
    Ok(killed.len())
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    #[test]
    fn who_was_started_with_all_of_an_environment_is_killed_and_nobody_else() {
        let (ours, all) = (format!("MARK={}", std::process::id()), ["A=1", "B=2"]);
        let start = |variables: &[&str]| {
            let pairs = variables.iter().filter_map(|v| v.split_once('='));
            Command::new("sleep").arg("600").envs(pairs).spawn().unwrap()
        };
        let mut children = [start(&[&ours, all[0], all[1]]), start(&[&ours, all[0]])];

        let wanted = [ours, "A=1".into(), "B=2".into()];
        let killed = kill_started_with(&wanted, Duration::from_secs(10)).unwrap();

        let left = children[1].try_wait().unwrap();
        children[1].kill().unwrap();
        let ends = children.map(|mut child| child.wait().unwrap().signal());
        assert_eq!((killed, left, ends[0]), (1, None, Some(libc::SIGKILL)));
    }
}
