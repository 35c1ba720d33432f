//! Requests that are no message of the call they are sent to.

use libtest_mimic::Trial;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

use super::{Table, empty};
use crate::harness::daemon::Daemon;
use crate::harness::trials;

pub(super) fn tests() -> Vec<Trial> {
    trials![
        a_message_that_cannot_be_decoded_is_refused,
        a_call_that_is_none_is_refused
    ]
}

/// Each call with the first field of its request.
const CALLS: &[(&str, &str, &str)] = &[
    ("RuntimeService", "Version", "version"),
    ("RuntimeService", "RunPodSandbox", "config"),
    ("RuntimeService", "StopPodSandbox", "pod_sandbox_id"),
    ("RuntimeService", "RemovePodSandbox", "pod_sandbox_id"),
    ("RuntimeService", "PodSandboxStatus", "pod_sandbox_id"),
    ("RuntimeService", "ListPodSandbox", "filter"),
    ("RuntimeService", "CreateContainer", "pod_sandbox_id"),
    ("RuntimeService", "StartContainer", "container_id"),
    ("RuntimeService", "StopContainer", "container_id"),
    ("RuntimeService", "RemoveContainer", "container_id"),
    ("RuntimeService", "ListContainers", "filter"),
    ("RuntimeService", "ContainerStatus", "container_id"),
    ("RuntimeService", "UpdateContainerResources", "container_id"),
    ("RuntimeService", "ReopenContainerLog", "container_id"),
    ("RuntimeService", "ExecSync", "container_id"),
    ("RuntimeService", "ContainerStats", "container_id"),
    ("RuntimeService", "ListContainerStats", "filter"),
    ("RuntimeService", "UpdateRuntimeConfig", "runtime_config"),
    ("RuntimeService", "Status", "verbose"),
    ("ImageService", "ListImages", "filter"),
    ("ImageService", "ImageStatus", "image"),
    ("ImageService", "PullImage", "image"),
    ("ImageService", "RemoveImage", "image"),
];

/// Sends `bytes` as field 1 of whatever message the call takes: neither text nor a message.
async fn call(
    daemon: &Daemon,
    service: &str,
    method: &str,
    bytes: &[u8],
) -> Result<tonic::Response<()>, tonic::Status> {
    let mut client = Grpc::new(daemon.channel());
    client.ready().await.unwrap();
    let path = PathAndQuery::try_from(format!("/runtime.v1.{service}/{method}")).unwrap();
    // A byte vector is the message `BytesValue`, whose field 1 it is.
    let codec = ProstCodec::<Vec<u8>, ()>::default();
    client.unary(Request::new(bytes.to_vec()), path, codec).await
}

async fn a_message_that_cannot_be_decoded_is_refused() {
    let daemon = empty().await;
    let mut table = Table::new(&daemon).await;

    for (service, method, field) in CALLS {
        let sent = call(&daemon, service, method, &[0xff; 11]);
        table.refused(method, Code::Internal, field, sent).await;
    }

    table.finish();
}

async fn a_call_that_is_none_is_refused() {
    let daemon = empty().await;
    let mut table = Table::new(&daemon).await;

    for (service, method) in [
        ("RuntimeService", "NoSuchCall"),
        ("RuntimeService", "runpodsandbox"),
        ("RuntimeService", "PullImage"),
        ("ImageService", "RunPodSandbox"),
        ("NoSuchService", "Version"),
    ] {
        let sent = call(&daemon, service, method, &[]);
        table.refused(method, Code::Unimplemented, "", sent).await;
    }

    table.finish();
}
