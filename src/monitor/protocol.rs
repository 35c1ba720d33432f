//! What the daemon and a monitor say to each other: one JSON object per SEQPACKET message.
//!
//! ```text
//! message  = kind(1 byte) body
//! kind 0   : body is the JSON text
//! kind 1   : body is empty, the JSON text is in the first descriptor (a memfd), for what exceeds INLINE bytes
//! daemon   → Request { id, call }       descriptors beside it, in the order that the call names
//! monitor  → Message::Answer { id, answer } | Message::Event(event)
//! ```
//!
//! The first call on a connection is `hello`. A call that the monitor does not know is answered by a
//! [`Failure`] of kind [`FailureKind::Unsupported`], so that a newer daemon can talk to an older monitor.
//! How messages reach a socket is left to `sys::socket`; what they cause, to `process`.

mod create;
mod process;

pub use create::{
    CgroupTree, CreateRequest, ImageTree, LogFile, Overlay, Propagation, ReadOnly, StagedTree, Stdio,
    TerminalSize,
};
pub use process::{Capabilities, ExecRequest, Process, Rlimit};

use serde::{Deserialize, Serialize};

/// Version of this protocol and of the exit record.
pub const VERSION: u32 = 1;

/// First descriptor number under which a create worker holds the namespaces to join: the n-th descriptor of
/// [`CreateRequest::namespaces`] is named `/proc/self/fd/{FIRST_NAMESPACE + n}` in `config.json`.
pub const FIRST_NAMESPACE: i32 = 100;

/// One call of the daemon. `id` is chosen by it and comes back in every answer to the call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Unique among the open calls of one connection.
    pub id: u64,
    /// What to do.
    pub call: Call,
}

/// Everything that a monitor can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Opens a connection; answered by [`Answer::Hello`].
    Hello {
        /// The daemon's [`VERSION`].
        version: u32,
    },
    /// Creates the container; answered by [`Answer::Created`]. Descriptors: stdio when [`Stdio::Given`], then
    /// one per tree, then one per namespace.
    Create(Box<CreateRequest>),
    /// Lets the created process run; answered by [`Answer::Done`] when its `execve` has succeeded.
    Start,
    /// Runs a further process in the container. Answered twice: [`Answer::ExecStarted`], then
    /// [`Answer::ExecExited`]. Descriptors: stdin, stdout, stderr, unless it asks for a terminal.
    Exec(Box<ExecRequest>),
    /// Kills every process of a running exec; answered by [`Answer::Done`].
    KillExec {
        /// `id` of the exec's own request.
        exec: u64,
    },
    /// Sends a signal to the container's first process (by pidfd), or with `all` to everything in its cgroup.
    Signal {
        /// Signal number.
        signal: i32,
        /// To all processes of the container.
        all: bool,
    },
    /// Asks for [`Answer::State`].
    State,
    /// Opens the log path again, after a rotation. When it fails the old file goes on being written.
    ReopenLog,
    /// Closes the container's standard input (a pipe held open by the monitor).
    CloseStdin,
    /// Sets the size of the container's terminal.
    Resize(TerminalSize),
    /// Attaches to the container's standard streams. Answered twice: [`Answer::Attached`], then, unless the caller has
    /// closed all of its ends before, [`Answer::Detached`]. Descriptors: one of a pipe for each stream that is asked for, in
    /// the order of the fields. Who reads an output reads it at once: while a pipe is full, the container's output is held up,
    /// for a second at most.
    Attach(AttachRequest),
    /// Removes the ended container from the engine and its cgroups; the monitor ends after the answer.
    Delete,
}

/// A monitor's message.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// Belongs to a request.
    Answer {
        /// The request's id.
        id: u64,
        /// What came of it.
        answer: Answer,
    },
    /// Told to every connection unasked.
    Event(Event),
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To `hello`.
    Hello {
        /// The monitor's [`VERSION`].
        version: u32,
    },
    /// To `create`. Carries the terminal's master side when the caller reads it.
    Created(Created),
    /// To `exec`, when the command runs. Carries the terminal's master side if one was asked for.
    ExecStarted {
        /// Process id on the host.
        pid: i32,
        /// What had to be adjusted, for the log.
        warnings: Vec<String>,
    },
    /// To `exec`, when the command has ended.
    ExecExited(ExecExit),
    /// To `attach`: everything that is written from now on is passed on.
    Attached,
    /// To `attach`, when it is over.
    Detached(Detachment),
    /// To `state`.
    State(State),
    /// To everything else.
    Done,
    /// The call failed.
    Failed(Failure),
}

/// A created container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// The first process, on the host.
    pub pid: i32,
    /// Its start time in clock ticks since boot (`/proc/PID/stat`, field 22): with the pid it is unique.
    pub start_time: u64,
    /// What had to be adjusted, for the log.
    pub warnings: Vec<String>,
}

/// How an exec ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecExit {
    /// Exit code, 128 + signal when killed by one.
    pub code: i32,
    /// Its time was up; all its processes are dead.
    pub timed_out: bool,
}

/// Streams to attach to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachRequest {
    /// Input. Its end is the client's: the container's own ends with it when the container was created so.
    pub stdin: bool,
    /// Output, or what a terminal shows.
    pub stdout: bool,
    /// Error output.
    pub stderr: bool,
}

/// Why an attachment is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detachment {
    /// Its streams have ended, or the container has.
    Ended,
    /// A pipe was full for too long while there was more to write into it.
    Behind,
}

/// What a monitor knows of its container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Where in its life the container is.
    pub phase: Phase,
    /// The first process on the host; 0 before create and after exit.
    pub pid: i32,
    /// Start time of `pid`, see [`Created::start_time`].
    pub start_time: u64,
    /// Set in [`Phase::Exited`].
    pub exit: Option<ExitRecord>,
    /// The monitor itself.
    pub monitor_pid: i32,
}

/// Life of a container: `Empty → Created → Running → Exited`, or `Created → Exited`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// No container was created yet, or creating it failed.
    #[default]
    Empty,
    /// Created, not started.
    Created,
    /// The command runs.
    Running,
    /// The first process has ended.
    Exited,
}

/// The end of a container: sent as an event, answered in [`State`], and kept in `{dir}/exit.json`, which is the
/// truth when no monitor is left to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// [`VERSION`] of the monitor that wrote it.
    pub version: u32,
    /// Exit code; 128 + signal when killed by one; 128 when the command could not be run.
    pub code: i32,
    /// The signal that killed it.
    pub signal: Option<i32>,
    /// The kernel killed a process of this container for want of memory.
    pub oom_killed: bool,
    /// Nanoseconds since the epoch.
    pub finished_at: i64,
    /// Why the command could not be run, such as `exec "/nope": no such file or directory`.
    pub reason: Option<String>,
}

/// What is told unasked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The first process has ended; its last output is in the log and the exit record on disk.
    Exited(ExitRecord),
    /// The kernel killed a process of the container for want of memory.
    OomKilled,
    /// Output of the container cannot be logged: it is dropped, and the container goes on.
    LogBroken {
        /// Why.
        error: String,
    },
    /// Output is logged again.
    LogMended {
        /// Lines that were dropped.
        lines: u64,
        /// Their bytes.
        bytes: u64,
    },
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// For programs.
    pub kind: FailureKind,
    /// For people, with the whole chain of causes.
    pub text: String,
    /// Something has run out: room, descriptors, processes, memory. The same may succeed when there is some again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shortage: bool,
}

/// For programs: what to make of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The call does not fit the container's phase, such as an exec into one that has ended.
    Phase,
    /// The call's own contents are wrong.
    Invalid,
    /// The command could not be run: not found, not executable, no such directory or user right.
    Command,
    /// The engine or the kernel refused.
    Runtime,
    /// There are too many already: of the call's kind, or of processes. Nothing was done.
    Exhausted,
    /// The monitor does not know this call.
    Unsupported,
}
