//! The one place where the model's error becomes a gRPC status, and the only one that says how a result travels.

use tonic::{Code, Response, Status};

use crate::model::{Error, Kind};

/// Wraps an answer, or turns the error into a status.
pub(super) fn answer<T>(result: Result<T, Error>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|error| status(&error))
}

/// Says that a call belongs to the API but not yet to this runtime. The kubelet falls back or skips on this code.
pub(super) fn unimplemented<T>(call: &str) -> Result<Response<T>, Status> {
    Err(Status::unimplemented(format!("{call} is not implemented")))
}

/// Turns an error into a status, for calls that are not CRI's.
pub(crate) fn refuse(error: Error) -> Status {
    status(&error)
}

/// Maps an error to the status that carries its whole text.
pub(super) fn status(error: &Error) -> Status {
    Status::new(code(error.kind()), bounded(error.to_string()))
}

/// Longest text of a status, which travels in a header: most clients take 16 KiB of them, escapes included.
const LONGEST: usize = 4096;
/// What is kept of a longer one's end, where the cause is.
const TAIL: usize = 1024;

/// Cuts the middle out of a text that is too long: it repeats what a caller sent, a megabyte if that is what it sent.
fn bounded(text: String) -> String {
    if text.len() <= LONGEST {
        return text;
    }
    let boundary = |at: &usize| text.is_char_boundary(*at);
    let head = (0..=LONGEST - TAIL).rev().find(boundary).unwrap_or(0);
    let tail = (text.len() - TAIL..=text.len())
        .find(boundary)
        .unwrap_or(text.len());
    format!("{} … {} bytes … {}", &text[..head], tail - head, &text[tail..])
}

/// The kinds are named as the codes are; one this file does not know yet is the server's fault.
fn code(kind: Kind) -> Code {
    match kind {
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
        Kind::Internal => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_the_code_of_its_name() {
        let kinds = [
            (Kind::NotFound, Code::NotFound),
            (Kind::AlreadyExists, Code::AlreadyExists),
            (Kind::InvalidArgument, Code::InvalidArgument),
            (Kind::FailedPrecondition, Code::FailedPrecondition),
            (Kind::ResourceExhausted, Code::ResourceExhausted),
            (Kind::DeadlineExceeded, Code::DeadlineExceeded),
            (Kind::Unavailable, Code::Unavailable),
            (Kind::PermissionDenied, Code::PermissionDenied),
            (Kind::Unimplemented, Code::Unimplemented),
            (Kind::Cancelled, Code::Cancelled),
            (Kind::Internal, Code::Internal),
        ];

        for (kind, expected) in kinds {
            assert_eq!(code(kind), expected);
            assert_eq!(format!("{kind:?}"), format!("{expected:?}"));
        }
    }

    #[test]
    fn a_long_text_loses_its_middle() {
        let error = Error::not_found(format!("no container {}: gone", "ü".repeat(1 << 20)));

        let status = status(&error);

        assert!(status.message().starts_with("no container üü"));
        assert!(status.message().ends_with("üü: gone"));
        assert!(status.message().len() < LONGEST + 64);
    }

    #[test]
    fn a_status_carries_every_cause() {
        let error = Error::not_found("no image a").within("cannot create container b");

        let status = status(&error);

        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.message(), "cannot create container b: no image a");
    }
}
