//! Fork, exit and reaping, for the single-threaded processes: zygote, monitors, workers.

use rustix::process::{Pid, WaitOptions, wait, waitpid};
use std::io;

/// Which side of a fork this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The new process.
    Child,
    /// The old one; the value is the child's process id.
    Parent(i32),
}

/// Forks. Only for processes with one thread, where the child may allocate and call anything; with more threads
/// it fails with `Unsupported`, because another thread may hold the allocator's lock for ever in the child.
pub fn fork() -> io::Result<Fork> {
    clone(0)
}

/// Forks a child of *our parent*: how a worker hands a process to its monitor. No safe crate offers the flag.
pub fn fork_sibling() -> io::Result<Fork> {
    clone(libc::CLONE_PARENT)
}

/// Not libc's fork: that resets locks nobody holds, by which each child comes to several pages of its own in the data of
/// the loader and of libc. A monitor lives with them for as long as its container does.
fn clone(flags: libc::c_int) -> io::Result<Fork> {
    single_threaded()?;
    let flags = i64::from(flags | libc::SIGCHLD);
    // SAFETY: one thread, so no lock is held by anyone else at this moment; without CLONE_VM the child has its own copy of
    // everything, and a zero stack means "go on here". libc's idea of the thread's number is the parent's in the child, which
    // it uses to tell owners of locks apart, where one number is as good as another, and not to signal (glibc 2.34).
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid as i32)),
    }
}

/// Ties the caller's life to that of its parent, of whom `parent` is the number: it is killed when the parent ends. For
/// forks of processes with one thread: the kernel means the thread. Ids that change end it; children do not inherit it.
pub fn die_with(parent: i32) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    match rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get()) {
        Some(pid) if pid == parent => Ok(()),
        // It has ended before we asked.
        _ => exit_now(1),
    }
}

fn single_threaded() -> io::Result<()> {
    // Counting links costs one call; entries "." and ".." and one thread make three.
    match std::fs::metadata("/proc/self/task").map(|m| std::os::unix::fs::MetadataExt::nlink(&m)) {
        Ok(n) if n > 3 => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "fork in a process with several threads",
        )),
        _ => Ok(()),
    }
}

/// Ends the process without destructors or exit handlers, which belong to the process that was forked.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: takes a number, does not return.
    unsafe { libc::_exit(code) }
}

/// A child that has died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// Process id, free for reuse from now on.
    pub pid: i32,
    /// Exit code, 128 + signal when killed by one.
    pub code: i32,
    /// The signal that killed it.
    pub signal: Option<i32>,
}

/// Reaps one dead child, if there is one.
pub fn reap() -> Option<Death> {
    let (pid, status) = wait(WaitOptions::NOHANG).ok()??;
    let signal = status.terminating_signal();
    let code = signal.map_or_else(
        || status.exit_status().unwrap_or(0),
        |s| if super::planted("exit-code") { 0 } else { 128 + s },
    );
    Some(Death {
        pid: pid.as_raw_nonzero().get(),
        code,
        signal,
    })
}

/// Waits for one child to end.
pub fn wait_for(pid: i32) -> io::Result<()> {
    waitpid(Pid::from_raw(pid), WaitOptions::empty())?;
    Ok(())
}

/// Makes orphans among our descendants our children.
pub fn become_subreaper() -> io::Result<()> {
    // The value is a flag; any process id will do.
    Ok(rustix::process::set_child_subreaper(Some(
        rustix::process::getpid(),
    ))?)
}

/// Starts a session of its own: signals to the starter's terminal or group do not reach it.
pub fn new_session() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
}

/// Names the process, for `ps`. At most 15 bytes count.
pub fn set_name(name: &std::ffi::CStr) -> io::Result<()> {
    Ok(rustix::thread::set_name(name)?)
}

/// Runs `job` in a child that has one thread, although the test harness has two, and ends with it; the child dies with
/// the caller. Sound for the test binary only: glibc makes its allocator usable in the child, and the harness's other
/// thread does nothing but wait.
#[cfg(test)]
pub(crate) fn in_single_thread(job: impl FnOnce()) -> ! {
    // SAFETY: see above.
    match unsafe { libc::fork() } {
        0 => {
            let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
            job();
            exit_now(0)
        }
        pid => {
            let _ = wait_for(pid);
            exit_now(0)
        }
    }
}
