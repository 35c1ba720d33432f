//! The deadline that a client sends with its call: when it is over the call is dropped, and answered `DEADLINE_EXCEEDED`, as
//! gRPC has it ("gRPC over HTTP2", `grpc-timeout`).
//!
//! Tonic keeps deadlines as well, and says `CANCELLED`. A client learns of whichever is first: the server's answer, or that
//! its own clock has run out. The timer of this layer is set within the one of tonic's and before it, and so ends first.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::Either;
use http::{HeaderMap, Request, Response};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

/// Answers calls whose time is up.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeadlineLayer;

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline { inner }
    }
}

/// The service [`DeadlineLayer`] makes.
#[derive(Clone, Debug)]
pub(super) struct Deadline<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for Deadline<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future =
        Either<S::Future, Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send + 'static>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(given) = given(request.headers()) else {
            return Either::Left(self.inner.call(request));
        };
        let answer = tokio::time::timeout(given, self.inner.call(request));
        Either::Right(Box::pin(async move {
            answer.await.unwrap_or_else(|_| {
                Ok(
                    Status::deadline_exceeded(format!("the client gave {given:?}, which are over"))
                        .into_http(),
                )
            })
        }))
    }
}

/// The time that a client gives: at most eight digits and a unit. What is not so is as good as none, as it is to tonic.
fn given(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u32 = Some(digits)
        .filter(|it| it.len() <= 8 && it.bytes().all(|it| it.is_ascii_digit()))?
        .parse()
        .ok()?;
    let unit = match unit {
        "H" => Duration::from_secs(3600),
        "M" => Duration::from_secs(60),
        "S" => Duration::from_secs(1),
        "m" => Duration::from_millis(1),
        "u" => Duration::from_micros(1),
        "n" => Duration::from_nanos(1),
        _ => return None,
    };
    Some(unit * count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_digits_and_a_unit() {
        let rows = [
            ("2H", Some(Duration::from_secs(7200))),
            ("3M", Some(Duration::from_secs(180))),
            ("10S", Some(Duration::from_secs(10))),
            ("1500m", Some(Duration::from_millis(1500))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("0n", Some(Duration::ZERO)),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("100000000n", None),
            ("S", None),
            ("", None),
            ("5", None),
            ("5s", None),
            ("-5S", None),
            ("+5S", None),
            ("5 S", None),
            ("5é", None),
        ];
        for (text, expected) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(
                "grpc-timeout",
                http::HeaderValue::from_bytes(text.as_bytes()).unwrap(),
            );

            assert_eq!(given(&headers), expected, "{text:?}");
        }
        assert_eq!(given(&HeaderMap::new()), None);
    }
}
