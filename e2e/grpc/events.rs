//! Container events: their order and content, what becomes of subscribers, and what a new daemon tells of the time
//! without one.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use k8s_cri::v1;
use k8s_cri::v1::ContainerEventType as Kind;
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tonic::{Code, Streaming};

use crate::harness::daemon::Daemon;
use crate::harness::node::descriptors;
use crate::harness::pod::{Pod, host_network};
use crate::harness::{eventually, trials};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        a_pods_life_is_told_to_every_subscriber_in_order,
        a_failed_start_is_an_end,
        a_pods_status_has_its_containers_and_a_time,
        an_exit_without_a_daemon_is_told_afterwards,
        a_subscriber_that_reads_too_slowly_is_told_of_its_loss,
        subscribers_that_go_leave_nothing,
        streams_end_in_good_order_with_the_daemon,
        an_old_client_finds_no_events,
    ]
}

type Events = Streaming<v1::ContainerEventResponse>;

async fn subscribe(daemon: &Daemon) -> Events {
    let answer = daemon
        .runtime()
        .get_container_events(v1::GetEventsRequest {})
        .await
        .unwrap();
    answer.into_inner()
}

/// The next event of a pod; those of others on the same daemon are passed over.
async fn next(events: &mut Events, pod: &str) -> v1::ContainerEventResponse {
    loop {
        let event = events.message().await.unwrap().expect("the stream goes on");
        if event
            .pod_sandbox_status
            .as_ref()
            .is_some_and(|status| status.id == pod)
        {
            return event;
        }
    }
}

/// What an event is about, what happened, and the containers' states that came with it.
fn short(event: &v1::ContainerEventResponse) -> (String, Kind, Vec<v1::ContainerState>) {
    let states = event.containers_statuses.iter().map(|status| status.state());
    (
        event.container_id.clone(),
        event.container_event_type(),
        states.collect(),
    )
}

async fn a_pods_life_is_told_to_every_subscriber_in_order() {
    use v1::ContainerState::{ContainerCreated, ContainerExited, ContainerRunning};
    let daemon = Daemon::with_images("events").await;
    let (mut one, mut other) = (subscribe(&daemon).await, subscribe(&daemon).await);

    let pod = Pod::run(&daemon, "events").await;
    let container = pod.start("main", &["sh", "-c", "exit 7"]).await;
    container.exited().await;
    container.remove().await;
    pod.remove().await;

    let of = |kind, states: &[v1::ContainerState]| (container.id.clone(), kind, states.to_vec());
    let about_pod = |kind| (pod.id.clone(), kind, vec![]);
    let expected = [
        about_pod(Kind::ContainerCreatedEvent),
        about_pod(Kind::ContainerStartedEvent),
        of(Kind::ContainerCreatedEvent, &[ContainerCreated]),
        of(Kind::ContainerStartedEvent, &[ContainerRunning]),
        of(Kind::ContainerStoppedEvent, &[ContainerExited]),
        of(Kind::ContainerDeletedEvent, &[]),
        about_pod(Kind::ContainerStoppedEvent),
        about_pod(Kind::ContainerDeletedEvent),
    ];
    for events in [&mut one, &mut other] {
        let mut last = 0;
        for step in &expected {
            let event = next(events, &pod.id).await;
            assert_eq!(&short(&event), step);
            assert!(event.created_at >= last, "time runs backwards");
            last = event.created_at;
            if event.container_event_type() == Kind::ContainerStoppedEvent
                && event.container_id == container.id
            {
                let status = &event.containers_statuses[0];
                assert_eq!((status.exit_code, status.reason.as_str()), (7, "Error"));
                assert!(event.created_at >= status.finished_at && status.finished_at >= status.started_at);
                let uid = &pod.config.metadata.as_ref().unwrap().uid;
                assert_eq!(&event.pod_sandbox_status.unwrap().metadata.unwrap().uid, uid);
            }
        }
    }
}

async fn a_failed_start_is_an_end() {
    let daemon = Daemon::with_images("events-failed").await;
    let pod = Pod::run(&daemon, "events-failed").await;
    let container = pod.create("main", &["/no/such/command"]).await;
    let mut events = subscribe(&daemon).await;
    let request = v1::StartContainerRequest {
        container_id: container.id.clone(),
    };

    let started = daemon.runtime().start_container(request).await;

    assert!(started.is_err());
    let mut event = next(&mut events, &pod.id).await;
    while event.container_event_type() != Kind::ContainerStoppedEvent {
        assert_ne!(event.container_event_type(), Kind::ContainerDeletedEvent);
        event = next(&mut events, &pod.id).await;
    }
    let status = &event.containers_statuses[0];
    assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"));
}

async fn a_pods_status_has_its_containers_and_a_time() {
    let daemon = Daemon::with_images("events-status").await;
    let pod = Pod::run(&daemon, "events-status").await;
    let container = pod.idle("main").await;
    let ended = pod.start("ended", &["true"]).await;
    ended.exited().await;
    let ask = async || {
        let request = v1::PodSandboxStatusRequest {
            pod_sandbox_id: pod.id.clone(),
            verbose: false,
        };
        let answer = daemon.runtime().pod_sandbox_status(request).await;
        answer.unwrap().into_inner()
    };

    let (first, second) = (ask().await, ask().await);

    let mut expected = [container.status().await, ended.status().await];
    expected.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(first.containers_statuses, expected);
    assert!(first.timestamp > expected[0].created_at && second.timestamp > first.timestamp);
}

async fn an_exit_without_a_daemon_is_told_afterwards() {
    let daemon = Daemon::with_images("events-away").await;
    let pod = Pod::run(&daemon, "events-away").await;
    let container = pod.idle("main").await;
    let stays = pod.idle("stays").await;
    let (pid, id, stays, pod) = (
        container.pid().await,
        container.id.clone(),
        stays.id.clone(),
        pod.id.clone(),
    );

    let place = daemon.kill().await;
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    eventually("the container is gone", async || {
        (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    })
    .await;
    let daemon = Daemon::start(place).await;
    let mut events = subscribe(&daemon).await;

    let event = next(&mut events, &pod).await;
    assert_eq!(
        (event.container_id.as_str(), event.container_event_type()),
        (id.as_str(), Kind::ContainerStoppedEvent)
    );
    let state = |id: &str| {
        let mut statuses = event.containers_statuses.iter();
        statuses.find(|status| status.id == id).unwrap().clone()
    };
    assert_eq!(state(&id).exit_code, 137);
    assert_eq!(state(&stays).state(), v1::ContainerState::ContainerRunning);
}

/// Runs and removes pods, which makes four events each, of some kilobytes: they do not fit into the connection.
async fn churn(daemon: &Daemon, pods: usize) {
    let large = |config: &mut v1::PodSandboxConfig| {
        host_network(config);
        config.annotations.insert("note".into(), "long ".repeat(1000));
    };
    let mut work = FuturesUnordered::new();
    for _ in 0..pods {
        work.push(async move { Pod::run_with(daemon, "churn", large).await.remove().await });
        if work.len() == 16 {
            work.next().await;
        }
    }
    while work.next().await.is_some() {}
}

async fn a_subscriber_that_reads_too_slowly_is_told_of_its_loss() {
    let daemon = Daemon::with_images("events-slow").await;
    let mut slow = subscribe(&daemon).await;

    // More than the daemon keeps for it.
    churn(&daemon, 600).await;
    let mut read = 0;
    let loss = loop {
        match slow.message().await {
            Ok(Some(_)) if read == 2399 => panic!("nothing was lost"),
            Ok(Some(_)) => read += 1,
            Ok(None) => panic!("the stream ended as if nothing was lost"),
            Err(status) => break status,
        }
    };

    assert_eq!(loss.code(), Code::DataLoss, "{loss}");
    assert!(read > 0 && read < 2400, "{read} events came first");
    let mut again = subscribe(&daemon).await;
    let pod = Pod::run(&daemon, "events-slow").await;
    assert_eq!(
        next(&mut again, &pod.id).await.container_event_type(),
        Kind::ContainerCreatedEvent
    );
}

async fn subscribers_that_go_leave_nothing() {
    let daemon = Daemon::with_images("events-gone").await;
    let descriptors = || descriptors(daemon.pid());
    drop(subscribe(&daemon).await);
    let before = descriptors();

    let mut clients = vec![];
    for _ in 0..50 {
        let channel = coracle::cri::client::channel(&daemon.place.socket).await.unwrap();
        let mut client = v1::runtime_service_client::RuntimeServiceClient::new(channel);
        clients.push(
            client
                .get_container_events(v1::GetEventsRequest {})
                .await
                .unwrap(),
        );
    }
    assert!(descriptors() >= before + 50);
    drop(clients);

    eventually("the connections are closed", async || {
        (descriptors() <= before).then_some(())
    })
    .await;
    let pod = Pod::run(&daemon, "events-gone").await;
    pod.remove().await;
}

async fn streams_end_in_good_order_with_the_daemon() {
    let daemon = Daemon::with_images("events-end").await;
    let mut events = subscribe(&daemon).await;
    let pod = Pod::run(&daemon, "events-end").await;
    let id = pod.id.clone();

    let (_, status) = daemon.stop().await;

    assert!(status.success(), "{status}");
    assert_eq!(
        next(&mut events, &id).await.container_event_type(),
        Kind::ContainerCreatedEvent
    );
    assert_eq!(
        next(&mut events, &id).await.container_event_type(),
        Kind::ContainerStartedEvent
    );
    assert!(events.message().await.unwrap().is_none());
}

async fn an_old_client_finds_no_events() {
    use http::uri::PathAndQuery;
    let daemon = Daemon::with_images("events-old").await;
    let mut client = tonic::client::Grpc::new(daemon.channel());
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static("/runtime.v1alpha2.RuntimeService/GetContainerEvents");
    let codec = tonic_prost::ProstCodec::<(), ()>::default();

    let answer = client
        .server_streaming(tonic::Request::new(()), path, codec)
        .await;

    assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
}
