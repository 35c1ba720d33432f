//! What can go wrong with a node, each with what to do about it where that is known.

use std::io;
use std::path::PathBuf;

use crate::cli::CliError;
use crate::sys::systemd::SystemdError;

/// Why a node was not changed, or not in full.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A file or directory of the node.
    #[error("cannot {action} {}", .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What was remembered cannot be understood.
    #[error("cannot understand {}", .path.display())]
    Memory {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// A later version has been here.
    #[error("{} is of format {format}, which this version does not know", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// The service manager has not done something.
    #[error("cannot {action} {unit}")]
    Service {
        /// What was asked for.
        action: &'static str,
        /// The unit.
        unit: String,
        /// Why not.
        #[source]
        source: SystemdError,
    },
    /// The command does not fit the node as it is.
    #[error("{0}")]
    Refused(String),
    /// A runtime did not do what it was asked for.
    #[error("{what}")]
    Runtime {
        /// What was to be done.
        what: String,
        /// Why not.
        #[source]
        source: Box<CliError>,
    },
    /// The node was not ready in time.
    #[error("the node was not ready after {seconds} seconds: {reason}")]
    NotReady {
        /// The patience.
        seconds: u64,
        /// What was seen last.
        reason: String,
    },
    /// A switch failed and is undone.
    #[error("the kubelet uses {old} again: {reason}")]
    RolledBack {
        /// The runtime.
        old: String,
        /// Why.
        reason: String,
    },
    /// A switch failed, and so did its undoing.
    #[error("the switch failed ({reason}), and it could not be undone: `coracle node restore` tries again")]
    Stuck {
        /// Why the switch failed.
        reason: String,
        /// Why the undoing failed.
        #[source]
        source: Box<NodeError>,
    },
}

/// Names what was tried with a file.
pub(super) trait OnFile<T> {
    fn on(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T, NodeError>;
}

impl<T> OnFile<T> for io::Result<T> {
    fn on(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T, NodeError> {
        self.map_err(|source| NodeError::File {
            action,
            path: path.into(),
            source,
        })
    }
}

pub(super) fn refused<T>(text: impl Into<String>) -> Result<T, NodeError> {
    Err(NodeError::Refused(text.into()))
}
