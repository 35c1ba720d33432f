//! The zygote: this executable once more, with one thread, which exists to be forked.
//!
//! A monitor is a fork of it: it shares its pages (relocated ones too) and needs no `execve`. Requests are typed in
//! `sys::zygote`, where the client is. Each is answered once, in order.

mod lean;
mod pin;
mod reaper;

use crate::monitor::process;
use crate::sys::cgroup::Cgroup;
use crate::sys::fork::{Fork, exit_now, fork};
pub use crate::sys::zygote::ARGUMENT;
use crate::sys::zygote::{Zygote, ZygoteAnswer, ZygoteError, ZygoteOptions, ZygoteRequest};
use crate::sys::{fds, fork as processes, message, panics, pipe, proc, signal, step};
use lean::Mounts;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// Starts the zygote; see [`ZygoteOptions`]. Any number of threads may run already.
pub fn spawn(options: ZygoteOptions) -> Result<Zygote, ZygoteError> {
    Zygote::start(options)
}

/// Is the zygote, until its client closes. Descriptor 0 is the client's socket. `main` calls this before anything else
/// when its first argument is `sys::zygote::ARGUMENT`: the process must have no other thread.
pub fn zygote_main() -> ! {
    // Forks inherit it: none of them may unwind into the loop of another.
    panics::abort_unless_guarded();
    let code = match serve() {
        Ok(()) => 0,
        // Nobody is there to be told: the client sees the end and starts another one.
        Err(_) => 1,
    };
    exit_now(code)
}

fn serve() -> io::Result<()> {
    step("zygote.begin");
    let client = isolate()?;
    let Some((ZygoteRequest::Setup(options), _)) = message::receive(client.as_fd())? else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let mounts = match set_up(&options) {
        Ok(mounts) => mounts,
        Err(e) => {
            let error = Some(format!("zygote: {e}"));
            return answer(
                &client,
                ZygoteAnswer {
                    error,
                    ..ZygoteAnswer::default()
                },
            );
        }
    };
    step("zygote.ready");
    answer(&client, ZygoteAnswer::default())?;
    while let Some((request, mut fds)) = message::receive(client.as_fd())? {
        let reply = match request {
            ZygoteRequest::Monitor { dir } => fork_monitor(&dir, fds.pop(), &mounts),
            ZygoteRequest::Pin(request) => in_worker(|| pin::pin(&request, &mounts).map(|()| (0, 0))),
            ZygoteRequest::Reaper(request) => in_worker(|| reaper::spawn(&request, &mounts)),
            ZygoteRequest::Placeholder => fork_placeholder(fds.pop()),
            ZygoteRequest::Setup(_) => Err(io::ErrorKind::InvalidInput.into()),
        };
        let reply = reply.unwrap_or_else(|e| ZygoteAnswer::failed(&e));
        step("zygote.answer");
        answer(&client, reply)?;
    }
    Ok(())
}

/// Cuts the process off from whoever started it.
fn isolate() -> io::Result<OwnedFd> {
    let client = fds::keep_only(fds::take_stdin()?)?;
    fds::null_stdio()?;
    signal::reset()?;
    // Dead monitors need no farewell: they leave their record on disk.
    signal::ignore_children();
    // Reapers outlive the workers that make them, and fall to us.
    processes::become_subreaper()?;
    // A signal to the daemon's group or terminal is not for us.
    processes::new_session()?;
    processes::set_name(c"coracle-zygote")?;
    rustix::process::chdir("/")?;
    Ok(client)
}

fn set_up(options: &ZygoteOptions) -> io::Result<Mounts> {
    if let Some(path) = &options.cgroup {
        let cgroup = Cgroup::new(path)?;
        cgroup.create()?;
        cgroup.join()?;
    }
    Mounts::leave_host(&options.keep)
}

fn answer(client: &OwnedFd, answer: ZygoteAnswer) -> io::Result<()> {
    message::Packet::new(&answer, vec![])?.send(client.as_fd())
}

fn fork_monitor(dir: &Path, connection: Option<OwnedFd>, mounts: &Mounts) -> io::Result<ZygoteAnswer> {
    let connection = connection.ok_or(io::ErrorKind::InvalidInput)?;
    step("zygote.fork");
    match fork()? {
        Fork::Parent(pid) => Ok(ZygoteAnswer {
            pid,
            start_time: proc::start_time(pid).unwrap_or(0),
            ..ZygoteAnswer::default()
        }),
        Fork::Child => {
            let lean = mounts.enter_host().inspect_err(|e| process::leave_word(dir, e));
            let served = lean.is_ok_and(|lean| process::run(dir, connection, lean).is_ok());
            exit_now(i32::from(!served))
        }
    }
}

/// Whoever asked for it holds the other end of the pipe, and nobody else does: it cannot be left over.
fn fork_placeholder(end: Option<OwnedFd>) -> io::Result<ZygoteAnswer> {
    let end = end.ok_or(io::ErrorKind::InvalidInput)?;
    step("zygote.placeholder");
    match fork()? {
        Fork::Parent(pid) => Ok(ZygoteAnswer {
            pid,
            ..ZygoteAnswer::default()
        }),
        Fork::Child => {
            let _ = processes::set_name(c"coracle-holder");
            let _ = fds::close_all_except(&[end.as_raw_fd()])
                .and_then(|()| Ok(rustix::io::read(&end, &mut [0u8; 1][..])?));
            exit_now(0)
        }
    }
}

/// Runs a job in a fork, so that the zygote's own namespaces and memory stay as they are.
fn in_worker(job: impl FnOnce() -> io::Result<(i32, u64)>) -> io::Result<ZygoteAnswer> {
    let (reader, writer) = pipe::pair()?;
    step("zygote.worker");
    let zygote = rustix::process::getpid().as_raw_nonzero().get();
    if fork()? == Fork::Child {
        drop(reader);
        // Nobody would hear of what it went on to make.
        let answer = match processes::die_with(zygote).and_then(|()| job()) {
            Ok((pid, start_time)) => ZygoteAnswer {
                pid,
                start_time,
                ..ZygoteAnswer::default()
            },
            Err(e) => ZygoteAnswer::failed(&e),
        };
        let text = serde_json::to_vec(&answer).unwrap_or_default();
        let _ = rustix::io::write(&writer, &text);
        exit_now(0)
    }
    drop(writer);
    // At most one page: written in one piece, read in one piece. The reaper does not hold the writing end.
    let mut text = [0; 4096];
    let count = rustix::io::read(&reader, &mut text)?;
    serde_json::from_slice(&text[..count]).map_err(|_| io::Error::other("the zygote's worker died"))
}
