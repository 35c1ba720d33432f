//! What goes wrong with images, and what that means to a caller.

use std::io;
use std::path::PathBuf;

use crate::model::{Error, Kind, is_shortage};
use crate::state::StateError;
use crate::telemetry::chain;

use super::hosts::HostsError;
use super::manifest::ManifestError;
use super::name::NameError;
use super::registry::RegistryError;
use super::unpack::UnpackError;

/// A failure of the image engine.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImageError {
    /// The file system of the store.
    #[error("cannot {what} {path}")]
    Disk {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A name that is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Settings of a registry.
    #[error(transparent)]
    Hosts(#[from] HostsError),
    /// A registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A layer.
    #[error("layer {digest}")]
    Layer {
        /// Its packed digest.
        digest: String,
        /// Why.
        source: UnpackError,
    },
    /// The configuration of an image.
    #[error("image configuration {digest} cannot be parsed")]
    Config {
        /// Its digest.
        digest: String,
        /// Why.
        source: serde_json::Error,
    },
    /// Content is not what its digest or size says.
    #[error("{what} does not match: expected {expected}, received {received}")]
    Mismatch {
        /// Of what.
        what: String,
        /// What was promised.
        expected: String,
        /// What came.
        received: String,
    },
    /// A file to import.
    #[error("cannot import {path}: {reason}")]
    Import {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Nobody waited any more.
    #[error("pull was abandoned")]
    Abandoned,
    /// Records.
    #[error(transparent)]
    State(#[from] StateError),
    /// A thread of ours failed.
    #[error("image task failed: {0}")]
    Task(String),
    /// Something that must be there is not.
    #[error("{0} is not in the store")]
    Missing(String),
    /// A path in an image that cannot be followed or read.
    #[error("path {path} of the image")]
    Look {
        /// The path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A document of a file to import that cannot be read.
    #[error("cannot import {path}: {document}")]
    Document {
        /// The file.
        path: PathBuf,
        /// The document in it.
        document: String,
        /// Why.
        source: io::Error,
    },
    /// A path in an image that cannot be used.
    #[error("path {path} of the image: {reason}")]
    Path {
        /// The path.
        path: String,
        /// Why.
        reason: String,
    },
    /// A container has another image's snapshot.
    #[error("container {0} has a snapshot of another image")]
    OtherSnapshot(String),
    /// An id of a container that is no file name.
    #[error("container id {0:?} is malformed")]
    ContainerId(String),
}

impl ImageError {
    /// What it means to a caller.
    pub(super) fn kind(&self) -> Kind {
        match self {
            // Whatever was being done when it ran out.
            _ if is_shortage(self) => Kind::ResourceExhausted,
            ImageError::Name(_)
            | ImageError::Manifest(ManifestError::Refused(_) | ManifestError::Parse(_))
            | ImageError::Config { .. }
            | ImageError::Path { .. }
            | ImageError::Look { .. }
            | ImageError::Document { .. }
            | ImageError::Import { .. }
            | ImageError::ContainerId(_)
            | ImageError::Hosts(_) => Kind::InvalidArgument,
            ImageError::Manifest(ManifestError::NoPlatform(_)) | ImageError::Missing(_) => Kind::NotFound,
            ImageError::Manifest(ManifestError::TooLarge { .. }) => Kind::ResourceExhausted,
            ImageError::Registry(error) => error.kind(),
            ImageError::Layer { source, .. } => layer_kind(source),
            ImageError::Abandoned => Kind::Cancelled,
            ImageError::OtherSnapshot(_) => Kind::AlreadyExists,
            ImageError::State(error) => error.kind(),
            ImageError::Disk { .. } | ImageError::Mismatch { .. } | ImageError::Task(_) => Kind::Internal,
        }
    }
}

fn layer_kind(error: &UnpackError) -> Kind {
    match error {
        UnpackError::TooLarge { .. } => Kind::ResourceExhausted,
        UnpackError::Malformed(_) | UnpackError::Refused { .. } => Kind::InvalidArgument,
        UnpackError::Write { .. } | UnpackError::Read(_) => Kind::Internal,
    }
}

impl From<ImageError> for Error {
    fn from(error: ImageError) -> Error {
        Error::new(error.kind(), chain(&error))
    }
}
