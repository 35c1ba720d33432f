//! A failed call of the model, as the wire tells it.

use tonic::{Code, Status};

use crate::model::{Error, Kind};

/// Turns an error into a status: the kinds are named as the codes are.
pub(super) fn refuse(error: Error) -> Status {
    let code = match error.kind() {
        Kind::NotFound => Code::NotFound,
        Kind::AlreadyExists => Code::AlreadyExists,
        Kind::InvalidArgument => Code::InvalidArgument,
        Kind::FailedPrecondition => Code::FailedPrecondition,
        Kind::ResourceExhausted => Code::ResourceExhausted,
        Kind::DeadlineExceeded => Code::DeadlineExceeded,
        Kind::Unavailable => Code::Unavailable,
        Kind::PermissionDenied => Code::PermissionDenied,
        Kind::Unimplemented => Code::Unimplemented,
        Kind::Cancelled => Code::Cancelled,
        _ => Code::Internal,
    };
    Status::new(code, error.to_string())
}
