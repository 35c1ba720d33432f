//! One span, one log line and one count for each call, and one span for traces: what was asked, how it ended, how long it
//! took.

use std::time::{Duration, Instant};

use http::StatusCode;
use http::request::Parts;
use tracing::instrument::Instrumented;
use tracing::{Instrument, Span};

use crate::model::{Kind, Result};
use crate::telemetry::{self, Stage, Underway, traces};

/// A call under way. Its end is told once, at the latest when it is dropped: then its client has gone.
#[derive(Debug)]
pub(super) struct Outcome {
    span: Span,
    /// Below the other, for traces; none when there are none.
    traced: Span,
    meter: &'static str,
    began: Instant,
    ended: bool,
    _underway: Underway,
}

impl Outcome {
    /// `meter` is what metrics call it, `head` the request's.
    pub(super) fn begin(name: &'static str, meter: &'static str, head: &Parts) -> Outcome {
        let span = tracing::info_span!("api", call = name);
        let traced = span.in_scope(|| traces::request(head.method.as_str(), head.uri.path(), &head.headers));
        Outcome {
            span,
            traced,
            meter,
            began: Instant::now(),
            ended: false,
            _underway: telemetry::begin(Stage::Call),
        }
    }

    /// What is done for the call, within its spans.
    pub(super) fn within<F: Future>(&self, work: F) -> Instrumented<Instrumented<F>> {
        work.instrument(self.traced.clone()).instrument(self.span.clone())
    }

    /// `status` is what the client is answered.
    pub(super) fn end<T>(mut self, result: &Result<T>, status: StatusCode) {
        self.ended = true;
        let took = self.began.elapsed();
        let error = result.as_ref().err();
        self.count(error.map(|error| error.kind()), took);
        let fault = error.filter(|_| status.is_server_error());
        let fault = fault.map(|error| error.to_string());
        traces::request_ended(&self.traced, status.as_u16(), fault.as_deref());
        self.span.in_scope(|| match error {
            None => tracing::debug!(?took, "call succeeded"),
            Some(error) if error.kind() == Kind::NotFound => {
                tracing::debug!(?took, %error, "call failed");
            }
            Some(error) => tracing::warn!(?took, code = ?error.kind(), %error, "call failed"),
        });
    }

    fn count(&self, kind: Option<Kind>, took: Duration) {
        telemetry::call_ended(self.meter, code(kind), took);
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        if !self.ended {
            self.count(Some(Kind::Cancelled), self.began.elapsed());
            self.span.in_scope(|| tracing::debug!("the client went away"));
        }
    }
}

/// A kind as metrics write it, which is how the field writes gRPC's codes.
fn code(kind: Option<Kind>) -> &'static str {
    match kind {
        None => "OK",
        Some(Kind::NotFound) => "NotFound",
        Some(Kind::AlreadyExists) => "AlreadyExists",
        Some(Kind::InvalidArgument) => "InvalidArgument",
        Some(Kind::FailedPrecondition) => "FailedPrecondition",
        Some(Kind::ResourceExhausted) => "ResourceExhausted",
        Some(Kind::DeadlineExceeded) => "DeadlineExceeded",
        Some(Kind::Unavailable) => "Unavailable",
        Some(Kind::PermissionDenied) => "PermissionDenied",
        Some(Kind::Unimplemented) => "Unimplemented",
        Some(Kind::Cancelled) => "Canceled",
        Some(Kind::Internal) => "Internal",
    }
}
