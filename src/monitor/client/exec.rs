//! A running exec, and running one to its end with the output collected.

use crate::monitor::client::connection::{Answers, Connection};
use crate::monitor::client::{MonitorClient, MonitorError};
use crate::monitor::protocol::{Answer, Call, ExecExit, ExecRequest, TerminalSize};
use crate::sys::{pipe, pty};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

/// Bytes kept of each output by [`MonitorClient::exec_collect`]; the rest is read and thrown away, so that the
/// command does not block. CRI: "runtimes should cap the output at 16MB".
pub const OUTPUT_LIMIT: usize = 16 << 20;

/// How long outputs are read on after the command has ended, when something it left behind holds the pipes. What
/// the command itself wrote is in the pipe by then, and reading it takes microseconds.
const DRAIN: Duration = Duration::from_millis(500);

/// The standard streams of an exec.
#[derive(Debug)]
pub enum ExecStdio {
    /// Descriptors for stdin, stdout, stderr: the process gets these very ones.
    Given([OwnedFd; 3]),
    /// The request asks for a terminal; [`Exec::take_terminal`] gives its master side.
    Terminal,
}

/// A command that runs in a container. Dropping it lets the command run on.
#[derive(Debug)]
pub struct Exec {
    /// The process on the host.
    pub pid: i32,
    /// What had to be adjusted, for the log.
    pub warnings: Vec<String>,
    terminal: Option<OwnedFd>,
    answers: Answers,
    connection: Arc<Connection>,
}

/// How a collected exec ended.
///
/// The outputs hold everything that the command wrote. If a process that it left behind keeps a pipe open, reading
/// ends half a second after the command's own end.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ExecOutcome {
    /// Exit code, 128 + signal when killed by one.
    pub code: i32,
    /// The timeout passed; all processes of the exec are dead.
    pub timed_out: bool,
    /// Standard output, at most [`OUTPUT_LIMIT`] bytes.
    pub stdout: Vec<u8>,
    /// Standard error, at most [`OUTPUT_LIMIT`] bytes.
    pub stderr: Vec<u8>,
}

impl Exec {
    pub(super) async fn begin(
        connection: Arc<Connection>,
        request: ExecRequest,
        stdio: ExecStdio,
    ) -> Result<Exec, MonitorError> {
        let fds = match stdio {
            ExecStdio::Given(fds) => fds.into(),
            ExecStdio::Terminal => vec![],
        };
        let mut answers = connection.begin(Call::Exec(Box::new(request)), fds).await?;
        let mut beginning = Beginning {
            connection: &connection,
            id: answers.id(),
            heard: false,
        };
        let reply = answers.next().await;
        beginning.heard = true;
        drop(beginning);
        match reply? {
            (Answer::ExecStarted { pid, warnings }, fds) => Ok(Exec {
                pid,
                warnings,
                terminal: fds.into_iter().next(),
                answers,
                connection,
            }),
            _ => Err(MonitorError::Confused),
        }
    }

    /// Takes the terminal's master side, if a terminal was asked for.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Sets the size of a terminal whose master side was taken from an exec.
    pub fn resize(master: &OwnedFd, size: TerminalSize) -> io::Result<()> {
        pty::set_size(master, size.width, size.height)
    }

    /// Waits for the command's end. Cancel safety: may be called again.
    pub async fn wait(&mut self) -> Result<ExecExit, MonitorError> {
        match self.answers.next().await? {
            (Answer::ExecExited(exit), _) => Ok(exit),
            _ => Err(MonitorError::Confused),
        }
    }

    /// Kills the command and every descendant of it.
    pub async fn kill(&self) -> Result<(), MonitorError> {
        let call = Call::KillExec {
            exec: self.answers.id(),
        };
        match self.connection.call(call, vec![]).await?.0 {
            Answer::Done => Ok(()),
            _ => Err(MonitorError::Confused),
        }
    }
}

/// A command that may not run yet; taken back if nobody waits until it does.
struct Beginning<'a> {
    connection: &'a Connection,
    id: u64,
    heard: bool,
}

impl Drop for Beginning<'_> {
    fn drop(&mut self) {
        if !self.heard {
            self.connection.forsake(self.id);
        }
    }
}

pub(super) async fn collect(
    client: &MonitorClient,
    request: ExecRequest,
) -> Result<ExecOutcome, MonitorError> {
    let null = std::fs::File::open("/dev/null")?.into();
    let (stdout, stdout_in) = pipe::pair()?;
    let (stderr, stderr_in) = pipe::pair()?;
    let (mut stdout, mut stderr) = (Output::new(stdout)?, Output::new(stderr)?);
    let mut exec = client
        .exec(request, ExecStdio::Given([null, stdout_in, stderr_in]))
        .await?;
    let exit = {
        // Read while it runs, or it would block on a full pipe.
        let reading = async { tokio::join!(stdout.read_to_end(), stderr.read_to_end()) };
        tokio::pin!(reading);
        let mut open = true;
        loop {
            tokio::select! {
                exit = exec.wait() => break exit?,
                _ = &mut reading, if open => open = false,
            }
        }
    };
    let rest = async { tokio::join!(stdout.read_to_end(), stderr.read_to_end()) };
    // Bounded: a process that the command left behind may hold the pipes for ever.
    let _ = tokio::time::timeout(DRAIN, rest).await;
    Ok(ExecOutcome {
        code: exit.code,
        timed_out: exit.timed_out,
        stdout: stdout.kept,
        stderr: stderr.kept,
    })
}

/// One output pipe and what is kept of it.
struct Output {
    pipe: Receiver,
    kept: Vec<u8>,
    ended: bool,
}

impl Output {
    fn new(fd: OwnedFd) -> io::Result<Output> {
        Ok(Output {
            pipe: Receiver::from_owned_fd(fd)?,
            kept: vec![],
            ended: false,
        })
    }

    /// Reads until the end; an error counts as one. Cancel safety: may be called again.
    async fn read_to_end(&mut self) {
        let mut chunk = [0; 16 << 10];
        while !self.ended {
            match self.pipe.read(&mut chunk).await {
                Ok(0) | Err(_) => self.ended = true,
                Ok(n) => {
                    let room = OUTPUT_LIMIT - self.kept.len();
                    self.kept.extend_from_slice(&chunk[..n.min(room)]);
                }
            }
        }
    }
}
