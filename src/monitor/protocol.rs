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

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

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
    /// Removes the ended container from the engine and its cgroups; the monitor ends after the answer.
    Delete,
}

/// What to create. `bundle/config.json` was written by the caller for libcontainer: root user, cwd `/`, no
/// seccomp, no rlimits, no `noNewPrivileges`; [`Process`] holds what the last stage does instead.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CreateRequest {
    /// The container's id, for the engine.
    pub id: String,
    /// Directory with `config.json`.
    pub bundle: PathBuf,
    /// Directory of the engine's state files.
    pub state_root: PathBuf,
    /// Absolute path inside the cgroup hierarchies, as `linux.cgroupsPath` in `config.json`.
    pub cgroup: String,
    /// The first process.
    pub process: Process,
    /// Its standard streams.
    pub stdio: Stdio,
    /// CRI log file; `None`: output is discarded (or belongs to the caller, see [`Stdio`]).
    pub log: Option<PathBuf>,
    /// Host ids that own the output pipes or the terminal, so that the process can reopen `/dev/stdout`.
    pub stdio_owner: (u32, u32),
    /// Root file system to mount in the worker's own mount namespace; `None`: it is there already.
    pub rootfs: Option<Overlay>,
    /// Directory (existing, empty) over which the worker mounts a small tmpfs: tree `n` appears at
    /// `{staging}/{n}`, which `config.json` names as the source of a bind.
    pub staging: Option<PathBuf>,
    /// One per tree descriptor (`open_tree` with `OPEN_TREE_CLONE`), in order.
    pub trees: Vec<StagedTree>,
    /// Number of namespace descriptors, see [`FIRST_NAMESPACE`].
    pub namespaces: usize,
}

/// An overlay mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// Lower directories, topmost first; at least one.
    pub lower: Vec<PathBuf>,
    /// Writable layer; `None` with `work`: a read-only overlay.
    pub upper: Option<PathBuf>,
    /// Work directory beside `upper`.
    pub work: Option<PathBuf>,
    /// Where to mount it: the bundle's root directory.
    pub target: PathBuf,
    /// Further options, such as `volatile` or `userxattr`.
    pub options: Vec<String>,
}

/// What is done to a staged mount tree before libcontainer binds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedTree {
    /// Read-only handling.
    pub read_only: ReadOnly,
    /// Propagation of the whole tree.
    pub propagation: Propagation,
}

/// Read-only handling of a staged tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadOnly {
    /// Left as it is.
    #[default]
    No,
    /// The top mount only.
    Yes,
    /// The tree and every mount below.
    Recursive,
}

/// Mount propagation, in CRI's terms none, host to container, bidirectional.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Propagation {
    /// No mount travels in either direction.
    #[default]
    Private,
    /// Mounts made on the host appear in the container.
    Slave,
    /// Both directions. `config.json` needs `rootfsPropagation: shared` then.
    Shared,
}

/// Standard streams of the first process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdio {
    /// Output pipes read by the monitor. `stdin` holds a pipe open, otherwise it is `/dev/null`.
    Pipes {
        /// A pipe instead of `/dev/null`.
        stdin: bool,
        /// The pipe is closed after the first attached client has left.
        stdin_once: bool,
    },
    /// A terminal. Without a log its master side comes with [`Answer::Created`] and is the caller's to read.
    Terminal(Option<TerminalSize>),
    /// The three first descriptors of the call, used as they are; nothing is logged.
    Given,
}

impl Default for Stdio {
    fn default() -> Self {
        Stdio::Pipes { stdin: false, stdin_once: false }
    }
}

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// A process to run, as the last stage needs it. Ids and limits are those of the container's user namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Command and arguments; a command without a slash is looked up in the environment's `PATH`.
    pub args: Vec<String>,
    /// `NAME=value` in any bytes, complete: nothing is added.
    #[serde(with = "bytes")]
    pub env: Vec<Vec<u8>>,
    /// Absolute working directory. Made (mode 0755) for the first process when missing, an error for an exec.
    pub cwd: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups, complete.
    pub groups: Vec<u32>,
    /// Capability sets.
    pub capabilities: Capabilities,
    /// Sets `no_new_privs`.
    pub no_new_privileges: bool,
    /// Limits; a hard limit beyond the kernel's permission is lowered with a warning.
    pub rlimits: Vec<Rlimit>,
    /// Value for `/proc/self/oom_score_adj`; raised to what the kernel allows with a warning.
    pub oom_score_adj: Option<i32>,
    /// File with the compiled filter, see `monitor::seccomp`.
    pub seccomp: Option<PathBuf>,
    /// File mode mask; `None`: 022.
    pub umask: Option<u32>,
    /// AppArmor profile to change to at `execve`.
    pub apparmor: Option<String>,
    /// SELinux label to change to at `execve`.
    pub selinux: Option<String>,
}

/// Capability sets as bit masks, bit `n` = capability number `n` (see `sys::caps::mask`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Upper bound of what the process and its children can ever hold.
    pub bounding: u64,
    /// Effective and permitted.
    pub effective: u64,
    /// Inheritable.
    pub inheritable: u64,
    /// Kept over `execve` by a user other than root.
    pub ambient: u64,
}

/// One resource limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// The kernel's number (`RLIMIT_*`, see `sys::rlimit::resource`).
    pub resource: u32,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// A further process for a running container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ExecRequest {
    /// What to run.
    pub process: Process,
    /// After this many milliseconds every descendant is killed; 0: never.
    pub timeout_ms: u64,
    /// Allocates a terminal inside the container; its master side comes with [`Answer::ExecStarted`].
    pub terminal: Option<TerminalSize>,
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
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// For programs.
    pub kind: FailureKind,
    /// For people, with the whole chain of causes.
    pub text: String,
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
    /// The monitor does not know this call.
    Unsupported,
}

/// Strings of any bytes in JSON: as text where they are UTF-8, else as a list of numbers.
mod bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Text {
        Utf8(String),
        Other(Vec<u8>),
    }

    pub(super) fn serialize<S: Serializer>(all: &[Vec<u8>], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(all.iter().map(|one| match std::str::from_utf8(one) {
            Ok(text) => Text::Utf8(text.to_owned()),
            Err(_) => Text::Other(one.clone()),
        }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Vec<u8>>, D::Error> {
        let all = Vec::<Text>::deserialize(from)?;
        Ok(all.into_iter().map(|one| match one {
            Text::Utf8(text) => text.into_bytes(),
            Text::Other(bytes) => bytes,
        }).collect())
    }
}
