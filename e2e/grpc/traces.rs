//! Traces, as a collector receives them that stands in for the field's: what is in them, and that nobody waits for it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_cri::v1;
use libtest_mimic::Trial;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::{Request, Response, Status};

use crate::harness::daemon::{Daemon, Place, image_name};
use crate::harness::image::{Packing, Recipe, TestImage};
use crate::harness::pod::{self, Pod};
use crate::harness::registry::Registry;
use crate::harness::{eventually, trials};
use crate::pulls::{image, request};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        calls_are_spans_with_their_steps,
        who_is_not_to_be_sampled_is_not,
        what_was_done_last_is_sent_at_the_end,
        nobody_waits_for_a_collector_that_is_gone,
        nobody_waits_for_a_collector_that_does_not_answer,
        with_nothing_set_nothing_is_traced,
    ]
}

/// A collector that keeps what it is sent.
#[derive(Clone, Debug, Default)]
struct Collector {
    received: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

/// A collector at work; it ends with the value.
struct Listening {
    collector: Collector,
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.keep(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    fn keep(&self, request: ExportTraceServiceRequest) {
        self.received.lock().unwrap().push(request);
    }

    /// What a client posts.
    async fn post(
        &self,
        request: hyper::Request<Incoming>,
    ) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
        assert_eq!(request.uri().path(), "/v1/traces");
        assert_eq!(request.headers()["content-type"], "application/x-protobuf");
        assert_eq!(request.headers()["authorization"], "Basic eDp5");
        let body = request.into_body().collect().await.unwrap().to_bytes();
        self.keep(ExportTraceServiceRequest::decode(body).unwrap());
        let answer = ExportTraceServiceResponse::default().encode_to_vec();
        Ok(hyper::Response::new(Full::new(answer.into())))
    }

    async fn listen() -> (Collector, TcpListener, SocketAddr) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (Collector::default(), listener, address)
    }

    async fn over_http() -> Listening {
        let (collector, listener, address) = Collector::listen().await;
        let (mut tasks, serving) = (JoinSet::new(), collector.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let collector = serving.clone();
                let service = service_fn(move |request| {
                    let collector = collector.clone();
                    async move { collector.post(request).await }
                });
                connections.spawn(async move {
                    // A client that goes away is no matter.
                    let _gone = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Listening {
            collector,
            address,
            _tasks: tasks,
        }
    }

    async fn over_grpc() -> Listening {
        let (collector, listener, address) = Collector::listen().await;
        let mut tasks = JoinSet::new();
        let service = TraceServiceServer::new(collector.clone());
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        tasks.spawn(async move {
            let server = tonic::transport::Server::builder().add_service(service);
            server.serve_with_incoming(incoming).await.unwrap();
        });
        Listening {
            collector,
            address,
            _tasks: tasks,
        }
    }
}

impl Listening {
    fn endpoint(&self) -> String {
        format!("OTEL_EXPORTER_OTLP_ENDPOINT=http://{}", self.address)
    }

    fn spans(&self) -> Vec<Span> {
        let received = self.collector.received.lock().unwrap();
        let scopes = received.iter().flat_map(|request| &request.resource_spans);
        let scopes = scopes.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// The only span of a call, once it is here.
    async fn call(&self, name: &str) -> Span {
        let full = format!("runtime.v1.{name}");
        let (span, others) = eventually(&format!("{name} is traced"), async || {
            let mut spans = self.spans().into_iter().filter(|span| span.name == full);
            spans.next().map(|first| (first, spans.count()))
        })
        .await;
        assert_eq!(others, 0, "{name} was traced more than once");
        span
    }

    /// The spans right below another, by name, once there are so many.
    async fn below(&self, parent: &Span, name: &str, count: usize) -> Vec<Span> {
        eventually(&format!("{count} {name} below {}", parent.name), async || {
            let mut spans = self.spans();
            spans.retain(|span| span.parent_span_id == parent.span_id && span.name == name);
            (spans.len() == count).then_some(spans)
        })
        .await
    }

    fn resource(&self) -> HashMap<String, String> {
        let received = self.collector.received.lock().unwrap();
        let resource = received[0].resource_spans[0].resource.clone().unwrap();
        attributes(&resource.attributes)
    }
}

fn attributes(pairs: &[KeyValue]) -> HashMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.clone().unwrap().value.unwrap() {
        any_value::Value::StringValue(text) => text,
        any_value::Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    pairs
        .iter()
        .map(|pair| (pair.key.clone(), text(&pair.value)))
        .collect()
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
