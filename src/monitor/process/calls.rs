//! Calls that take more than a turn of the loop: each waits for its worker's report, a last stage, a death.

use crate::monitor::process::container::Engine;
use crate::monitor::process::exit_file::ExitFile;
use crate::monitor::process::failure::Subject;
use crate::monitor::process::streams::Streams;
use crate::monitor::process::worker::{self, Outcome, Worker};
use crate::monitor::protocol::{Failure, TerminalSize};
use crate::sys::cgroup::ExecGroup;
use crate::sys::fork::Death;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// How often an exec that was killed is looked at until all its descendants are gone. The kernel tells
/// nobody of the death of a process that is not its child.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// How long that goes on: a process in the disk's hands may take for ever.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often after that, while the command itself has not ended.
const LOOK_SELDOM: Duration = Duration::from_secs(5);

/// An open call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) client: u64,
    pub(super) id: u64,
    pub(super) work: Option<Worker>,
    /// Set when the worker has reported.
    pub(super) outcome: Option<Outcome>,
    pub(super) stage: Option<StageReport>,
    pub(super) kind: Kind,
}

/// What a call is about.
#[derive(Debug)]
pub(super) enum Kind {
    Create(Box<Creating>),
    Start,
    Exec(Box<Running>),
    Delete,
}

/// A create under way.
#[derive(Debug)]
pub(super) struct Creating {
    pub(super) engine: Engine,
    pub(super) subject: Subject,
    pub(super) streams: Streams,
    pub(super) terminal: Option<TerminalSize>,
    /// Read at start.
    pub(super) failure: OwnedFd,
    pub(super) exit_file: ExitFile,
}

/// An exec under way.
#[derive(Debug)]
pub(super) struct Running {
    /// In an option so that it can outlive the call: busy groups are removed later.
    pub(super) group: Option<ExecGroup>,
    pub(super) deadline: Option<Instant>,
    pub(super) killed_at: Option<Instant>,
    /// It was killed because its time was up.
    pub(super) timed_out: bool,
    /// 0 until the worker has reported.
    pub(super) pid: i32,
    pub(super) started: bool,
    pub(super) death: Option<Death>,
}

/// The last stage's report as it comes in; complete when its pipe has closed.
#[derive(Debug)]
pub(super) struct StageReport {
    pub(super) pipe: Option<OwnedFd>,
    pub(super) text: Vec<u8>,
    pub(super) subject: Subject,
}

impl StageReport {
    pub(super) fn new(pipe: OwnedFd, subject: Subject) -> StageReport {
        StageReport {
            pipe: Some(pipe),
            text: vec![],
            subject,
        }
    }

    /// Reads what is there.
    pub(super) fn read(&mut self) {
        while let Some(pipe) = &self.pipe {
            let mut chunk = [0; 64];
            match rustix::io::read(pipe, &mut chunk) {
                Ok(count) if count > 0 => self.text.extend_from_slice(&chunk[..count]),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
                Ok(_) | Err(_) => self.pipe = None,
            }
        }
    }

    /// Why the command could not be run; `None`: it runs.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.subject.failure(&self.text)
    }
}

impl Call {
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let stage = self.stage.as_ref().and_then(|s| s.pipe.as_ref());
        self.work
            .as_ref()
            .map(AsFd::as_fd)
            .into_iter()
            .chain(stage.map(AsFd::as_fd))
    }

    /// Reads what its worker and its last stage have to say.
    pub(super) fn read(&mut self, ready: &[RawFd]) {
        if let Some(work) = &self.work
            && ready.contains(&work.as_fd().as_raw_fd())
        {
            self.outcome = work.receive();
        }
        if self.outcome.is_some() {
            self.work = None;
        }
        if let Some(stage) = &mut self.stage {
            stage.read();
        }
    }

    /// Told of a death: the worker's without a report is the report. Returns true when it was its worker's.
    pub(super) fn worker_died(&mut self, pid: i32) -> bool {
        match self.work.take_if(|work| work.is(pid)) {
            Some(work) => {
                // It may have died right after its report.
                self.outcome = work.receive().or_else(|| Some(Err(worker::died())));
                true
            }
            None => false,
        }
    }

    /// Process of an exec, once known.
    pub(super) fn pid(&self) -> Option<i32> {
        match &self.kind {
            Kind::Exec(running) if running.pid > 0 => Some(running.pid),
            _ => None,
        }
    }

    /// When this call wants to be looked at though nothing has happened.
    pub(super) fn wakes_in(&self, now: Instant) -> Option<Duration> {
        match &self.kind {
            Kind::Exec(running) => running.wakes_in(now),
            _ => None,
        }
    }
}

impl Running {
    fn wakes_in(&self, now: Instant) -> Option<Duration> {
        match self.killed_at {
            Some(killed_at) if now.duration_since(killed_at) > PATIENCE => Some(LOOK_SELDOM),
            Some(_) => Some(LOOK_AGAIN),
            None => self
                .deadline
                .map(|deadline| deadline.saturating_duration_since(now)),
        }
    }

    /// Kills everything once the deadline has passed.
    pub(super) fn kill_if_late(&mut self, now: Instant) {
        if self.killed_at.is_none() && self.deadline.is_some_and(|deadline| deadline <= now) {
            self.timed_out = true;
            self.kill_now(now);
        }
    }

    /// Kills everything, and again until nothing is left: its worker may be about to join the group.
    pub(super) fn kill_now(&mut self, now: Instant) {
        self.killed_at.get_or_insert(now);
        self.kill();
    }

    fn kill(&self) {
        if let Some(group) = &self.group {
            let _ = group.kill();
        }
    }

    /// Tells whether nothing of a killed exec is left, or is not worth waiting for any longer. What had just been forked
    /// when the group was killed is killed again.
    pub(super) fn is_gone(&self, now: Instant) -> bool {
        let (Some(killed_at), Some(group)) = (self.killed_at, &self.group) else {
            return true;
        };
        let gone = group.is_empty() || now.duration_since(killed_at) > PATIENCE;
        if !gone {
            self.kill();
        }
        gone
    }
}
