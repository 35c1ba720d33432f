//! What it takes to create a container.

use crate::monitor::protocol::Process;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

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
    /// CRI log file; `None`: only attached clients see the output.
    pub log: Option<LogFile>,
    /// Host ids that own the output pipes or the terminal, so that the process can reopen `/dev/stdout`.
    pub stdio_owner: (u32, u32),
    /// Root file system to mount in the worker's own mount namespace; `None`: it is there already.
    pub rootfs: Option<Overlay>,
    /// Directory (existing, empty) over which the worker mounts a small tmpfs: tree `n` appears at
    /// `{staging}/{n}`, which `config.json` names as the source of a bind.
    pub staging: Option<PathBuf>,
    /// The trees, in order. Those that the worker does not make come as descriptors (`open_tree` with `OPEN_TREE_CLONE`).
    pub trees: Vec<StagedTree>,
    /// Number of namespace descriptors, see [`FIRST_NAMESPACE`](crate::monitor::protocol::FIRST_NAMESPACE).
    pub namespaces: usize,
    /// The user namespace among them. By it layers and marked trees are idmapped; `staging` is there then, below it the
    /// root file system's target, and whoever is root in that namespace can pass the directories above.
    #[serde(default)]
    pub idmap: Option<usize>,
    /// The worker's mount namespace begins with all of the host's mounts, for hooks, instead of the few that are needed.
    #[serde(default)]
    pub host_mounts: bool,
}

/// Where a log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// Directory that the caller vouches for.
    pub directory: PathBuf,
    /// Path below it, on which no link is followed.
    pub path: PathBuf,
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedTree {
    /// Read-only handling.
    pub read_only: ReadOnly,
    /// Propagation of the whole tree.
    pub propagation: Propagation,
    /// Made by the worker of these layers, instead of a descriptor.
    pub image: Option<ImageTree>,
    /// Made by the worker of these directories, instead of a descriptor.
    #[serde(default)]
    pub cgroups: Option<CgroupTree>,
    /// Idmap the whole tree. Of an image the layers are, if any are.
    #[serde(default)]
    pub idmap: bool,
    /// What it is called when it cannot be mounted.
    #[serde(default)]
    pub name: String,
}

impl StagedTree {
    /// Whether the worker makes it; else it comes as a descriptor.
    pub fn is_made(&self) -> bool {
        self.image.is_some() || self.cgroups.is_some()
    }
}

/// An image's files, or one path of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageTree {
    /// Overlay's lower directories, topmost first; at least two.
    pub lower: Vec<PathBuf>,
    /// Path beneath the image's root, links in it followed inside; empty is the root.
    pub sub_path: String,
    /// Options of the overlay, such as a label.
    #[serde(default)]
    pub options: Vec<String>,
}

/// Directories of cgroups below a new one, which can be written until libcontainer makes it read-only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupTree {
    /// Names, and the directory that appears under each.
    pub directories: Vec<(String, PathBuf)>,
    /// Whether they may be written.
    pub writable: bool,
    /// Option of the file system that holds the names, such as a label.
    pub options: Vec<String>,
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
    /// A terminal of the monitor's.
    Terminal(Option<TerminalSize>),
    /// A terminal whose master side comes with [`Created`](crate::monitor::protocol::Created) and is the caller's; nothing is logged.
    GivenTerminal(TerminalSize),
    /// The three first descriptors of the call, used as they are; nothing is logged.
    Given,
}

impl Default for Stdio {
    fn default() -> Self {
        Stdio::Pipes {
            stdin: false,
            stdin_once: false,
        }
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
