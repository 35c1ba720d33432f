//! ExecSync: a further command in a running container, with its streams.
//!
//! The command runs in a task of the core's own. When the caller gives up, or its time is up, every process of the
//! command is killed, wherever in the container's process tree it has gone.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio_util::sync::CancellationToken;

use super::Core;
use super::registry::{Live, Phase};
use super::start::monitor_error;
use crate::model::{Error, ExecRequest, ExecResponse, Kind, Reader, Result, Writer};
use crate::monitor::MonitorError;
use crate::monitor::client::{Exec, ExecStdio};
use crate::monitor::protocol::{self, ExecExit, Failure, FailureKind, Process, TerminalSize};
use crate::sys::pipe;

/// How long outputs are read on after the command has ended, when something it left behind holds the pipes open. What
/// the command itself has written is in the pipe by then.
const DRAIN: Duration = Duration::from_millis(500);

/// A terminal's size until somebody says otherwise.
const TERMINAL: TerminalSize = TerminalSize {
    width: 80,
    height: 24,
};

impl Core {
    pub(super) async fn exec(&self, request: ExecRequest) -> Result<ExecResponse> {
        request.validate()?;
        let entry = self.inner.registry.find(&request.container_id)?;
        let Phase::Running(live) = entry.phase() else {
            return Err(Error::precondition(format!(
                "container {} is not running",
                entry.id
            )));
        };
        let given_up = CancellationToken::new();
        let _guard = given_up.clone().drop_guard();
        let id = entry.id.clone();
        self.detached(async move {
            let exit = run(&id, &live, request, given_up).await?;
            Ok(ExecResponse {
                container_id: id,
                exit_code: exit.code,
            })
        })
        .await
    }
}

async fn run(id: &str, live: &Live, request: ExecRequest, given_up: CancellationToken) -> Result<ExecExit> {
    let command = request.cmd[0].clone();
    let timeout_ms = u64::try_from(request.timeout.as_millis()).unwrap_or(u64::MAX);
    let asked = protocol::ExecRequest {
        process: further_process(&live.process, &request),
        timeout_ms,
        terminal: request.tty.then_some(TERMINAL),
    };
    let (stdio, streams) = Streams::open(&request)
        .map_err(|e| Error::internal("cannot make the streams of an exec").because(e))?;
    let mut exec = live
        .monitor
        .exec(asked, stdio)
        .await
        .map_err(|e| exec_error(id, &command, e))?;
    for warning in &exec.warnings {
        tracing::debug!(container = id, warning, "exec");
    }
    let streams = streams
        .attach(&mut exec)
        .map_err(|e| Error::internal("cannot attach to the terminal of an exec").because(e))?;
    let exit = pump(&mut exec, streams, request, &given_up)
        .await
        .map_err(|e| exec_error(id, &command, e))?;
    match exit.timed_out {
        false => Ok(exit),
        true => {
            let text = format!("command {command:?} in container {id} was killed: its time was up");
            Err(Error::new(Kind::DeadlineExceeded, text))
        }
    }
}

/// The command with the identity, rights and environment of the container's first process.
fn further_process(first: &Arc<Process>, request: &ExecRequest) -> Process {
    let mut process = Process::clone(first);
    process.args = request.cmd.clone();
    process.binds.clear();
    if request.tty && !process.env.iter().any(|e| e.starts_with(b"TERM=")) {
        process.env.push(b"TERM=xterm".to_vec());
    }
    process
}

fn exec_error(id: &str, command: &str, error: MonitorError) -> Error {
    match error {
        MonitorError::Failed(Failure {
            kind: FailureKind::Command,
            text,
        }) => Error::new(
            Kind::Internal,
            format!("cannot run {command:?} in container {id}: {text}"),
        ),
        other => monitor_error(id, "exec in", other),
    }
}

/// Our ends of the command's streams, before and after it has them.
struct Streams {
    input: Option<Sender>,
    output: Option<Receiver>,
    error: Option<Receiver>,
}

/// Our ends, ready to copy.
struct Attached {
    input: Option<Writer>,
    output: Option<Reader>,
    error: Option<Reader>,
}

impl Streams {
    fn open(request: &ExecRequest) -> io::Result<(ExecStdio, Streams)> {
        let mut ours = Streams {
            input: None,
            output: None,
            error: None,
        };
        if request.tty {
            return Ok((ExecStdio::Terminal, ours));
        }
        let null = |write: bool| {
            File::options()
                .read(!write)
                .write(write)
                .open("/dev/null")
                .map(OwnedFd::from)
        };
        let stdin = match request.stdin {
            None => null(false)?,
            Some(_) => {
                let (read, write) = pipe::pair()?;
                ours.input = Some(Sender::from_owned_fd(write)?);
                read
            }
        };
        let output = |wanted: bool, end: &mut Option<Receiver>| match wanted {
            false => null(true),
            true => {
                let (read, write) = pipe::pair()?;
                *end = Some(Receiver::from_owned_fd(read)?);
                Ok(write)
            }
        };
        let stdout = output(request.stdout.is_some(), &mut ours.output)?;
        let stderr = output(request.stderr.is_some(), &mut ours.error)?;
        Ok((ExecStdio::Given([stdin, stdout, stderr]), ours))
    }

    fn attach(self, exec: &mut Exec) -> io::Result<Attached> {
        if let Some(master) = exec.take_terminal() {
            // No pipe, but a descriptor that is read, written and waited for in the same way.
            let read = Receiver::from_owned_fd_unchecked(nonblocking(master.try_clone()?)?)?;
            let write = Sender::from_owned_fd_unchecked(master)?;
            return Ok(Attached {
                input: Some(Box::new(write)),
                output: Some(Box::new(read)),
                error: None,
            });
        }
        let reader = |end: Receiver| -> Reader { Box::new(end) };
        let input = self.input.map(|end| -> Writer { Box::new(end) });
        Ok(Attached {
            input,
            output: self.output.map(reader),
            error: self.error.map(reader),
        })
    }
}

fn nonblocking(fd: OwnedFd) -> io::Result<OwnedFd> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    Ok(fd)
}

/// Copies until the command has ended and its outputs are read.
async fn pump(
    exec: &mut Exec,
    streams: Attached,
    request: ExecRequest,
    given_up: &CancellationToken,
) -> std::result::Result<ExecExit, MonitorError> {
    let input = copy_input(request.stdin, streams.input);
    let outputs = async {
        tokio::join!(
            copy(streams.output, request.stdout),
            copy(streams.error, request.stderr)
        );
    };
    tokio::pin!(input, outputs);
    let (mut feeding, mut reading, mut killed) = (true, true, false);
    let exit = loop {
        tokio::select! {
            exit = exec.wait() => break exit?,
            () = &mut input, if feeding => feeding = false,
            () = &mut outputs, if reading => reading = false,
            () = given_up.cancelled(), if !killed => {
                killed = true;
                exec.kill().await?;
            }
        }
    };
    if reading {
        // Bounded: a process that the command left behind may hold the pipes for ever.
        let _ = tokio::time::timeout(DRAIN, outputs).await;
    }
    Ok(exit)
}

async fn copy_input(from: Option<Reader>, to: Option<Writer>) {
    if let (Some(mut from), Some(mut to)) = (from, to) {
        // An end that has gone away ends the copy; the command tells by itself what it makes of that.
        let _ = tokio::io::copy(&mut from, &mut to).await;
        let _ = to.shutdown().await;
    }
}

/// Copies one output and closes its far end. When the far end is gone the rest is read and dropped, so that the
/// command does not block.
async fn copy(from: Option<Reader>, to: Option<Writer>) {
    let (Some(mut from), Some(mut to)) = (from, to) else {
        return;
    };
    let mut chunk = vec![0; 16 << 10];
    let mut open = true;
    while let Some(n) = read_some(&mut from, &mut chunk).await {
        if open && to.write_all(&chunk[..n]).await.is_err() {
            open = false;
        }
    }
    let _ = to.shutdown().await;
}

async fn read_some(from: &mut (impl AsyncRead + Unpin), chunk: &mut [u8]) -> Option<usize> {
    // The master side of a terminal reports EIO when the last user of the other side has gone.
    from.read(chunk).await.ok().filter(|n| *n > 0)
}
