//! From a request to its answer: which path, which method, how long a body, and then the call.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{Method, Request, StatusCode, Uri};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::answer::{self, Answer};
use super::outcome::Outcome;
use super::sessions::Session;
use super::{Call, Service, document};
use crate::model::{self, Error, Result};
use crate::streaming::Direct;

/// Most bytes of a body. A request is mostly an environment, and the kernel takes no larger one.
pub(super) const MOST: usize = 4 << 20;
/// How long a client may take over its body.
const PATIENCE: Duration = Duration::from_secs(30);
const CALLS: &str = "/v1/";
const DOCUMENT: &str = "/v1/openapi.json";

impl<R, I> Service<R, I>
where
    R: model::RuntimeService + model::Stats,
    I: model::ImageService + model::Filesystem,
{
    /// Answers one request.
    pub(super) async fn answer<B>(&self, request: Request<B>, direct: &Direct) -> Answer
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if request.uri().path() == DOCUMENT {
            return match *request.method() {
                Method::GET => answer::json(document()),
                _ => answer::not_allowed("GET"),
            };
        }
        let name = request.uri().path().strip_prefix(CALLS).unwrap_or_default();
        match (Call::named(name), Session::named(name)) {
            (_, Some(session)) if request.method() == Method::GET => {
                self.open_session(session, request, direct).await
            }
            (Some(call), _) if request.method() == Method::POST => self.post(call, request).await,
            (Some(_), Some(_)) => answer::not_allowed("GET, POST"),
            (Some(_), None) => answer::not_allowed("POST"),
            (None, Some(_)) => answer::not_allowed("GET"),
            (None, None) => {
                let path = request.uri().path();
                let text = format!("there is no {path}: {DOCUMENT} tells what there is");
                answer::refuse_as(StatusCode::NOT_FOUND, "UNIMPLEMENTED", text)
            }
        }
    }

    async fn post<B>(&self, call: Call, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let outcome = Outcome::begin(call.name(), call.meter(), &head);
        let (result, answer) = outcome.within(self.posted(call, head, body)).await;
        outcome.end(&result, answer.status());
        answer
    }

    /// Answers a call, and tells what has come of it.
    async fn posted<B>(&self, call: Call, head: Parts, body: B) -> (Result<()>, Answer)
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let body = match collect(body).await {
            Ok(body) => body,
            Err(refusal) => return (Err(Error::invalid("the body cannot be had")), *refusal),
        };
        let kind = head
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        if !is_json(kind, body.is_empty()) {
            let text = format!(
                "the body must be application/json, not {}",
                kind.unwrap_or("anything")
            );
            let refused = Err(Error::invalid(text.clone()));
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return (refused, answer::refuse_as(status, "INVALID_ARGUMENT", text));
        }
        let result = match force(call, &head.uri) {
            Ok(force) => self.call(call, &body, force).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(body) => (Ok(()), answer::json(body)),
            Err(error) => {
                let answer = answer::refuse(&error);
                (Err(error), answer)
            }
        }
    }
}

/// The whole body, or why it cannot be had.
async fn collect<B>(body: B) -> std::result::Result<Bytes, Box<Answer>>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let refused = |status, code: &str, text: String| Err(Box::new(answer::refuse_as(status, code, text)));
    let limited = std::pin::pin!(Limited::new(body, MOST));
    match tokio::time::timeout(PATIENCE, limited.collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => refused(
            StatusCode::PAYLOAD_TOO_LARGE,
            "INVALID_ARGUMENT",
            format!("the body is longer than {MOST} bytes"),
        ),
        Ok(Err(error)) => refused(
            StatusCode::BAD_REQUEST,
            "INVALID_ARGUMENT",
            format!("the body cannot be read: {error}"),
        ),
        Err(_) => refused(
            StatusCode::REQUEST_TIMEOUT,
            "DEADLINE_EXCEEDED",
            "the body did not come in time".to_owned(),
        ),
    }
}

/// A body that is there is JSON by its own word: what a browser's form sends by itself is nothing that is meant.
fn is_json(kind: Option<&str>, empty: bool) -> bool {
    let kind = kind.map(|kind| {
        kind.split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
    });
    match kind.as_deref() {
        Some("application/json") => true,
        None => empty,
        Some(_) => false,
    }
}

/// Whether the caller insists: `?force=true`, of calls that change a container.
fn force(call: Call, uri: &Uri) -> Result<bool> {
    let mut force = false;
    for pair in uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
    {
        force = match pair {
            "force=true" if call.is_owned() => true,
            "force=false" if call.is_owned() => false,
            _ => return Err(Error::invalid(format!("{} does not take {pair:?}", call.name()))),
        };
    }
    Ok(force)
}
