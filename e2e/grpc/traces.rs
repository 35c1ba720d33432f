//! Traces, as a collector receives them that stands in for the field's: what is in them, and that nobody waits for it.

use std::fs;

use k8s_cri::v1;
use libtest_mimic::Trial;
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::json;
use tokio::net::TcpListener;
use tonic::Request;

use crate::harness::api::Api;
use crate::harness::collector::{Collector, attributes};
use crate::harness::daemon::{Daemon, Place, image_name};
use crate::harness::image::{Packing, Recipe, TestImage};
use crate::harness::pod::{self, Pod};
use crate::harness::registry::Registry;
use crate::harness::{eventually, trials};
use crate::pulls::{image, request};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        calls_are_spans_with_their_steps,
        calls_of_the_reduced_api_are_spans_too,
        who_is_not_to_be_sampled_is_not,
        what_was_done_last_is_sent_at_the_end,
        nobody_waits_for_a_collector_that_is_gone,
        nobody_waits_for_a_collector_that_does_not_answer,
        with_nothing_set_nothing_is_traced,
    ]
}

/// The names of what a span has noted, in order.
fn steps(span: &Span) -> Vec<&str> {
    span.events.iter().map(|event| event.name.as_str()).collect()
}

/// Asserts that these steps were taken in this order, whatever came between.
fn assert_steps(span: &Span, wanted: &[&str]) {
    let taken = steps(span);
    let mut rest = taken.iter();
    for step in wanted {
        assert!(
            rest.any(|taken| taken == step),
            "{step} of {}: {taken:?}",
            span.name
        );
    }
}

/// A daemon with these variables in its environment, and the common image.
async fn daemon(purpose: &str, variables: &[&str]) -> Daemon {
    daemon_in(Place::new(purpose), variables).await
}

async fn daemon_in(place: Place, variables: &[&str]) -> Daemon {
    let daemon = Daemon::start_by(place, &[&["env"], variables].concat()).await;
    daemon
        .import(&image_name(), &TestImage::build(&Recipe::default()))
        .await;
    daemon
}

const TRACE: [u8; 16] = [0xab; 16];
const CALLER: [u8; 8] = [0xcd; 8];

/// A request of a caller who is traced, and sampled or not.
fn traced<T>(message: T, sampled: bool) -> Request<T> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let header = format!("00-{}-{}-0{}", hex(&TRACE), hex(&CALLER), u8::from(sampled));
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("traceparent", header.parse().unwrap());
    request
}

async fn calls_are_spans_with_their_steps() {
    let collector = Collector::over_http().await;
    let registry = Registry::start().await;
    let variables = [
        &*collector.endpoint(),
        "OTEL_EXPORTER_OTLP_HEADERS=authorization=Basic%20eDp5",
        "OTEL_BSP_SCHEDULE_DELAY=50",
        "OTEL_SERVICE_NAME=node-runtime",
        "OTEL_RESOURCE_ATTRIBUTES=zone=here",
    ];
    let daemon = daemon("traced", &variables).await;
    let config = pod::config(&daemon, "traced");
    let run = v1::RunPodSandboxRequest {
        config: Some(config.clone()),
        ..Default::default()
    };
    let made = daemon
        .runtime()
        .run_pod_sandbox(traced(run, true))
        .await
        .unwrap()
        .into_inner();
    let pod = Pod::adopted(&daemon, &made.pod_sandbox_id, &config);
    let container = pod.start("main", &["sleep", "infinity"]).await;
    let image = image(Packing::Gzip);
    registry.push("e2e/traced", "1", &image).await;
    let name = format!("{}/e2e/traced:1", registry.host);
    daemon.images().pull_image(request(&name, None)).await.unwrap();
    let none = v1::ContainerStatusRequest {
        container_id: "no-such-container".to_owned(),
        verbose: false,
    };
    daemon.runtime().container_status(none).await.unwrap_err();

    let run = collector.call("RuntimeService/RunPodSandbox").await;
    assert_eq!(
        (&run.trace_id[..], &run.parent_span_id[..]),
        (&TRACE[..], &CALLER[..])
    );
    assert_eq!(run.kind, 2, "a server's");
    let told = attributes(&run.attributes);
    for (key, value) in [
        ("rpc.system", "grpc"),
        ("rpc.service", "runtime.v1.RuntimeService"),
        ("rpc.method", "RunPodSandbox"),
        ("rpc.grpc.status_code", "0"),
        ("k8s.pod.name", "traced"),
        ("k8s.namespace.name", "e2e"),
    ] {
        assert_eq!(told.get(key).map(String::as_str), Some(value), "{key}: {told:?}");
    }
    let all = [
        "record",
        "directory",
        "pin",
        "network",
        "attached",
        "files",
        "ready",
        "done",
    ];
    let all = all.map(|step| format!("adapter.run.{step}"));
    assert_steps(&run, &all.each_ref().map(String::as_str));
    let plugins = collector.below(&run, "plugin", 2).await;
    let mut names: Vec<String> = plugins
        .iter()
        .map(|span| attributes(&span.attributes)["cni.plugin"].clone())
        .collect();
    names.sort();
    assert_eq!(names, ["bridge", "portmap"]);
    assert!(plugins.iter().all(|span| span.trace_id == TRACE));

    let create = collector.call("RuntimeService/CreateContainer").await;
    assert!(create.parent_span_id.is_empty(), "its caller is not traced");
    assert_eq!(attributes(&create.attributes)["container.id"], container.id);
    assert_steps(
        &create,
        &[
            "create.record",
            "image.snapshot.publish",
            "create.monitor",
            "create.container",
            "create.done",
        ],
    );

    let pull = collector.call("ImageService/PullImage").await;
    let layers = collector.below(&pull, "layer", 2).await;
    let mut digests: Vec<String> = layers
        .iter()
        .map(|span| attributes(&span.attributes)["digest"].clone())
        .collect();
    digests.sort();
    let mut expected: Vec<String> = image.blobs[1..].iter().map(|blob| blob.digest()).collect();
    expected.sort();
    assert_eq!(digests, expected);
    let own = image.blobs[2].digest();
    for layer in &layers {
        match attributes(&layer.attributes)["digest"] == own {
            true => assert_steps(
                layer,
                &[
                    "image.stage",
                    "image.layer.describe",
                    "image.layer.sync",
                    "image.layer.publish",
                ],
            ),
            // The lowest is that of the common image, and there already.
            false => assert_eq!(steps(layer), [""; 0]),
        }
    }

    let status = collector.call("RuntimeService/ContainerStatus").await;
    assert_eq!(attributes(&status.attributes)["rpc.grpc.status_code"], "5");
    assert_eq!(
        status.status.unwrap_or_default().code,
        0,
        "that is no fault of the server"
    );
    let resource = collector.resource();
    assert_eq!(
        (&*resource["service.name"], &*resource["zone"]),
        ("node-runtime", "here")
    );
    container.remove().await;
}

async fn calls_of_the_reduced_api_are_spans_too() {
    let collector = Collector::over_http().await;
    let place = Place::new("traced-api");
    let api = Api::on(&place);
    let variables = [
        &*collector.endpoint(),
        "OTEL_EXPORTER_OTLP_HEADERS=authorization=Basic%20eDp5",
        "OTEL_BSP_SCHEDULE_DELAY=50",
    ];
    let daemon = daemon_in(place, &variables).await;

    let id = api.create("main", "true").await;
    let (missing, _) = api
        .refused("StartContainer", json!({"containerID": "no-such-container"}))
        .await;
    let (attached, ..) = api
        .send("GET /v1/Attach?containerID=no-such-container", None, b"")
        .await;
    let (kind, ..) = api.send("POST /v1/Version", Some("text/plain"), b"{}").await;
    assert_eq!((missing, attached, kind), (404, 426, 415));

    let create = collector.named("POST /v1/CreateContainer").await;
    let told = attributes(&create.attributes);
    for (key, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/v1/CreateContainer"),
        ("http.response.status_code", "200"),
        ("container.id", &*id),
    ] {
        assert_eq!(told.get(key).map(String::as_str), Some(value), "{key}: {told:?}");
    }
    assert_steps(&create, &["create.record", "create.container", "create.done"]);
    for (name, status) in [("POST /v1/StartContainer", "404"), ("POST /v1/Version", "415")] {
        let span = collector.named(name).await;
        assert_eq!(attributes(&span.attributes)["http.response.status_code"], status);
        let fault = span.status.unwrap_or_default().code;
        assert_eq!(fault, 0, "{name}: that is no fault of the server");
    }
    api.ok("RemoveContainer", json!({"containerID": id})).await;
    daemon.check().await;
}

async fn who_is_not_to_be_sampled_is_not() {
    let collector = Collector::over_grpc().await;
    let variables = [
        &*collector.endpoint(),
        "OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
        "OTEL_TRACES_SAMPLER=parentbased_always_off",
        "OTEL_BSP_SCHEDULE_DELAY=50",
    ];
    let daemon = daemon("sampled", &variables).await;
    let version = v1::VersionRequest::default;

    daemon.runtime().version(version()).await.unwrap();
    daemon.runtime().version(traced(version(), false)).await.unwrap();
    daemon.runtime().version(traced(version(), true)).await.unwrap();
    daemon
        .runtime()
        .runtime_config(traced(v1::RuntimeConfigRequest {}, true))
        .await
        .unwrap();

    collector.call("RuntimeService/RuntimeConfig").await;
    let mut names: Vec<String> = collector.spans().into_iter().map(|span| span.name).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "runtime.v1.RuntimeService/RuntimeConfig",
            "runtime.v1.RuntimeService/Version"
        ]
    );
    assert_eq!(collector.resource()["service.name"], "coracle");
}

async fn what_was_done_last_is_sent_at_the_end() {
    let collector = Collector::over_grpc().await;
    let variables = [
        &*collector.endpoint(),
        "OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
        "OTEL_BSP_SCHEDULE_DELAY=3600000",
    ];
    let daemon = daemon("last", &variables).await;
    daemon
        .runtime()
        .runtime_config(v1::RuntimeConfigRequest {})
        .await
        .unwrap();
    assert_eq!(collector.spans().len(), 0);

    let (_, status) = daemon.stop().await;

    assert!(status.success());
    collector.call("RuntimeService/RuntimeConfig").await;
}

/// What the daemon tells of traces.
async fn state(daemon: &Daemon) -> serde_json::Value {
    let output = daemon.cli(&["debug", "dump"]).await;
    let dump: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    dump["traces"].clone()
}

async fn nobody_waits_for_a_collector_that_is_gone() {
    // Nothing listens on the first port.
    let variables = [
        "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1",
        "OTEL_BSP_SCHEDULE_DELAY=10",
        "OTEL_BSP_MAX_QUEUE_SIZE=4",
    ];
    let daemon = daemon("no-collector", &variables).await;
    let pod = Pod::run(&daemon, "no-collector").await;

    assert_eq!(pod.output("main", "echo fine").await, "fine\n");

    let told = eventually("the queue is full", async || {
        daemon
            .runtime()
            .version(v1::VersionRequest::default())
            .await
            .unwrap();
        let state = state(&daemon).await;
        (state["dropped"].as_u64().unwrap() > 0 && state["failing"] == true).then_some(state)
    });
    assert_eq!(told.await["sent"], 0);
    pod.remove().await;
    let log = daemon.place.log();
    let (_, status) = daemon.stop().await;
    assert!(status.success());
    let log = fs::read_to_string(log).unwrap();
    let lines = log.lines().filter(|line| line.contains("traces are not taken"));
    assert_eq!(lines.count(), 1, "{log}");
}

async fn nobody_waits_for_a_collector_that_does_not_answer() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = format!(
        "OTEL_EXPORTER_OTLP_ENDPOINT=http://{}",
        silent.local_addr().unwrap()
    );
    for protocol in ["grpc", "http/protobuf"] {
        let protocol = format!("OTEL_EXPORTER_OTLP_PROTOCOL={protocol}");
        let daemon = daemon(
            "silent-collector",
            &[&*endpoint, &protocol, "OTEL_BSP_SCHEDULE_DELAY=10"],
        )
        .await;
        let pod = Pod::run(&daemon, "silent").await;

        assert_eq!(pod.output("main", "echo fine").await, "fine\n");
        pod.remove().await;

        let (_, status) = daemon.stop().await;
        assert!(status.success());
    }
}

async fn with_nothing_set_nothing_is_traced() {
    let collector = Collector::over_http().await;
    let endpoint = collector.endpoint();
    for variables in [
        &[][..],
        &[&*endpoint, "OTEL_SDK_DISABLED=true"],
        &[&*endpoint, "OTEL_TRACES_EXPORTER=none"],
    ] {
        let daemon = daemon("untraced", variables).await;

        daemon
            .runtime()
            .version(traced(v1::VersionRequest::default(), true))
            .await
            .unwrap();

        assert!(state(&daemon).await.is_null(), "{variables:?}");
        let log = daemon.place.log();
        daemon.stop().await;
        assert!(
            !fs::read_to_string(log).unwrap().contains("calls are traced"),
            "{variables:?}"
        );
    }
    assert!(collector.spans().is_empty());
    // What there is not is told, and nothing is traced.
    let daemon = daemon("untraced", &[&*endpoint, "OTEL_TRACES_EXPORTER=zipkin"]).await;
    assert!(state(&daemon).await.is_null());
    let log = fs::read_to_string(daemon.place.log()).unwrap();
    assert!(log.contains("OTEL_TRACES_EXPORTER is \"zipkin\""), "{log}");
}
