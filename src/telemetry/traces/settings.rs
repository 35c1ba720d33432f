//! What the environment says about traces: the variables of the OpenTelemetry specification. Endpoint, protocol, headers,
//! certificates and time-out are read by the exporter, the sampler and limits of spans by the SDK.

use std::time::Duration;

use opentelemetry::Key;
use opentelemetry_sdk::Resource;

/// Whether to trace.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nobody asks for it.
    Off,
    /// Somebody asks for what there is not.
    Strange(String),
    On(Settings),
}

/// How spans are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// Spans that wait; further ones are dropped.
    pub(super) waiting: usize,
    /// Spans sent at once.
    pub(super) at_once: usize,
    /// How long a span waits for others.
    pub(super) delay: Duration,
}

impl Settings {
    /// What these variables ask for. An endpoint asks for traces, as `OTEL_TRACES_EXPORTER=otlp` does; by the
    /// specification alone they would be on without either.
    pub(super) fn wish(variable: impl Fn(&str) -> Option<String>) -> Wish {
        let variable = |name: &str| variable(name).filter(|text| !text.trim().is_empty());
        let is = |name: &str, word: &str| {
            variable(name).is_some_and(|text| text.trim().eq_ignore_ascii_case(word))
        };
        if is("OTEL_SDK_DISABLED", "true") {
            return Wish::Off;
        }
        match variable("OTEL_TRACES_EXPORTER").as_deref().map(str::trim) {
            None => {
                let endpoints = [
                    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                    "OTEL_EXPORTER_OTLP_ENDPOINT",
                ];
                if endpoints.iter().all(|name| variable(name).is_none()) {
                    return Wish::Off;
                }
            }
            Some("none") => return Wish::Off,
            Some("otlp") => {}
            Some(other) => {
                return Wish::Strange(format!(
                    "OTEL_TRACES_EXPORTER is {other:?}: there is only otlp, and none"
                ));
            }
        }
        let protocols = [
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        ];
        let named = protocols
            .into_iter()
            .find_map(|name| Some((name, variable(name)?)));
        if let Some((name, protocol)) = named
            && !["grpc", "http/protobuf"].contains(&&*protocol.to_ascii_lowercase())
        {
            return Wish::Strange(format!(
                "{name} is {protocol:?}: there are only grpc and http/protobuf"
            ));
        }
        let number = |name: &str, default: usize| {
            let given = variable(name).and_then(|text| text.trim().parse().ok());
            given.filter(|number| *number > 0).unwrap_or(default)
        };
        let waiting = number("OTEL_BSP_MAX_QUEUE_SIZE", 2048);
        let delay = number("OTEL_BSP_SCHEDULE_DELAY", 5000);
        Wish::On(Settings {
            waiting,
            at_once: number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512).min(waiting),
            delay: Duration::from_millis(u64::try_from(delay).unwrap_or(u64::MAX)),
        })
    }
}

/// What spans are of: the environment's word, else this program.
pub(super) fn resource() -> Resource {
    let told = Resource::builder().build();
    let name = told.get(&Key::from_static_str("service.name"));
    let version = ("service.version", env!("CARGO_PKG_VERSION"));
    let builder = Resource::builder().with_attribute(opentelemetry::KeyValue::new(version.0, version.1));
    match name {
        Some(name) if !name.as_str().starts_with("unknown_service") => builder.build(),
        _ => builder.with_service_name("coracle").build(),
    }
}
