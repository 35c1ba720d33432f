//! The server over a real socket, with clients of our own wire and of `k8s_cri`.

mod authority;
mod deadline;
mod fake;
mod log;

use std::{path::PathBuf, sync::Arc, time::Duration};

use k8s_cri::v1alpha2;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use fake::Fake;

use crate::cri::{
    client,
    server::{ServeError, Services, bind, serve},
    wire::{
        MAX_MESSAGE_BYTES,
        v1::{
            ExecSyncRequest, GetEventsRequest, StartContainerRequest, StatusRequest, VersionRequest,
            runtime_service_client::RuntimeServiceClient,
        },
    },
};

const LONG: Duration = Duration::from_secs(3600);
const MIB: usize = 1024 * 1024;

/// A server with the fake behind it.
struct Running {
    path: PathBuf,
    fake: Arc<Fake>,
    stop: CancellationToken,
    task: JoinSet<Result<(), ServeError>>,
    _home: TempDir,
}

impl Running {
    fn start(drain: Duration) -> Self {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("api.sock");
        let listener = bind(&path, None).unwrap();
        let fake = Arc::new(Fake::new());
        let services = Services::new(fake.clone(), fake.clone());
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(serve(listener, services, drain, stop.clone().cancelled_owned()));
        Self {
            path,
            fake,
            stop,
            task,
            _home: home,
        }
    }

    async fn channel(&self) -> Channel {
        client::channel(&self.path).await.unwrap()
    }

    async fn v1(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel().await).max_decoding_message_size(usize::MAX)
    }

    async fn v1alpha2(&self) -> v1alpha2::runtime_service_client::RuntimeServiceClient<Channel> {
        let channel = self.channel().await;
        v1alpha2::runtime_service_client::RuntimeServiceClient::new(channel)
            .max_decoding_message_size(usize::MAX)
    }

    async fn ended(mut self) {
        self.task.join_next().await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn version_answers_in_the_version_it_was_asked_in() {
    let server = Running::start(LONG);

    let new = server
        .v1()
        .await
        .version(VersionRequest {
            version: "0.1.0".into(),
        })
        .await
        .unwrap()
        .into_inner();
    let request = v1alpha2::VersionRequest {
        version: "0.1.0".into(),
    };
    let old = server
        .v1alpha2()
        .await
        .version(request)
        .await
        .unwrap()
        .into_inner();

    assert_eq!(
        (new.version.as_str(), new.runtime_api_version.as_str()),
        ("0.1.0", "v1")
    );
    assert_eq!(
        (old.version.as_str(), old.runtime_api_version.as_str()),
        ("0.1.0", "v1alpha2")
    );
    assert_eq!(
        (new.runtime_name, new.runtime_version),
        (old.runtime_name, old.runtime_version)
    );
}

#[tokio::test]
async fn a_k8s_cri_v1_client_is_answered() {
    let server = Running::start(LONG);
    let mut client = k8s_cri::v1::runtime_service_client::RuntimeServiceClient::new(server.channel().await);

    let answer = client
        .version(k8s_cri::v1::VersionRequest {
            version: "0.1.0".into(),
        })
        .await
        .unwrap();

    assert_eq!(answer.into_inner().runtime_name, "fake");
}

#[tokio::test]
async fn a_call_that_is_not_there_is_unimplemented_in_either_version() {
    let server = Running::start(LONG);
    let rows = [
        "/runtime.v1.RuntimeService/NoSuchCall",
        "/runtime.v1alpha2.RuntimeService/NoSuchCall",
        "/runtime.v1alpha2.ImageService/NoSuchCall",
        "/runtime.v2.RuntimeService/Version",
    ];
    for path in rows {
        let mut client = tonic::client::Grpc::new(server.channel().await);
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<StatusRequest, StatusRequest>::default();

        let error = client
            .unary(
                tonic::Request::new(StatusRequest::default()),
                path.parse().unwrap(),
                codec,
            )
            .await;

        assert_eq!(error.unwrap_err().code(), Code::Unimplemented, "{path}");
    }
}

#[tokio::test]
async fn health_knows_the_server_and_both_services() {
    let server = Running::start(LONG);
    let mut health = HealthClient::new(server.channel().await);
    let rows = [
        ("", Ok(ServingStatus::Serving)),
        ("runtime.v1.RuntimeService", Ok(ServingStatus::Serving)),
        ("runtime.v1.ImageService", Ok(ServingStatus::Serving)),
        ("runtime.v1.NoSuchService", Err(Code::NotFound)),
    ];
    for (name, expected) in rows {
        let answer = health.check(HealthCheckRequest { service: name.into() }).await;

        assert_eq!(
            answer.map(|it| it.into_inner().status()).map_err(|it| it.code()),
            expected,
            "{name:?}"
        );
    }
}

/// Sends a command of `sent` bytes, asks for as many `back`, in both versions of the API.
async fn exec(server: &Running, sent: usize, back: usize) -> [Result<(i32, usize), Status>; 2] {
    let (cmd, timeout) = (vec!["x".repeat(sent)], i64::try_from(back).unwrap());
    let old = v1alpha2::ExecSyncRequest {
        container_id: String::new(),
        cmd: cmd.clone(),
        timeout,
    };
    let new = ExecSyncRequest {
        container_id: String::new(),
        cmd,
        timeout,
    };
    let new = server
        .v1()
        .await
        .exec_sync(new)
        .await
        .map(tonic::Response::into_inner);
    let old = server
        .v1alpha2()
        .await
        .exec_sync(old)
        .await
        .map(tonic::Response::into_inner);
    [
        new.map(|it| (it.exit_code, it.stdout.len())),
        old.map(|it| (it.exit_code, it.stdout.len())),
    ]
}

#[tokio::test]
async fn messages_of_15_mib_pass_in_both_directions() {
    let server = Running::start(LONG);

    for answer in exec(&server, 15 * MIB, 15 * MIB).await {
        assert_eq!(answer.unwrap(), (15 * 1024 * 1024, 15 * MIB));
    }
}

#[tokio::test]
async fn messages_over_16_mib_are_refused_in_both_directions() {
    let server = Running::start(LONG);

    for (sent, back) in [(MAX_MESSAGE_BYTES + 1, 1), (1, MAX_MESSAGE_BYTES + 1)] {
        for answer in exec(&server, sent, back).await {
            assert_eq!(
                answer.unwrap_err().code(),
                Code::OutOfRange,
                "sent {sent}, back {back}"
            );
        }
    }
}

#[tokio::test]
async fn a_call_under_way_finishes_after_the_shutdown_began() {
    let server = Running::start(LONG);
    let (mut client, fake) = (server.v1().await, server.fake.clone());
    let mut health = HealthClient::new(server.channel().await);
    let mut watch = health
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        watch.message().await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );
    let mut call = JoinSet::new();
    call.spawn(async move { client.start_container(StartContainerRequest::default()).await });
    fake.started.acquire().await.unwrap().forget();

    server.stop.cancel();
    assert_eq!(
        watch.message().await.unwrap().unwrap().status(),
        ServingStatus::NotServing
    );
    drop(watch);
    fake.gate.add_permits(1);

    call.join_next().await.unwrap().unwrap().unwrap();
    server.ended().await;
}

#[tokio::test]
async fn calls_that_outlast_the_drain_are_cut() {
    let server = Running::start(Duration::ZERO);
    let (mut client, fake) = (server.v1().await, server.fake.clone());
    let mut events = server
        .v1()
        .await
        .get_container_events(GetEventsRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(events.message().await.unwrap().unwrap().container_id, "c1");
    let mut call = JoinSet::new();
    call.spawn(async move { client.start_container(StartContainerRequest::default()).await });
    fake.started.acquire().await.unwrap().forget();

    server.stop.cancel();
    server.ended().await;

    call.join_next().await.unwrap().unwrap().unwrap_err();
    events.message().await.unwrap_err();
}

#[tokio::test]
async fn a_client_of_a_socket_nobody_serves_is_told_which() {
    let home = tempfile::tempdir().unwrap();

    let error = client::channel(&home.path().join("none.sock")).await.unwrap_err();

    assert!(error.to_string().contains("none.sock"), "{error}");
}
