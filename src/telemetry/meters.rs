//! Meters: what is counted and timed, always, and read when somebody asks. What happens is told by plain functions;
//! names, labels and buckets are here alone. Labels are of bounded sets: no ids, no names that callers choose.

use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

/// One label with its value.
type One = [(&'static str, &'static str); 1];
/// Two of them.
type Two = [(&'static str, &'static str); 2];
/// A histogram for each value of a label.
type Times = Family<One, Histogram, fn() -> Histogram>;

/// Seconds: of calls, from what is answered from memory to what runs into a deadline.
const BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
];
/// Seconds: of pulls.
const LONG_BUCKETS: [f64; 10] = [0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0];

/// Work that takes a while, by its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A call of the CRI or of another service.
    Call,
    /// An image that is pulled.
    Pull,
    /// A layer of one, fetched and unpacked.
    Layer,
    /// A network plugin that runs.
    Plugin,
    /// A container that is made.
    Create,
    /// A container that is started.
    Start,
    /// A container that is removed.
    Remove,
    /// A command in a container.
    Exec,
}

impl Stage {
    const ALL: [Stage; 8] = [
        Stage::Call,
        Stage::Pull,
        Stage::Layer,
        Stage::Plugin,
        Stage::Create,
        Stage::Start,
        Stage::Remove,
        Stage::Exec,
    ];

    fn name(self) -> &'static str {
        match self {
            Stage::Call => "call",
            Stage::Pull => "pull",
            Stage::Layer => "layer",
            Stage::Plugin => "plugin",
            Stage::Create => "create",
            Stage::Start => "start",
            Stage::Remove => "remove",
            Stage::Exec => "exec",
        }
    }
}

/// Work under way; it ends with the value.
#[derive(Debug)]
#[must_use = "the work ends when this is dropped"]
pub struct Underway(Gauge);

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Tells that work begins.
pub fn begin(stage: Stage) -> Underway {
    let gauge = METERS.underway.get_or_create(&[("stage", stage.name())]).clone();
    gauge.inc();
    Underway(gauge)
}

/// Tells that a call has ended. `method` and `code` are of a set that clients cannot make larger.
pub fn call_ended(method: &'static str, code: &'static str, took: Duration) {
    let labels = [("method", method)];
    METERS
        .call_seconds
        .get_or_create(&labels)
        .observe(took.as_secs_f64());
    METERS
        .calls
        .get_or_create(&[("method", method), ("code", code)])
        .inc();
}

/// Tells that a pull has ended.
pub fn pull_ended(succeeded: bool, took: Duration) {
    let labels = [("outcome", outcome(succeeded))];
    METERS
        .pull_seconds
        .get_or_create(&labels)
        .observe(took.as_secs_f64());
}

/// Tells of bytes that have come from a registry.
pub fn pulled(bytes: u64) {
    METERS.pull_bytes.inc_by(bytes);
}

/// Tells that a network plugin has run for `verb`.
pub fn plugin_ended(verb: &'static str, succeeded: bool, took: Duration) {
    METERS
        .plugin_seconds
        .get_or_create(&[("verb", verb)])
        .observe(took.as_secs_f64());
    METERS
        .plugins
        .get_or_create(&[("verb", verb), ("outcome", outcome(succeeded))])
        .inc();
}

/// Tells of events that no subscriber will get.
pub fn events_dropped(events: u64) {
    METERS.events_dropped.inc_by(events);
}

fn outcome(succeeded: bool) -> &'static str {
    match succeeded {
        true => "success",
        false => "failure",
    }
}

/// A value that is read at the moment somebody asks.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// The metric's name. Readings of one name follow each other.
    pub name: &'static str,
    /// What it says, without a full stop.
    pub help: &'static str,
    /// A label, and its value.
    pub label: Option<(&'static str, &'static str)>,
    /// The value.
    pub value: i64,
}

/// Everything in the text format of OpenMetrics, with these readings.
pub fn render(readings: &[Reading]) -> String {
    let mut text = String::with_capacity(16 << 10);
    let mut read = Registry::default();
    for of_one in readings.chunk_by(|a, b| a.name == b.name) {
        // Of a metric with a label the values are a family.
        let first = of_one[0];
        let family: Family<Vec<(&'static str, &'static str)>, Gauge> = Family::default();
        for reading in of_one {
            let labels = reading.label.into_iter().collect();
            family.get_or_create(&labels).set(reading.value);
        }
        match first.label {
            Some(_) => read.register(first.name, first.help, family),
            None => read.register(first.name, first.help, ConstGauge::new(first.value)),
        }
    }
    let written = encode_registry(&mut text, &METERS.registry)
        .and_then(|()| encode_registry(&mut text, &read))
        .and_then(|()| encode_eof(&mut text));
    if written.is_err() {
        // Text in memory takes everything.
        let _ = writeln!(text, "# EOF");
    }
    text
}

static METERS: LazyLock<Meters> = LazyLock::new(Meters::new);

#[derive(Debug)]
struct Meters {
    registry: Registry,
    call_seconds: Times,
    calls: Family<Two, Counter>,
    underway: Family<One, Gauge>,
    pull_seconds: Times,
    pull_bytes: Counter,
    plugin_seconds: Times,
    plugins: Family<Two, Counter>,
    events_dropped: Counter,
}

impl Meters {
    fn new() -> Meters {
        let mut registry = Registry::default();
        let short: fn() -> Histogram = || Histogram::new(BUCKETS);
        let long: fn() -> Histogram = || Histogram::new(LONG_BUCKETS);
        let version: Family<One, Gauge> = Family::default();
        version
            .get_or_create(&[("version", env!("CARGO_PKG_VERSION"))])
            .set(1);
        registry.register("coracle_build_info", "Version of the daemon", version);
        let r = &mut registry;
        let meters = Meters {
            call_seconds: registered(
                r,
                "coracle_rpc_duration_seconds",
                "Time that calls took",
                Family::new_with_constructor(short),
            ),
            calls: registered(
                r,
                "coracle_rpc_results",
                "Calls by what they came to",
                Family::default(),
            ),
            underway: registered(
                r,
                "coracle_work_in_flight",
                "Work under way by its kind",
                Family::default(),
            ),
            pull_seconds: registered(
                r,
                "coracle_pull_duration_seconds",
                "Time that pulls took",
                Family::new_with_constructor(long),
            ),
            pull_bytes: registered(
                r,
                "coracle_pull_bytes",
                "Bytes that came from registries",
                Counter::default(),
            ),
            plugin_seconds: registered(
                r,
                "coracle_cni_plugin_duration_seconds",
                "Time that one network plugin took",
                Family::new_with_constructor(short),
            ),
            plugins: registered(
                r,
                "coracle_cni_plugin_runs",
                "Runs of network plugins",
                Family::default(),
            ),
            events_dropped: registered(
                r,
                "coracle_events_dropped",
                "Events that subscribers did not get because they read too slowly",
                Counter::default(),
            ),
            registry,
        };
        for stage in Stage::ALL {
            meters.underway.get_or_create(&[("stage", stage.name())]).set(0);
        }
        meters
    }
}

/// A metric of which the registry has a share.
fn registered<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_in_the_text_once_it_has_ended() {
        call_ended("OfThisTest", "NotFound", Duration::from_millis(20));
        let underway = begin(Stage::Exec);
        let reading = Reading {
            name: "coracle_things",
            help: "Things",
            label: Some(("state", "odd")),
            value: 3,
        };

        let text = render(&[reading]);
        drop(underway);

        for line in [
            "coracle_rpc_results_total{method=\"OfThisTest\",code=\"NotFound\"} 1",
            "coracle_rpc_duration_seconds_count{method=\"OfThisTest\"} 1",
            "coracle_rpc_duration_seconds_bucket{le=\"0.01\",method=\"OfThisTest\"} 0",
            "coracle_rpc_duration_seconds_bucket{le=\"0.025\",method=\"OfThisTest\"} 1",
            "coracle_things{state=\"odd\"} 3",
            "# TYPE coracle_pull_bytes counter",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
