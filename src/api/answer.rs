//! Answers: JSON, or a refusal that says in JSON what its status says in a number.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Error, Kind};

/// What is sent.
pub(super) type Answer = Response<Full<Bytes>>;

/// Why a call was refused, or failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// What kind of error it is, by the name of its gRPC code: `NOT_FOUND`.
    pub code: String,
    /// What went wrong with what, for a person.
    pub message: String,
}

/// An answer of JSON.
pub(super) fn json(body: impl Into<Bytes>) -> Answer {
    with(StatusCode::OK, body.into())
}

/// An answer that refuses.
pub(super) fn refuse(error: &Error) -> Answer {
    let (status, code) = meaning(error.kind());
    refuse_as(status, code, error.to_string())
}

/// An answer to a method that is not `method`.
pub(super) fn not_allowed(method: &'static str) -> Answer {
    let text = format!("this path takes {method} only");
    let mut answer = refuse_as(StatusCode::METHOD_NOT_ALLOWED, "UNIMPLEMENTED", text);
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(method));
    answer
}

/// An answer that refuses for what HTTP itself knows of.
pub(super) fn refuse_as(status: StatusCode, code: &str, message: String) -> Answer {
    let refusal = Refusal {
        code: code.to_owned(),
        message,
    };
    let body = serde_json::to_vec(&refusal).expect("two texts can be written");
    with(status, body.into())
}

fn with(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// The status of a kind of error, and its name. (google.rpc.Code has the same mapping, but for a precondition: there it
/// is 400, and here a request that is good in itself and may succeed later.)
pub(super) fn meaning(kind: Kind) -> (StatusCode, &'static str) {
    match kind {
        Kind::InvalidArgument => (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT"),
        Kind::NotFound => (StatusCode::NOT_FOUND, "NOT_FOUND"),
        Kind::AlreadyExists => (StatusCode::CONFLICT, "ALREADY_EXISTS"),
        Kind::FailedPrecondition => (StatusCode::PRECONDITION_FAILED, "FAILED_PRECONDITION"),
        Kind::ResourceExhausted => (StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED"),
        Kind::DeadlineExceeded => (StatusCode::GATEWAY_TIMEOUT, "DEADLINE_EXCEEDED"),
        Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        Kind::PermissionDenied => (StatusCode::FORBIDDEN, "PERMISSION_DENIED"),
        Kind::Unimplemented => (StatusCode::NOT_IMPLEMENTED, "UNIMPLEMENTED"),
        // nginx's number for a client that went away; nobody is there to read it.
        Kind::Cancelled => (StatusCode::from_u16(499).expect("it is a status"), "CANCELLED"),
        Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
    }
}
