//! A monitor: parent, reaper and log writer of one container. It outlives the daemon and the zygote.
//!
//! A single thread around one poll ([`event_loop`]). Nothing in it blocks on a child: every engine call and every exec is
//! a [`worker`], a fork that reports on a socket, and *all* children are reaped as they die (an unreaped exec would
//! keep the container's PID namespace from ending). Buffers are bounded and given back when idle.

mod attached;
mod calls;
mod clamp;
mod clients;
mod container;
mod devices;
mod door;
mod event_loop;
mod exec;
mod exit_file;
mod failure;
mod inbox;
mod input;
mod last_stage;
mod life;
mod log;
mod proc_mounts;
mod progress;
mod requests;
mod rootfs;
mod streams;
mod trace;
mod worker;

use crate::monitor::client::LAST_WORDS;
use crate::sys::{fds, fork, signal, step};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// Is the monitor of the container in `dir`, in a fork of the zygote; returns when the container has been deleted, or
/// when there is neither container nor client. `connection` is the first client, `lean` the mount namespace that create
/// workers start from.
pub(super) fn run(dir: &Path, connection: OwnedFd, lean: OwnedFd) -> io::Result<()> {
    let mut monitor = match begin(dir, &connection, lean) {
        // The directory may be another monitor's by now.
        Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => return Ok(()),
        // The connection is open until the reason is on disk: the client looks for it when it sees the end.
        other => other.inspect_err(|e| leave_word(dir, e))?,
    };
    drop(connection);
    let served = monitor.run().inspect_err(|e| leave_word(dir, e));
    // Its connections close with the process: who sees the end of one finds no monitor any more.
    std::mem::forget(monitor);
    served
}

fn begin(dir: &Path, connection: &OwnedFd, lean: OwnedFd) -> io::Result<event_loop::Monitor> {
    fds::close_all_except(&[connection.as_raw_fd(), lean.as_raw_fd()])?;
    signal::reset()?;
    signal::ignore_broken_pipes();
    fork::new_session()?;
    fork::become_subreaper()?;
    fork::set_name(c"coracle-monitor")?;
    step("monitor.begin");
    event_loop::Monitor::new(dir, connection.try_clone()?, lean)
}

/// Says why a monitor cannot serve.
pub(super) fn leave_word(dir: &Path, error: &io::Error) {
    let _ = std::fs::write(dir.join(LAST_WORDS), format!("{error}\n"));
}
