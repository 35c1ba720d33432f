//! Reflection: a client that knows no service beforehand finds and calls what is on the socket.

use k8s_cri::v1;
use libtest_mimic::Trial;
use prost::Message as _;
use serde_json::Value;
use tokio::process::Command;
use tonic::codegen::tokio_stream;
use tonic_reflection::pb::v1alpha;
use tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest as Question;
use tonic_reflection::pb::v1alpha::server_reflection_response::MessageResponse as Answer;

use crate::harness::daemon::shared;
use crate::harness::endpoint::ours;
use crate::harness::node::cached;
use crate::harness::trials;

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        a_client_without_definitions_finds_and_calls_the_services,
        older_clients_are_told_the_same,
        what_is_not_served_is_not_found,
    ]
}

/// Reflection is no part of CRI: nobody else owes it.
const REFLECTION: &str = "asks by gRPC reflection";

/// What grpcurl prints, and on which stream.
async fn grpcurl(arguments: &[&str]) -> Result<String, String> {
    ours(REFLECTION);
    let program = cached("tools", "grpcurl-").expect("hack/tools.sh has built grpcurl");
    let socket = format!("unix://{}", shared().await.place.socket.display());
    let mut command = Command::new(program.join("grpcurl"));
    // Its authority is what it dials, a path.
    command.arg("-plaintext");
    let (options, rest) = match arguments {
        ["-d", data, rest @ ..] => (vec!["-d", *data], rest),
        rest => (vec![], rest),
    };
    let output = command
        .args(options)
        .arg(socket)
        .args(rest)
        .output()
        .await
        .unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

async fn a_client_without_definitions_finds_and_calls_the_services() {
    let services = grpcurl(&["list"]).await.unwrap();
    let described = grpcurl(&["describe", "runtime.v1.VersionResponse"])
        .await
        .unwrap();
    let called = grpcurl(&["-d", r#"{"version": "v1"}"#, "runtime.v1.RuntimeService/Version"])
        .await
        .unwrap();

    for service in [
        "runtime.v1.RuntimeService",
        "runtime.v1.ImageService",
        "coracle.admin.v1.Admin",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
    ] {
        assert!(
            services.lines().any(|line| line == service),
            "{service}: {services}"
        );
    }
    assert!(
        described.contains("string runtime_api_version = 4;"),
        "{described}"
    );
    let called: Value = serde_json::from_str(&called).unwrap();
    assert_eq!(called["runtimeName"], "coracle");
}

/// What a client of the version before the present one is told.
async fn told(question: Question) -> Answer {
    ours(REFLECTION);
    let mut client = ServerReflectionClient::new(shared().await.channel());
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(question),
    };
    let answers = client.server_reflection_info(tokio_stream::once(request)).await;
    let answer = answers.unwrap().into_inner().message().await.unwrap();
    answer.unwrap().message_response.unwrap()
}

async fn older_clients_are_told_the_same() {
    let list = told(Question::ListServices(String::new())).await;
    let file = told(Question::FileContainingSymbol("runtime.v1.Mount".to_owned())).await;

    let Answer::ListServicesResponse(list) = list else {
        panic!("{list:?}");
    };
    assert!(
        list.service
            .iter()
            .any(|service| service.name == "runtime.v1.ImageService")
    );
    let Answer::FileDescriptorResponse(files) = file else {
        panic!("{file:?}");
    };
    let file = prost_types::FileDescriptorProto::decode(files.file_descriptor_proto[0].as_slice()).unwrap();
    let mount = file.message_type.iter().find(|message| message.name() == "Mount");
    assert!(
        mount
            .unwrap()
            .field
            .iter()
            .any(|field| field.name() == "image_sub_path")
    );
}

async fn what_is_not_served_is_not_found() {
    let nothing = grpcurl(&["describe", "runtime.v1.NoSuchThing"])
        .await
        .unwrap_err();
    let uncalled = grpcurl(&["runtime.v1.RuntimeService/NoSuchCall"])
        .await
        .unwrap_err();

    assert!(nothing.contains("runtime.v1.NoSuchThing"), "{nothing}");
    assert!(uncalled.contains("NoSuchCall"), "{uncalled}");
    // The connection serves others as before.
    let request = v1::VersionRequest::default();
    shared().await.runtime().version(request).await.unwrap();
}
