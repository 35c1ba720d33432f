//! The module's error: what went wrong with a network or one of its attachments.

use std::path::PathBuf;

use crate::cni::{Attachment, CacheError, ConfError, ExecError, RequestError, ResultError};
use crate::telemetry::chain;

/// Why the network could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// No valid configuration is loaded.
    #[error("no network is configured: {reason}")]
    NotConfigured {
        /// Where it was looked for and what was found.
        reason: String,
    },
    /// The request itself cannot be carried out.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The path names no network namespace.
    #[error("{path} is not a network namespace", path = path.display())]
    NotANamespace {
        /// The path.
        path: PathBuf,
    },
    /// A plugin could not be run, or refused.
    #[error(transparent)]
    Plugin(#[from] ExecError),
    /// A plugin succeeded but what it answered is not a result.
    #[error("plugin {plugin} answered no valid result")]
    Result {
        /// The plugin's type.
        plugin: String,
        /// What is wrong with it.
        source: ResultError,
    },
    /// The attachment's entry on disk cannot be read or written.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The configuration cannot be read.
    #[error(transparent)]
    Conf(#[from] ConfError),
    /// `ADD` failed, and so did the `DEL` that was to undo it; the attachment's entry remains, for a later `DEL`.
    #[error("{}; undoing it: {}", chain(add), chain(undo))]
    Undo {
        /// Why attaching failed.
        add: Box<NetworkError>,
        /// Why undoing it failed.
        undo: Box<NetworkError>,
    },
    /// Nothing is known of the attachment.
    #[error("{attachment} is not attached")]
    NotAttached {
        /// The attachment.
        attachment: Attachment,
    },
    /// A device could not be removed.
    #[error("cannot remove a network device")]
    Device {
        /// Why.
        source: std::io::Error,
    },
    /// Its `DEL` succeeded, but an `ADD` that was cut short may yet have an effect; the attachment's entry remains, for
    /// another `DEL`.
    #[error(
        "attaching {attachment} was cut short and may yet have an effect: it is detached once more later"
    )]
    Unsettled {
        /// The attachment.
        attachment: Attachment,
    },
    /// Collecting waited for attaching or detaching in progress, longer than it may.
    #[error("attachments are being made or removed")]
    Busy,
    /// Several plugins or attachments failed; each on its own.
    #[error("{}", .0.iter().map(|error| chain(error)).collect::<Vec<_>>().join("; "))]
    Several(Vec<NetworkError>),
}

impl NetworkError {
    /// Collects what several steps reported into one result.
    pub(super) fn join(mut errors: Vec<Self>) -> Result<(), Self> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Self::Several(errors)),
        }
    }

    /// Returns the report of the plugin that refused, when one did: its code says more than the text.
    pub fn report(&self) -> Option<&crate::cni::PluginReport> {
        match self {
            Self::Plugin(ExecError::Reported { report, .. }) => Some(report),
            Self::Undo { add, .. } => add.report(),
            _ => None,
        }
    }
}
