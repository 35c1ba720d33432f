//! One span, one log line and one count for each call, and one span for traces: what was asked, how it ended, how long it
//! took. Never what was in it.
//!
//! A call ends when its status is known: in the head of an answer that has no body, in the trailers of one
//! that has, or never, when its client went away. Answers of ordinary life (success, `NOT_FOUND` for what was
//! removed meanwhile, a client that cancelled) are logged at debug, all others at warn.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};
use tracing::{Instrument, Span};

use super::methods;
use crate::telemetry::{self, Stage, Underway, traces};

/// Logs the outcome of every call.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutcomeLayer;

impl<S> Layer<S> for OutcomeLayer {
    type Service = Outcome<S>;

    fn layer(&self, inner: S) -> Outcome<S> {
        Outcome { inner }
    }
}

/// The service [`OutcomeLayer`] makes.
#[derive(Clone, Debug)]
pub(super) struct Outcome<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for Outcome<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut call = Call::begin(request.uri().path(), request.headers());
        let answer = call
            .within(|| self.inner.call(request))
            .instrument(call.traced.clone())
            .instrument(call.span.clone());
        Box::pin(async move {
            let response = answer.await?;
            if let Some(status) = Status::from_header_map(response.headers()) {
                call.end(&status);
                return Ok(response);
            }
            Ok(response.map(|body| Body::new(Watched { body, call })))
        })
    }
}

/// A call under way. Its end is logged once, at the latest when it is dropped.
struct Call {
    span: Span,
    /// Below the other, for traces; none when there are none.
    traced: Span,
    method: &'static str,
    began: Instant,
    ended: bool,
    _underway: Underway,
}

impl Call {
    fn begin(path: &str, headers: &HeaderMap) -> Self {
        let span = tracing::info_span!("rpc", method = path.trim_start_matches('/'));
        let traced = span.in_scope(|| traces::call(path, headers));
        Self {
            span,
            traced,
            method: methods::method(path),
            began: Instant::now(),
            ended: false,
            _underway: telemetry::begin(Stage::Call),
        }
    }

    fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        self.span.in_scope(|| self.traced.in_scope(work))
    }

    fn end(&mut self, status: &Status) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let took = self.began.elapsed();
        let code = status.code();
        telemetry::call_ended(self.method, methods::code(code), took);
        let failed = methods::is_fault(code).then(|| status.message());
        traces::call_ended(&self.traced, code.into(), failed);
        self.span.in_scope(|| match code {
            Code::Ok => tracing::debug!(?took, "call succeeded"),
            Code::NotFound | Code::Cancelled => {
                tracing::debug!(?took, ?code, error = status.message(), "call failed");
            }
            _ => tracing::warn!(?took, ?code, error = status.message(), "call failed"),
        });
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(&Status::cancelled("cancelled by the client"));
    }
}

/// The body of an answer, read for the status at its end.
struct Watched {
    body: Body,
    call: Call,
}

impl Watched {
    fn trailers(&mut self, trailers: &HeaderMap) {
        let status =
            Status::from_header_map(trailers).unwrap_or_else(|| Status::unknown("no status in the trailers"));
        self.call.end(&status);
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let polled = this.call.within(|| Pin::new(&mut this.body).poll_frame(context));
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    this.trailers(trailers);
                }
            }
            Poll::Ready(Some(Err(status))) => this.call.end(status),
            Poll::Ready(None) => this
                .call
                .end(&Status::unknown("the answer ended without a status")),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
