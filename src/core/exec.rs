//! A further command in a running container, with its streams.
//!
//! The command runs in a task of the core's own. When the caller gives up its streams end, and after its grace, as when
//! its time is up, every process of the command is killed, wherever in the container's process tree it has gone.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::Core;
use super::entry::{Live, Phase};
use super::start::monitor_error;
use crate::model::{self, Error, ExecRequest, ExecResponse, Kind, Reader, Resizes, Result, Writer};
use crate::monitor::MonitorError;
use crate::monitor::client::{Exec, ExecStdio};
use crate::monitor::protocol::{self, ExecExit, Failure, FailureKind, Process, TerminalSize};
use crate::sys::pipe;
use crate::telemetry::{self, Stage};

/// How long outputs are waited for after the command has ended, when something it left behind holds the pipes open. What
/// the command itself has written is in the pipe by then.
const DRAIN: Duration = Duration::from_millis(500);
/// How much is read of each output after the command has ended: the largest pipe there can be.
const DRAIN_BYTES: usize = 1 << 20;
/// Bytes copied at once.
const CHUNK: usize = 32 << 10;

/// How long after a command's time the monitor may take to tell of its end. It kills, and looks for ten seconds.
const OVERDUE: Duration = Duration::from_secs(20);
/// How long a command without a limit may take until it runs.
const BEGINS: Duration = Duration::from_secs(240);

/// A terminal's size until somebody says otherwise.
const TERMINAL: TerminalSize = TerminalSize {
    width: 80,
    height: 24,
};
/// How long the caller's first size is waited for, so that the command finds it from its first look on.
const FIRST_SIZE: Duration = Duration::from_millis(100);
/// End of file, typed: what a terminal reads when the input of its client has ended.
const END_OF_FILE: &[u8] = &[4];

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
        entry.heard()?;
        let given_up = CancellationToken::new();
        let _guard = given_up.clone().drop_guard();
        let id = entry.id.clone();
        let end = End {
            given_up,
            grace: request.grace,
            closing: self.inner.closing.clone(),
        };
        let command = async move {
            let exit = run(&id, &live, request, end).await?;
            Ok(ExecResponse {
                container_id: id,
                exit_code: exit.code,
            })
        };
        let task = self.inner.execs.spawn(command.in_current_span());
        task.await
            .unwrap_or_else(|e| Err(Error::internal("exec ended badly").because(e)))
    }
}

/// What ends a command before its own end.
struct End {
    /// The caller has gone.
    given_up: CancellationToken,
    /// How long the command has then.
    grace: Duration,
    /// The core closes.
    closing: CancellationToken,
}

async fn run(id: &str, live: &Live, mut request: ExecRequest, end: End) -> Result<ExecExit> {
    let _underway = telemetry::begin(Stage::Exec);
    let command = request.cmd[0].clone();
    let timeout_ms = u64::try_from(request.timeout.as_millis()).unwrap_or(u64::MAX);
    let asked = protocol::ExecRequest {
        process: further_process(&live.process, &request),
        timeout_ms,
        terminal: match request.tty {
            true => Some(first_size(&mut request.resize).await),
            false => None,
        },
    };
    let (stdio, streams) = Streams::open(&request)
        .map_err(|e| Error::internal("cannot make the streams of an exec").because(e))?;
    let limited = (timeout_ms > 0).then(|| request.timeout + OVERDUE);
    let begun = tokio::time::timeout(limited.unwrap_or(BEGINS), live.monitor.exec(asked, stdio)).await;
    let mut exec = begun
        .map_err(|_| overdue(id, &command))?
        .map_err(|e| exec_error(id, &command, e))?;
    for warning in &exec.warnings {
        tracing::debug!(container = id, warning, "exec");
    }
    let streams = streams
        .attach(&mut exec)
        .map_err(|e| Error::internal("cannot attach to the terminal of an exec").because(e))?;
    let exit = tokio::select! {
        exit = pump(&mut exec, streams, request) => exit,
        // Either way our ends of its streams are closed: a command that goes on hears so.
        () = end.closing.cancelled() => kill(&mut exec).await,
        () = end.given_up.cancelled() => outlive(&mut exec, &end).await,
        () = wait(limited) => return Err(overdue(id, &command)),
    };
    let exit = exit.map_err(|e| exec_error(id, &command, e))?;
    match exit.timed_out {
        false => Ok(exit),
        true => {
            let text = format!("command {command:?} in container {id} was killed: its time was up");
            Err(Error::new(Kind::DeadlineExceeded, text))
        }
    }
}

async fn wait(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

fn overdue(id: &str, command: &str) -> Error {
    let text =
        format!("command {command:?} in container {id}: the time is up, and the monitor does not answer");
    Error::new(Kind::DeadlineExceeded, text)
}

async fn first_size(resizes: &mut Option<Resizes>) -> TerminalSize {
    let Some(resizes) = resizes else { return TERMINAL };
    let first = tokio::time::timeout(FIRST_SIZE, resizes.recv()).await;
    first.ok().flatten().map_or(TERMINAL, monitors)
}

/// The size as the monitor has it.
fn monitors(size: model::TerminalSize) -> TerminalSize {
    TerminalSize {
        width: size.width,
        height: size.height,
    }
}

/// Gives a command whose caller has gone its time.
async fn outlive(exec: &mut Exec, end: &End) -> std::result::Result<ExecExit, MonitorError> {
    tokio::select! {
        biased;
        exit = exec.wait() => return exit,
        () = tokio::time::sleep(end.grace) => {}
        () = end.closing.cancelled() => {}
    }
    kill(exec).await
}

async fn kill(exec: &mut Exec) -> std::result::Result<ExecExit, MonitorError> {
    exec.kill().await?;
    exec.wait().await
}

/// The command with the identity, rights and environment of the container's first process.
fn further_process(first: &Arc<Process>, request: &ExecRequest) -> Process {
    let mut process = Process::clone(first);
    process.args = request.cmd.clone();
    process.binds.clear();
    process.queues = None;
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
            ..
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
    terminal: Option<OwnedFd>,
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
            let terminal = master.try_clone()?;
            let write = Sender::from_owned_fd_unchecked(master)?;
            return Ok(Attached {
                input: Some(Box::new(write)),
                output: Some(Box::new(read)),
                error: None,
                terminal: Some(terminal),
            });
        }
        let reader = |end: Receiver| -> Reader { Box::new(end) };
        let input = self.input.map(|end| -> Writer { Box::new(end) });
        Ok(Attached {
            input,
            output: self.output.map(reader),
            error: self.error.map(reader),
            terminal: None,
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
) -> std::result::Result<ExecExit, MonitorError> {
    let ended = CancellationToken::new();
    let at_end = if request.tty { END_OF_FILE } else { &[] };
    let waiting = async {
        let exit = exec.wait().await;
        ended.cancel();
        exit
    };
    let outputs = async {
        tokio::join!(
            copy(streams.output, request.stdout, &ended),
            copy(streams.error, request.stderr, &ended)
        );
    };
    // Neither holds up the end.
    let aside = async {
        tokio::join!(
            copy_input(request.stdin, streams.input, at_end),
            resize(streams.terminal, request.resize)
        );
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        (exit, ()) = async { tokio::join!(waiting, outputs) } => exit,
        never = aside => match never {},
    }
}

async fn copy_input(from: Option<Reader>, to: Option<Writer>, at_end: &[u8]) {
    if let (Some(mut from), Some(mut to)) = (from, to) {
        // An end that has gone away ends the copy; the command tells by itself what it makes of that.
        let _ = tokio::io::copy(&mut from, &mut to).await;
        let _ = to.write_all(at_end).await;
        let _ = to.shutdown().await;
    }
}

async fn resize(terminal: Option<OwnedFd>, resizes: Option<Resizes>) {
    if let (Some(terminal), Some(mut resizes)) = (terminal, resizes) {
        while let Some(size) = resizes.recv().await {
            // It may have hung up.
            let _ = Exec::resize(&terminal, monitors(size));
        }
    }
}

/// Copies one output and closes its far end. When the far end is gone the rest is read and dropped, so that the
/// command does not block.
async fn copy(from: Option<Reader>, to: Option<Writer>, ended: &CancellationToken) {
    let (Some(from), Some(mut to)) = (from, to) else {
        return;
    };
    let mut output = Output {
        from,
        ended,
        time: DRAIN,
        bytes: DRAIN_BYTES,
    };
    let mut chunk = vec![0; CHUNK];
    let mut open = true;
    while let Some(n) = output.read(&mut chunk).await {
        if open && to.write_all(&chunk[..n]).await.is_err() {
            open = false;
        }
    }
    let _ = to.shutdown().await;
}

/// One output, read to its end, or for a bounded time and amount after the command's. The time that the far end takes
/// to accept what was read does not count.
struct Output<'a> {
    from: Reader,
    ended: &'a CancellationToken,
    time: Duration,
    bytes: usize,
}

impl Output<'_> {
    async fn read(&mut self, chunk: &mut [u8]) -> Option<usize> {
        tokio::select! {
            biased;
            () = self.ended.cancelled() => {}
            count = read_some(&mut self.from, chunk) => return count,
        }
        let room = self.bytes.min(chunk.len());
        let begin = Instant::now();
        let count = tokio::time::timeout(self.time, read_some(&mut self.from, &mut chunk[..room])).await;
        self.time = self.time.saturating_sub(begin.elapsed());
        let count = count.ok().flatten()?;
        self.bytes -= count;
        Some(count)
    }
}

async fn read_some(from: &mut (impl AsyncRead + Unpin), chunk: &mut [u8]) -> Option<usize> {
    // The master side of a terminal reports EIO when the last user of the other side has gone.
    from.read(chunk).await.ok().filter(|n| *n > 0)
}
