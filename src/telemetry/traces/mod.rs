//! Traces by OTLP: each call is a span, its steps are events of it, its longer parts are spans below it. Whether, how and to
//! whom is the environment's to say, by the standard variables.
//!
//! Spans are `tracing`'s, of a target of their own: logs do not show them, and no other span becomes one. With nothing set
//! there is no layer, no queue and no task, and each function here is one look at a flag.

mod export;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::OnceLock;

use http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing::{Span, Subscriber, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::registry::LookupSpan;

pub use export::{Exporting, State};
use export::{Outbox, Queue};
use settings::{Settings, Wish};

/// The target of spans and events that are traced, and of nothing else.
const TARGET: &str = "coracle::traced";

/// What is traced with, once the environment has asked for it.
static TRACED: OnceLock<Traced> = OnceLock::new();

#[derive(Debug)]
struct Traced {
    outbox: Arc<Outbox>,
    /// Lives as long as spans can end.
    _provider: SdkTracerProvider,
}

/// Whether calls are traced.
pub fn on() -> bool {
    TRACED.get().is_some()
}

/// Whether a span or an event is for traces alone.
pub(super) fn is_traced(metadata: &tracing::Metadata<'_>) -> bool {
    metadata.target() == TARGET
}

/// The layer that makes traces, if the environment asks for them. Starts nothing: [`start`] does. The second value is what is
/// to be logged once there is a log.
pub(super) fn layer<S>() -> (Option<Box<dyn Layer<S> + Send + Sync>>, Option<String>)
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let settings = match Settings::wish(|name| std::env::var(name).ok()) {
        Wish::Off => return (None, None),
        Wish::Strange(problem) => return (None, Some(problem)),
        Wish::On(settings) => settings,
    };
    let (queue, outbox) = Queue::new(settings);
    let provider = SdkTracerProvider::builder()
        .with_resource(settings::resource())
        .with_span_processor(queue)
        .build();
    let layer = shown(provider.tracer("coracle"));
    let traced = Traced {
        outbox,
        _provider: provider,
    };
    match TRACED.set(traced) {
        Ok(()) => (Some(layer), None),
        // A process has one log and one of these.
        Err(_) => (None, None),
    }
}

fn shown<S>(tracer: SdkTracer) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_level(false)
        .with_tracked_inactivity(false)
        .with_context_activation(false)
        .with_filter(filter_fn(is_traced).with_max_level_hint(LevelFilter::INFO))
        .boxed()
}

/// Sends what is traced from now on, until [`Exporting::stop`]; none when nothing is traced.
pub fn start() -> Option<Exporting> {
    TRACED.get().and_then(|traced| traced.outbox.start())
}

/// How the sending goes; none when nothing is traced.
pub fn state() -> Option<State> {
    TRACED.get().map(|traced| traced.outbox.state())
}

/// The span of a call: below its caller's when the headers name one (W3C Trace Context).
pub fn call(path: &str, headers: &HeaderMap) -> Span {
    if !on() {
        return Span::none();
    }
    let path = path.trim_start_matches('/');
    let (service, method) = path.rsplit_once('/').unwrap_or(("", path));
    let span = tracing::info_span!(
        target: TARGET,
        "call",
        otel.name = path,
        otel.kind = "server",
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        rpc.grpc.status_code = field::Empty,
        otel.status_code = field::Empty,
        otel.status_description = field::Empty,
    );
    below_caller(span, headers)
}

/// The span of a request over HTTP, by its method and path: below its caller's, as that of a call.
pub fn request(method: &str, path: &str, headers: &HeaderMap) -> Span {
    if !on() {
        return Span::none();
    }
    let span = tracing::info_span!(
        target: TARGET,
        "request",
        otel.name = format!("{method} {path}"),
        otel.kind = "server",
        http.request.method = method,
        http.route = path,
        http.response.status_code = field::Empty,
        otel.status_code = field::Empty,
        otel.status_description = field::Empty,
    );
    below_caller(span, headers)
}

fn below_caller(span: Span, headers: &HeaderMap) -> Span {
    let caller = TraceContextPropagator::new().extract(&Carrier(headers));
    if caller.span().span_context().is_valid() {
        // Fails only for a span that has begun, or is not traced.
        let _ = span.set_parent(caller);
    }
    span
}

/// Ends a call in its span. `failed` says what went wrong, where it is the server's fault.
pub fn call_ended(span: &Span, code: i32, failed: Option<&str>) {
    if span.is_none() {
        return;
    }
    span.record("rpc.grpc.status_code", code);
    blame(span, failed);
}

/// Ends a request in its span, as [`call_ended`] does a call.
pub fn request_ended(span: &Span, status: u16, failed: Option<&str>) {
    if span.is_none() {
        return;
    }
    span.record("http.response.status_code", status);
    blame(span, failed);
}

fn blame(span: &Span, failed: Option<&str>) {
    if let Some(text) = failed {
        span.record("otel.status_code", "ERROR");
        span.record("otel.status_description", text);
    }
}

/// The span of a longer part of what is done, below the one that it is part of.
pub fn part(name: &'static str, about: &[(&'static str, &str)]) -> Span {
    if !on() {
        return Span::none();
    }
    let span = tracing::info_span!(target: TARGET, "part", otel.name = name);
    for (key, value) in about {
        span.set_attribute(*key, (*value).to_owned());
    }
    span
}

/// Says what the span is about that the caller is in.
pub fn about(key: &'static str, value: &str) {
    if on() {
        Span::current().set_attribute(key, value.to_owned());
    }
}

/// Notes a step in the span that the caller is in.
pub fn step(name: &'static str) {
    if on() {
        tracing::info!(target: TARGET, message = name);
    }
}

/// What names the caller's span, in a call's headers.
struct Carrier<'a>(&'a HeaderMap);

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
