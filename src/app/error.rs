//! Why the daemon, or what stands in for it, could not be put together.

use std::io;
use std::path::PathBuf;

use super::lock::LockError;
use crate::model;
use crate::state::StateError;

/// Why a part could not be started.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The state directory is another's.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The record store cannot be opened.
    #[error(transparent)]
    State(#[from] StateError),
    /// The image store cannot be opened.
    #[error("cannot open the image store")]
    Images(#[source] model::Error),
    /// A directory cannot be made.
    #[error("cannot make the directory {}", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The asynchronous runtime could not be started.
    #[error("cannot start threads")]
    Threads(#[source] io::Error),
    /// The connection within this process failed.
    #[error("cannot serve this command")]
    Loopback(#[source] tonic::transport::Error),
}
