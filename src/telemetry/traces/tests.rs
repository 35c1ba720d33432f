//! What the environment asks for.

use std::time::Duration;

use super::settings::{Settings, Wish};

fn wish(variables: &[(&str, &str)]) -> Wish {
    Settings::wish(|name| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://192.0.2.1:4318");

#[test]
fn traces_are_asked_for_by_an_endpoint_or_by_name() {
    let check = |variables: &[(&str, &str)], on: bool| {
        assert_eq!(matches!(wish(variables), Wish::On(_)), on, "{variables:?}");
    };

    check(&[], false);
    check(&[("OTEL_SERVICE_NAME", "x")], false);
    check(&[ENDPOINT], true);
    check(&[(ENDPOINT.0, "  ")], false);
    check(
        &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://192.0.2.1/")],
        true,
    );
    check(
        &[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://192.0.2.1/")],
        false,
    );
    check(&[("OTEL_TRACES_EXPORTER", "otlp")], true);
    check(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")], false);
    check(&[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")], false);
    check(&[ENDPOINT, ("OTEL_SDK_DISABLED", "false")], true);
    check(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], true);
}

#[test]
fn what_there_is_not_is_told_by_the_variables_name() {
    for (name, value) in [
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "udp"),
    ] {
        let Wish::Strange(problem) = wish(&[ENDPOINT, (name, value)]) else {
            panic!("{name}={value} is taken");
        };
        assert!(problem.contains(name) && problem.contains(value), "{problem}");
    }
}

#[test]
fn the_queue_is_as_the_variables_say() {
    let check = |variables: &[(&str, &str)], waiting: usize, at_once: usize, delay: u64| {
        let all = [&[ENDPOINT], variables].concat();
        let expected = Settings {
            waiting,
            at_once,
            delay: Duration::from_millis(delay),
        };
        assert_eq!(wish(&all), Wish::On(expected), "{variables:?}");
    };

    check(&[], 2048, 512, 5000);
    check(&[("OTEL_BSP_MAX_QUEUE_SIZE", "16")], 16, 16, 5000);
    check(
        &[
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "9"),
            ("OTEL_BSP_SCHEDULE_DELAY", " 100 "),
        ],
        2048,
        9,
        100,
    );
    check(
        &[
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
            ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
        ],
        2048,
        512,
        5000,
    );
}
