//! The daemon's side of a monitor: calls, many at once over one connection, and the exit as something to wait for.
//!
//! A [`MonitorClient`] is cheap to clone. One task per connection reads answers; it belongs to the client and ends
//! with its last clone or with the connection. Running a command and collecting its output is in `exec`.

mod attach;
mod connection;
mod exec;

use crate::monitor::protocol::{
    Answer, Call, CreateRequest, Created, ExecRequest, ExitRecord, Failure, State, TerminalSize, VERSION,
};
use crate::sys::socket;
use crate::sys::zygote::{Zygote, ZygoteError};
use connection::{Connection, Reply};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::watch;

pub use attach::{AttachEnds, Attachment};
pub use exec::{Exec, ExecOutcome, ExecStdio, OUTPUT_LIMIT};

/// What can go wrong between the daemon and a monitor.
#[derive(Debug, Error)]
pub enum MonitorError {
    /// Nobody listens in the directory: the monitor has ended or never was.
    #[error("cannot reach the monitor in {}", dir.display())]
    Unreachable {
        /// The container's directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection ended with calls open.
    #[error("the monitor in {} is gone", .0.display())]
    Gone(PathBuf),
    /// The monitor is there and does not answer: it is stopped, or waits for a disk.
    #[error("the monitor in {} does not answer", .0.display())]
    Silent(PathBuf),
    /// A monitor ended before it could serve.
    #[error("the monitor died at once: {0}")]
    Died(String),
    /// The monitor speaks a protocol that this build does not.
    #[error("the monitor in {} speaks protocol {theirs}, this daemon {}", dir.display(), VERSION)]
    Version {
        /// The container's directory.
        dir: PathBuf,
        /// The monitor's version.
        theirs: u32,
    },
    /// The zygote could not fork a monitor.
    #[error("cannot start a monitor")]
    Zygote(#[from] ZygoteError),
    /// The monitor did what it was asked, and it failed; the text is fit for the user.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// Sending or preparing descriptors failed on this side.
    #[error("cannot talk to the monitor")]
    Io(#[from] io::Error),
    /// An answer of another call's kind: a defect on either side.
    #[error("the monitor answered a call with something else")]
    Confused,
}

impl MonitorError {
    /// Tells whether there is no monitor any more. After any other error there may be one, and a container that it holds.
    pub fn is_gone(&self) -> bool {
        match self {
            MonitorError::Gone(_) => true,
            MonitorError::Unreachable { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
            ),
            _ => false,
        }
    }
}

/// Descriptors that travel with a create call.
#[derive(Debug, Default)]
pub struct CreateDescriptors {
    /// Stdin, stdout, stderr; only with `Stdio::Given`.
    pub stdio: Option<[OwnedFd; 3]>,
    /// Mount trees, one per `CreateRequest::trees`.
    pub trees: Vec<OwnedFd>,
    /// Namespaces to join; `create` sets `CreateRequest::namespaces` from it.
    pub namespaces: Vec<OwnedFd>,
}

/// A connection to one container's monitor.
#[derive(Clone, Debug)]
pub struct MonitorClient {
    connection: Arc<Connection>,
    /// The far end, of a client that reaches no monitor.
    _far: Option<Arc<OwnedFd>>,
}

/// How long a monitor that does nothing else may take to answer a call that is done at once.
const AT_ONCE: Duration = Duration::from_secs(10);
/// How long it may take for what its workers do. Beyond the patience of every caller.
const AT_WORK: Duration = Duration::from_secs(240);

impl MonitorClient {
    /// Has the zygote fork a monitor for `dir` (existing, owned by the container) and connects to it.
    ///
    /// Cancel safety: a monitor whose caller has gone has no client and ends by itself.
    pub async fn spawn(zygote: &Arc<Zygote>, dir: &Path) -> Result<MonitorClient, MonitorError> {
        let (zygote, wanted) = (zygote.clone(), dir.to_owned());
        let ours = tokio::task::spawn_blocking(move || zygote.fork_monitor(&wanted))
            .await
            .map_err(io::Error::other)??;
        match MonitorClient::greet(dir, ours).await {
            Err(MonitorError::Gone(_)) => Err(MonitorError::Died(last_words(dir))),
            other => other,
        }
    }

    /// Connects to the monitor that an earlier daemon left in `dir`. Waits for its answer without a limit: a monitor that is
    /// stopped gives it when it goes on. Cancel safety: the connection is closed.
    pub async fn connect(dir: &Path) -> Result<MonitorClient, MonitorError> {
        let path = dir.join(SOCKET);
        let socket = socket::connect(&path).map_err(|source| MonitorError::Unreachable {
            dir: dir.to_owned(),
            source,
        })?;
        MonitorClient::greet(dir, socket).await
    }

    /// Stands for a monitor that is there and cannot be reached: no call is ever answered.
    ///
    /// # Errors
    /// When there are no descriptors for it.
    pub fn unreached(dir: &Path) -> Result<MonitorClient, MonitorError> {
        let (ours, theirs) = socket::pair()?;
        Ok(MonitorClient {
            connection: Connection::open(dir, ours)?,
            _far: Some(Arc::new(theirs)),
        })
    }

    async fn greet(dir: &Path, socket: OwnedFd) -> Result<MonitorClient, MonitorError> {
        let client = MonitorClient {
            connection: Connection::open(dir, socket)?,
            _far: None,
        };
        match client
            .connection
            .call(Call::Hello { version: VERSION }, vec![])
            .await?
            .0
        {
            // Every change so far is an addition, so any version since the first will do.
            Answer::Hello { version } if version >= 1 => Ok(client),
            Answer::Hello { version } => Err(MonitorError::Version {
                dir: dir.to_owned(),
                theirs: version,
            }),
            _ => Err(MonitorError::Confused),
        }
    }

    /// Creates the container. The second value is the terminal's master side, for a terminal without a log.
    ///
    /// On failure the engine's state and the cgroups of the half-made container are removed, and the monitor can be
    /// asked again. Cancel safety: the create goes on in the monitor; `delete` undoes it.
    pub async fn create(
        &self,
        mut request: CreateRequest,
        descriptors: CreateDescriptors,
    ) -> Result<(Created, Option<OwnedFd>), MonitorError> {
        let CreateDescriptors {
            stdio,
            trees,
            namespaces,
        } = descriptors;
        request.namespaces = namespaces.len();
        let fds = stdio
            .into_iter()
            .flatten()
            .chain(trees)
            .chain(namespaces)
            .collect();
        match self.within(AT_WORK, Call::Create(Box::new(request)), fds).await? {
            (Answer::Created(created), fds) => Ok((created, fds.into_iter().next())),
            _ => Err(MonitorError::Confused),
        }
    }

    /// Starts the created container; returns when its command runs.
    ///
    /// A command that cannot be run is [`MonitorError::Failed`] of kind `Command`, and the container has exited with
    /// code 128 and that reason. Cancel safety: the start goes on.
    pub async fn start(&self) -> Result<(), MonitorError> {
        self.done(AT_WORK, Call::Start).await
    }

    /// Runs a further process; returns when its command runs.
    ///
    /// Cancel safety: the command does not begin, or is killed as soon as the monitor hears of it.
    pub async fn exec(&self, request: ExecRequest, stdio: ExecStdio) -> Result<Exec, MonitorError> {
        Exec::begin(self.connection.clone(), request, stdio).await
    }

    /// Runs a further process with no input, collects up to [`OUTPUT_LIMIT`] bytes of each output, and waits for
    /// its end. See [`ExecOutcome`] for what happens when something else holds the pipes.
    pub async fn exec_collect(&self, request: ExecRequest) -> Result<ExecOutcome, MonitorError> {
        exec::collect(self, request).await
    }

    /// Attaches to the container's standard streams from now on. Whoever closes the other sides of `ends` leaves.
    pub async fn attach(&self, ends: AttachEnds) -> Result<Attachment, MonitorError> {
        Attachment::begin(&self.connection, ends).await
    }

    /// Sends a signal to the container's first process.
    pub async fn signal(&self, signal: i32) -> Result<(), MonitorError> {
        self.done(AT_ONCE, Call::Signal { signal, all: false }).await
    }

    /// Kills everything in the container's cgroup, also processes that outlived the first one.
    pub async fn kill_all(&self) -> Result<(), MonitorError> {
        self.done(AT_ONCE, Call::Signal { signal: 9, all: true }).await
    }

    /// Returns what the monitor knows of its container.
    pub async fn state(&self) -> Result<State, MonitorError> {
        match self.within(AT_ONCE, Call::State, vec![]).await?.0 {
            Answer::State(state) => Ok(state),
            _ => Err(MonitorError::Confused),
        }
    }

    /// Opens the log path again. On failure no new file exists and the old one goes on being written.
    pub async fn reopen_log(&self) -> Result<(), MonitorError> {
        self.done(AT_ONCE, Call::ReopenLog).await
    }

    /// Closes the container's standard input.
    pub async fn close_stdin(&self) -> Result<(), MonitorError> {
        self.done(AT_ONCE, Call::CloseStdin).await
    }

    /// Sets the size of the container's terminal.
    pub async fn resize(&self, size: TerminalSize) -> Result<(), MonitorError> {
        self.done(AT_ONCE, Call::Resize(size)).await
    }

    /// Removes the ended container; kills what is left of it first. Returns when the monitor has ended.
    pub async fn delete(&self) -> Result<(), MonitorError> {
        let deleting = async {
            let mut answers = self.connection.begin(Call::Delete, vec![]).await?;
            let answer = answers.next().await?.0;
            Ok((answers, answer))
        };
        let deleted = tokio::time::timeout(AT_WORK, deleting).await;
        let (mut answers, answer) = deleted.unwrap_or_else(|_| Err(self.connection.silent()))?;
        if !matches!(answer, Answer::Done) {
            return Err(MonitorError::Confused);
        }
        // It has nothing left to do, and a busy node may take its time to let it end: its socket closes with it.
        let _ = tokio::time::timeout(AT_ONCE, answers.next()).await;
        Ok(())
    }

    /// The container's end: holds `None` until it has exited. The sender goes with the connection, so `changed()`
    /// fails when the monitor is gone; `{dir}/exit.json` (see [`read_exit_record`]) is the truth then.
    pub fn exited(&self) -> watch::Receiver<Option<ExitRecord>> {
        self.connection.exited()
    }

    /// Counts the processes that the kernel has killed for want of memory since this connection was made.
    pub fn oom_kills(&self) -> watch::Receiver<u64> {
        self.connection.oom_kills()
    }

    async fn done(&self, limit: Duration, call: Call) -> Result<(), MonitorError> {
        match self.within(limit, call, vec![]).await?.0 {
            Answer::Done => Ok(()),
            _ => Err(MonitorError::Confused),
        }
    }

    async fn within(&self, limit: Duration, call: Call, fds: Vec<OwnedFd>) -> Result<Reply, MonitorError> {
        let answer = tokio::time::timeout(limit, self.connection.call(call, fds)).await;
        answer.unwrap_or_else(|_| Err(self.connection.silent()))
    }
}

/// Name of a monitor's socket in its directory.
pub const SOCKET: &str = "monitor.sock";
/// Name of the file that a monitor and all that make its container hold, see `sys::fs::held`.
pub const MAKING: &str = "making";
/// Name of the exit record in a monitor's directory.
pub const EXIT_RECORD: &str = "exit.json";
/// Name of the file in which a monitor that cannot serve says why.
pub const LAST_WORDS: &str = "monitor.error";

fn last_words(dir: &Path) -> String {
    std::fs::read_to_string(dir.join(LAST_WORDS))
        .map_or_else(|_| "it left no word".into(), |t| t.trim().to_owned())
}

/// Reads the exit record that a monitor left in `dir`; `None`: there is none.
pub fn read_exit_record(dir: &Path) -> io::Result<Option<ExitRecord>> {
    match std::fs::read(dir.join(EXIT_RECORD)) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(io::Error::from),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
