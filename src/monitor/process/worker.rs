//! Workers: short-lived forks of the monitor that do what may block, fail half-way or change the process it runs in.
//!
//! A worker answers with one message on a socket pair. The container's first process holds a copy of the worker's end
//! until it is started, so the end of the stream says nothing: a worker that died without an answer is found by its
//! death.

use crate::monitor::process::failure;
use crate::monitor::protocol::{Failure, FailureKind};
use crate::sys::fork::{Fork, exit_now, fork};
use crate::sys::{fds, fork as processes, message, pipe, signal, socket};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// What a worker has to say.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Report {
    /// The process it started, a child of the monitor.
    pub(super) pid: i32,
    /// What had to be adjusted.
    pub(super) warnings: Vec<String>,
    /// Why it failed.
    pub(super) error: Option<Failure>,
}

/// A report and at most one descriptor: a terminal's master side.
pub(super) type Outcome = Result<(Report, Option<OwnedFd>), Failure>;

/// A running worker.
#[derive(Debug)]
pub(super) struct Worker {
    pid: i32,
    socket: OwnedFd,
}

impl Worker {
    /// Forks a worker. `job` runs in it, with no descriptor left but the standard ones, `keep` and its socket. It dies with
    /// the monitor: what it went on with would have no owner.
    pub(super) fn spawn(keep: &[RawFd], job: impl FnOnce() -> Outcome) -> io::Result<Worker> {
        let (socket, theirs) = socket::pair()?;
        pipe::set_nonblocking(&socket)?;
        let monitor = rustix::process::getpid().as_raw_nonzero().get();
        match fork()? {
            Fork::Parent(pid) => Ok(Worker { pid, socket }),
            Fork::Child => {
                let kept: Vec<RawFd> = keep.iter().copied().chain([theirs.as_raw_fd()]).collect();
                let ready = fds::close_all_except(&kept)
                    .and_then(|()| signal::reset())
                    .and_then(|()| processes::set_name(c"coracle-worker"))
                    .and_then(|()| processes::die_with(monitor));
                let outcome = ready
                    .map_err(failure::at("prepare a worker"))
                    .and_then(|()| job());
                let (report, master) = outcome.unwrap_or_else(|error| {
                    (
                        Report {
                            error: Some(error),
                            ..Report::default()
                        },
                        None,
                    )
                });
                let sent = message::Packet::new(&report, master.into_iter().collect())
                    .and_then(|packet| packet.send(theirs.as_fd()));
                exit_now(if sent.is_ok() { 0 } else { 1 })
            }
        }
    }

    /// Tells whether a dead process was this one.
    pub(super) fn is(&self, pid: i32) -> bool {
        self.pid == pid
    }

    /// Takes the report; `None`: not there yet.
    pub(super) fn receive(&self) -> Option<Outcome> {
        match message::receive::<Report>(self.socket.as_fd()) {
            Ok(Some((
                Report {
                    error: Some(error), ..
                },
                _,
            ))) => Some(Err(error)),
            Ok(Some((report, fds))) => Some(Ok((report, fds.into_iter().next()))),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => None,
            Ok(None) => Some(Err(died())),
            Err(e) => Some(Err(failure::at("a worker's report")(e))),
        }
    }
}

impl AsFd for Worker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What to say for a worker that said nothing.
pub(super) fn died() -> Failure {
    failure::of(FailureKind::Runtime, "the worker died before it was done")
}
