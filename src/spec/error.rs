//! Why a configuration cannot be translated.

use crate::model::{Error, Kind};

/// Why a configuration cannot be translated. Names the field, as the caller wrote it.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// A field has a value that can never be carried out.
    #[error("{field} {problem}")]
    Invalid {
        /// Path of the field in the container's configuration.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A field asks for something that this machine does not have.
    #[error("{field} {problem}")]
    Unsupported {
        /// Path of the field in the container's configuration.
        field: String,
        /// What is missing.
        problem: String,
    },
    /// The image's user file does not have the user.
    #[error("user {name:?} is not in the image's /etc/passwd")]
    UnknownUser {
        /// The user as asked for.
        name: String,
    },
    /// The image's group file does not have the group.
    #[error("group {name:?} is not in the image's /etc/group")]
    UnknownGroup {
        /// The group as asked for.
        name: String,
    },
    /// Neither the configuration nor the image names a command.
    #[error("command and args are empty, and the image names no command")]
    NoCommand,
    /// A seccomp profile is not one.
    #[error("seccomp profile is malformed")]
    Profile(#[source] serde_json::Error),
}

impl SpecError {
    pub(super) fn invalid(field: impl Into<String>, problem: impl Into<String>) -> SpecError {
        SpecError::Invalid {
            field: field.into(),
            problem: problem.into(),
        }
    }

    pub(super) fn unsupported(field: impl Into<String>, problem: impl Into<String>) -> SpecError {
        SpecError::Unsupported {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

impl From<SpecError> for Error {
    fn from(error: SpecError) -> Error {
        let kind = match &error {
            SpecError::Unsupported { .. } => Kind::FailedPrecondition,
            _ => Kind::InvalidArgument,
        };
        Error::new(kind, "container configuration cannot be used").because(error)
    }
}
