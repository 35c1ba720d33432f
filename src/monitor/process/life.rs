//! The container as the monitor knows it, from create to its end.
//!
//! ```text
//!  Empty --create--> Created --start--> Running --death--> Exited --delete--> (the monitor ends)
//!                       \----------------death-------------^
//! ```

use crate::monitor::process::container::Engine;
use crate::monitor::process::exit_file::ExitFile;
use crate::monitor::process::failure::Subject;
use crate::monitor::process::streams::Streams;
use crate::monitor::protocol::{Created, ExitRecord, Phase, State, VERSION};
use crate::sys::cgroup::oom::OomWatch;
use crate::sys::clock::now;
use crate::sys::fork::Death;
use crate::sys::namespace::{self, Kinds};
use crate::sys::{pidfd, proc, step};
use std::io;
use std::os::fd::OwnedFd;

/// A created container.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) engine: Engine,
    pub(super) subject: Subject,
    pub(super) streams: Streams,
    pub(super) init: Init,
    /// The last stage's report, from create until start; then with the start call.
    pub(super) failure: Option<OwnedFd>,
    pub(super) started: bool,
    /// Why the command could not be run.
    pub(super) reason: Option<String>,
    pub(super) oom: Option<OomWatch>,
    pub(super) oom_killed: bool,
    pub(super) exit: Option<ExitRecord>,
    pub(super) exit_file: ExitFile,
}

/// The container's first process. Nobody but the monitor reaps it, so number and descriptor name the same process until
/// its death is known.
#[derive(Debug)]
pub(super) struct Init {
    pub(super) pid: i32,
    pub(super) start_time: u64,
    pub(super) pidfd: Option<OwnedFd>,
    /// The namespaces in which it differs from us.
    pub(super) kinds: Kinds,
}

impl Init {
    /// Looks at a new process. One that has died already has an empty descriptor, and its death is told soon.
    pub(super) fn new(pid: i32) -> Init {
        Init {
            pid,
            start_time: proc::start_time(pid).unwrap_or(0),
            pidfd: pidfd::open(pid).ok(),
            kinds: namespace::differing(pid).unwrap_or(Kinds::empty()),
        }
    }
}

impl Life {
    pub(super) fn phase(&self) -> Phase {
        match (&self.exit, self.started) {
            (Some(_), _) => Phase::Exited,
            (None, true) => Phase::Running,
            (None, false) => Phase::Created,
        }
    }

    pub(super) fn created(&self, warnings: Vec<String>) -> Created {
        Created {
            pid: self.init.pid,
            start_time: self.init.start_time,
            warnings,
        }
    }

    /// Sends a signal to the first process.
    pub(super) fn signal(&self, signal: i32) -> io::Result<()> {
        match &self.init.pidfd {
            Some(pidfd) => pidfd::signal(pidfd, signal),
            None => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        }
    }

    /// Sends a signal to everything in the container's cgroup.
    pub(super) fn signal_all(&self, signal: i32) -> io::Result<()> {
        if signal == libc::SIGKILL {
            return self.engine.cgroup.kill();
        }
        for pid in self.engine.cgroup.processes() {
            // One that has ended meanwhile is none of them.
            let _ = pidfd::open(pid).and_then(|fd| pidfd::signal(fd, signal));
        }
        Ok(())
    }

    /// Counts kills for want of memory.
    pub(super) fn read_oom(&mut self) -> u64 {
        let kills = self.oom.as_mut().map_or(0, OomWatch::kills);
        self.oom_killed |= kills > 0;
        kills
    }

    /// Records the end. The last output is logged first: who sees the record finds a complete log.
    pub(super) fn end(&mut self, death: Death) -> &ExitRecord {
        self.streams.drain();
        // Its eventfd would be ready for ever once the cgroup is gone.
        self.oom = None;
        self.init.pidfd = None;
        let record = ExitRecord {
            version: VERSION,
            code: death.code,
            signal: death.signal,
            oom_killed: self.oom_killed,
            finished_at: now(),
            reason: self.reason.take(),
        };
        step("monitor.exit.record");
        self.exit_file.write(&record);
        step("monitor.exit.recorded");
        self.exit.insert(record)
    }
}

/// The state of a monitor with or without a container.
pub(super) fn state(life: Option<&Life>) -> State {
    let alive = life.filter(|l| l.exit.is_none());
    State {
        phase: life.map_or(Phase::Empty, Life::phase),
        pid: alive.map_or(0, |l| l.init.pid),
        start_time: alive.map_or(0, |l| l.init.start_time),
        exit: life.and_then(|l| l.exit.clone()),
        monitor_pid: rustix::process::getpid().as_raw_nonzero().get(),
    }
}
