//! One log line and one count for each call, as for those of CRI: what was asked, how it ended, how long it took.

use std::time::{Duration, Instant};

use crate::model::{Kind, Result};
use crate::telemetry::{self, Stage, Underway};

/// A call under way. Its end is told once, at the latest when it is dropped: then its client has gone.
#[derive(Debug)]
pub(super) struct Outcome {
    name: &'static str,
    meter: &'static str,
    began: Instant,
    ended: bool,
    _underway: Underway,
}

impl Outcome {
    /// `meter` is what metrics call it.
    pub(super) fn begin(name: &'static str, meter: &'static str) -> Outcome {
        Outcome {
            name,
            meter,
            began: Instant::now(),
            ended: false,
            _underway: telemetry::begin(Stage::Call),
        }
    }

    pub(super) fn end<T>(mut self, result: &Result<T>) {
        self.ended = true;
        let took = self.began.elapsed();
        let kind = result.as_ref().err().map(|error| error.kind());
        self.count(kind, took);
        let call = self.name;
        match result {
            Ok(_) => tracing::debug!(call, ?took, "call succeeded"),
            Err(error) if error.kind() == Kind::NotFound => {
                tracing::debug!(call, ?took, %error, "call failed");
            }
            Err(error) => tracing::warn!(call, ?took, code = ?error.kind(), %error, "call failed"),
        }
    }

    fn count(&self, kind: Option<Kind>, took: Duration) {
        telemetry::call_ended(self.meter, code(kind), took);
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        if !self.ended {
            self.count(Some(Kind::Cancelled), self.began.elapsed());
            tracing::debug!(call = self.name, "the client went away");
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
