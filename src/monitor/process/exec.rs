//! Exec into a running container without the engine's help: cgroup, namespaces, one more fork, last stage.

use crate::monitor::process::last_stage::{self, LastStage};
use crate::monitor::process::worker::{Outcome, Report};
use crate::monitor::process::{clamp, container, failure};
use crate::monitor::protocol::{ExecRequest, Failure, FailureKind, Process, TerminalSize};
use crate::sys::cgroup::ExecGroup;
use crate::sys::fork::{Fork, fork_sibling, new_session};
use crate::sys::namespace::{self, Kinds};
use crate::sys::{credentials, fds, pipe, proc, pty, step};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The container to enter.
#[derive(Debug)]
pub(super) struct Target<'a> {
    /// Its first process.
    pub(super) pid: i32,
    /// The same, as a descriptor.
    pub(super) pidfd: &'a OwnedFd,
    /// The namespaces in which it differs from us.
    pub(super) kinds: Kinds,
    /// The exec's own group.
    pub(super) group: &'a ExecGroup,
}

/// Runs in a worker. The process it starts is the *monitor's* child: this one only reports the number.
pub(super) fn run(
    target: &Target<'_>,
    mut request: ExecRequest,
    stdio: Option<[OwnedFd; 3]>,
    failure: OwnedFd,
) -> Outcome {
    let warnings = clamp::clamp(&mut request.process);
    // Host files are read while the host is still in sight.
    let filter = container::read_filter(request.process.seccomp.as_deref())?;
    let proc = proc::open_proc().map_err(failure::at("open /proc"))?;
    join(target, &request.process, stdio.as_ref())?;
    let (stdio, master) = match request.terminal {
        None => (Streams::Given(stdio.ok_or_else(no_streams)?), None),
        Some(size) => terminal(size, request.process.uid).map_err(failure::at("open a terminal"))?,
    };
    let stage = LastStage {
        process: request.process,
        filter,
        make_cwd: false,
        proc: Some(proc),
        failure,
    };
    step("worker.exec.fork");
    // The PID namespace counts for children only, so one more fork; as a sibling, so that the monitor reaps it.
    match fork_sibling().map_err(failure::at("fork"))? {
        Fork::Parent(pid) => Ok((
            Report {
                pid,
                warnings,
                error: None,
            },
            master,
        )),
        Fork::Child => {
            drop(master);
            if let Err(e) = stdio.install() {
                last_stage::report(&stage.failure, &("standard streams", e));
            }
            stage.run()
        }
    }
}

/// Becomes a member of the container, in the only order that works.
fn join(target: &Target<'_>, process: &Process, stdio: Option<&[OwnedFd; 3]>) -> Result<(), Failure> {
    if let Some(stdio) = stdio {
        give_pipes(target.pid, stdio, process.uid, process.gid)
            .map_err(failure::at("give the pipes to the user"))?;
    }
    // Before any namespace: a new cgroup namespace hides the path, a user namespace takes the right to write.
    target
        .group
        .join()
        .map_err(failure::at("join the container's cgroup"))?;
    step("worker.exec.joined");
    // Before the process is closed to tracing: one that is does not own its files in /proc.
    if let Some(score) = process.oom_score_adj {
        proc::set_oom_score_adj(score).map_err(failure::at("set oom_score_adj"))?;
    }
    enter(target).map_err(failure::at("enter the container's namespaces"))
}

fn no_streams() -> Failure {
    failure::of(FailureKind::Invalid, "neither streams nor a terminal")
}

fn enter(target: &Target<'_>) -> io::Result<()> {
    // From here on a process of the container could see this one; it must not be able to trace it or reach its
    // descriptors. execve makes it dumpable again.
    credentials::set_not_dumpable()?;
    namespace::enter(target.pidfd, target.kinds)?;
    if target.kinds.contains(Kinds::CLONE_NEWUSER) {
        // We are nobody there so far, and what nobody opens (a terminal) nobody can give away.
        credentials::set_gid(0)?;
        credentials::set_uid(0)?;
    }
    Ok(())
}

/// The new process's standard streams.
enum Streams {
    Given([OwnedFd; 3]),
    Terminal(OwnedFd),
}

impl Streams {
    fn install(self) -> io::Result<()> {
        new_session()?;
        match self {
            Streams::Given([stdin, stdout, stderr]) => fds::set_stdio(stdin, stdout, stderr),
            Streams::Terminal(slave) => {
                pty::make_controlling(&slave)?;
                fds::set_stdio(&slave, &slave, &slave)
            }
        }
    }
}

/// A terminal of the container's own `/dev/pts`, where we are by now; its user gets it.
fn terminal(size: TerminalSize, uid: u32) -> io::Result<(Streams, Option<OwnedFd>)> {
    let (master, slave) = pty::open()?;
    if (size.width, size.height) != (0, 0) {
        pty::set_size(&master, size.width, size.height)?;
    }
    rustix::fs::fchown(&slave, Some(rustix::fs::Uid::from_raw(uid)), None)?;
    Ok((Streams::Terminal(slave), Some(master)))
}

/// Gives pipes (and nothing else: a file or a terminal of the caller's stays its own) to the user, who may want to open
/// `/dev/stdout` again. Ids are those of the container's user namespace.
fn give_pipes(pid: i32, stdio: &[OwnedFd; 3], uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (
        proc::host_id(pid, "uid_map", uid)?,
        proc::host_id(pid, "gid_map", gid)?,
    );
    for fd in stdio {
        let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode);
        if kind == rustix::fs::FileType::Fifo {
            pipe::set_owner(fd.as_fd(), uid, gid)?;
        }
    }
    Ok(())
}
