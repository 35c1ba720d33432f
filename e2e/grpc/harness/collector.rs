//! A collector of traces that stands in for the field's: it takes what is sent, by either transport, and keeps it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
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

use super::eventually;

/// A collector that keeps what it is sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collector {
    received: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

/// A collector at work; it ends with the value.
pub(crate) struct Listening {
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

    pub(crate) async fn over_http() -> Listening {
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

    pub(crate) async fn over_grpc() -> Listening {
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
    pub(crate) fn endpoint(&self) -> String {
        format!("OTEL_EXPORTER_OTLP_ENDPOINT=http://{}", self.address)
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let received = self.collector.received.lock().unwrap();
        let scopes = received.iter().flat_map(|request| &request.resource_spans);
        let scopes = scopes.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// The only span of a call of CRI, once it is here.
    pub(crate) async fn call(&self, name: &str) -> Span {
        self.named(&format!("runtime.v1.{name}")).await
    }

    /// The only span of a name, once it is here.
    pub(crate) async fn named(&self, name: &str) -> Span {
        let (span, others) = eventually(&format!("{name} is traced"), async || {
            let mut spans = self.spans().into_iter().filter(|span| span.name == name);
            spans.next().map(|first| (first, spans.count()))
        })
        .await;
        assert_eq!(others, 0, "{name} was traced more than once");
        span
    }

    /// The spans right below another, by name, once there are so many.
    pub(crate) async fn below(&self, parent: &Span, name: &str, count: usize) -> Vec<Span> {
        eventually(&format!("{count} {name} below {}", parent.name), async || {
            let mut spans = self.spans();
            spans.retain(|span| span.parent_span_id == parent.span_id && span.name == name);
            (spans.len() == count).then_some(spans)
        })
        .await
    }

    pub(crate) fn resource(&self) -> HashMap<String, String> {
        let received = self.collector.received.lock().unwrap();
        let resource = received[0].resource_spans[0].resource.clone().unwrap();
        attributes(&resource.attributes)
    }
}

pub(crate) fn attributes(pairs: &[KeyValue]) -> HashMap<String, String> {
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
