//! Connections that come in crowds, stop halfway, or never read.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;

use bytes::Bytes;
use coracle::cri::client;
use k8s_cri::v1;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use libtest_mimic::Trial;
use tonic::Code;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;

use super::Raw;
use crate::harness::daemon::{Daemon, Place, refused};
use crate::harness::pod::{Pod, security};
use crate::harness::{eventually, trials};

pub(super) fn tests() -> Vec<Trial> {
    trials![
        a_crowd_of_connections_is_served_and_forgotten,
        streams_that_are_left_or_not_read_cost_nothing_for_long,
        a_hundred_thousand_variables_are_taken_or_refused_at_once,
        the_socket_is_closed_to_all_but_its_owner_and_group,
    ]
}

fn open_files(daemon: &Daemon) -> usize {
    fs::read_dir(format!("/proc/{}/fd", daemon.pid()))
        .unwrap()
        .count()
}

fn resident(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

async fn answers(daemon: &Daemon) {
    let fresh = client::channel(&daemon.place.socket).await.unwrap();
    let mut runtime = RuntimeServiceClient::new(fresh);
    runtime.version(v1::VersionRequest::default()).await.unwrap();
}

async fn forgotten(daemon: &Daemon, before: usize) {
    eventually("the daemon has closed its ends", async || {
        (open_files(daemon) <= before + 4).then_some(())
    })
    .await;
}

async fn a_crowd_of_connections_is_served_and_forgotten() {
    let daemon = Daemon::start(Place::new("crowd")).await;
    answers(&daemon).await;
    let (files, memory) = (open_files(&daemon), resident(&daemon));

    let crowd: Vec<UnixStream> = (0..1000)
        .map(|number| {
            let mut stream = UnixStream::connect(&daemon.place.socket).unwrap();
            // Some say nothing, some stop in the preface, some talk nonsense.
            let said: &[u8] = [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM", b"GET / HTTP/1.1\r\n\r\n"][number % 3];
            // A daemon that has closed at once is as good as one that waits.
            let _gone = stream.write_all(said);
            stream
        })
        .collect();
    answers(&daemon).await;
    let grown = resident(&daemon).saturating_sub(memory);
    drop(crowd);

    assert!(grown < 128 << 20, "{grown} bytes for a thousand connections");
    forgotten(&daemon, files).await;
    answers(&daemon).await;
}

async fn streams_that_are_left_or_not_read_cost_nothing_for_long() {
    let daemon = Daemon::with_images("abandoned").await;
    let pod = Pod::run(&daemon, "abandoned").await;
    let container = pod.idle("main").await;
    answers(&daemon).await;
    let (files, memory) = (open_files(&daemon), resident(&daemon));

    let events = async |channel| {
        let mut client = Grpc::new(channel);
        client.ready().await.unwrap();
        let path = PathAndQuery::from_static("/runtime.v1.RuntimeService/GetContainerEvents");
        client
            .server_streaming(tonic::Request::new(Bytes::new()), path, Raw)
            .await
    };
    let mut unread = Vec::new();
    for number in 0..100 {
        let fresh = client::channel(&daemon.place.socket).await.unwrap();
        let stream = events(fresh).await;
        // Every other one is left at once, the rest are kept and never read.
        if number % 2 == 0 {
            unread.push(stream);
        }
    }
    for number in 0..20 {
        pod.start(&format!("c{number}"), &["true"]).await.exited().await;
    }
    // Calls that their clients give up while they run.
    for _ in 0..20 {
        let mut runtime = daemon.runtime();
        let request = container.exec_request(&["sleep", "1000"], 0);
        let call = tokio::spawn(async move { runtime.exec_sync(request).await });
        tokio::task::yield_now().await;
        call.abort();
    }
    let grown = resident(&daemon).saturating_sub(memory);
    drop(unread);

    assert!(grown < 128 << 20, "{grown} bytes");
    forgotten(&daemon, files).await;
    eventually("the commands that nobody waits for are gone", async || {
        let left = container.sh("ps | grep -c '[s]leep 1000' || true").await;
        (left.trim() == "0").then_some(())
    })
    .await;
    answers(&daemon).await;
    pod.remove().await;
}

async fn a_hundred_thousand_variables_are_taken_or_refused_at_once() {
    let daemon = Daemon::with_images("variables").await;
    let pod = Pod::run(&daemon, "variables").await;
    let container = pod
        .create_with("many", &["true"], |config| {
            config.envs = (0..100_000)
                .map(|n| v1::KeyValue {
                    key: format!("VARIABLE_{n}"),
                    value: "x".repeat(40),
                })
                .collect();
        })
        .await;
    let request = v1::StartContainerRequest {
        container_id: container.id.clone(),
    };

    // More than execve takes: the kernel says so, and so do we.
    let status = refused(daemon.runtime().start_container(request)).await;

    assert_eq!(status.code(), Code::Internal, "{status}");
    assert!(status.message().contains("too long"), "{status}");
    let groups = pod
        .start_with("groups", &["sh", "-c", "id -G | wc -w"], |config| {
            security(config).supplemental_groups = (1000..11_000).collect();
        })
        .await;
    groups.exited().await;
    assert_eq!(groups.output().trim(), "10001");
    pod.remove().await;
}

async fn the_socket_is_closed_to_all_but_its_owner_and_group() {
    use std::os::unix::fs::MetadataExt;

    let facts = |place: &Place| {
        let socket = fs::metadata(&place.socket).unwrap();
        (socket.mode() & 0o777, socket.uid(), socket.gid())
    };
    let place = Place::new("socket");
    let daemon = Daemon::start(place).await;
    assert_eq!(facts(&daemon.place), (0o600, 0, 0));

    let (place, _) = daemon.stop().await;
    place.set("socket_group = \"4242\"\n");
    let daemon = Daemon::start(place).await;
    assert_eq!(facts(&daemon.place), (0o660, 0, 4242));
}
