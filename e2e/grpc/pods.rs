//! The life of a pod: run, list, status, stop, remove, and each of them again.

use k8s_cri::v1;
use libtest_mimic::Trial;
use tonic::Code;

use crate::harness::daemon::{refused, shared};
use crate::harness::pod::{self, Pod};
use crate::harness::{eventually, trials};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        a_pod_that_runs_is_ready,
        running_a_pod_again_gives_the_same_pod,
        a_pod_that_is_stopped_is_listed_until_it_is_removed,
        a_container_that_was_never_started_ends_with_its_pod,
        stopping_and_removing_a_pod_may_be_repeated,
        filters_are_all_to_be_met,
        a_pod_is_found_by_the_beginning_of_its_id,
    ]
}

async fn list(filter: v1::PodSandboxFilter) -> Vec<v1::PodSandbox> {
    let request = v1::ListPodSandboxRequest { filter: Some(filter) };
    let answer = shared().await.runtime().list_pod_sandbox(request).await.unwrap();
    answer.into_inner().items
}

fn by_id(id: &str) -> v1::PodSandboxFilter {
    v1::PodSandboxFilter {
        id: id.to_owned(),
        ..Default::default()
    }
}

async fn a_pod_that_runs_is_ready() {
    let pod = Pod::run_with(shared().await, "ready", |config| {
        config
            .annotations
            .insert("note".into(), "kept as it is, ünïcode too".into());
    })
    .await;

    let status = pod.status().await;

    assert_eq!(status.id, pod.id);
    assert_eq!(status.state(), v1::PodSandboxState::SandboxReady);
    assert_eq!(status.metadata, pod.config.metadata);
    assert_eq!(status.labels, pod.config.labels);
    assert_eq!(status.annotations, pod.config.annotations);
    assert!(status.created_at > 0);
    let listed = list(by_id(&pod.id)).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].metadata, pod.config.metadata);
    assert_eq!(listed[0].created_at, status.created_at);
    pod.remove().await;
}

async fn running_a_pod_again_gives_the_same_pod() {
    let daemon = shared().await;
    let config = pod::config(daemon, "again");

    let (first, beside) = tokio::join!(
        Pod::run_config(daemon, config.clone()),
        Pod::run_config(daemon, config.clone())
    );
    let later = Pod::run_config(daemon, config.clone()).await;
    let mut next = config.clone();
    next.metadata.as_mut().unwrap().attempt = 1;
    let next = Pod::run_config(daemon, next).await;

    assert_eq!(first.id, beside.id);
    assert_eq!(first.id, later.id);
    assert_ne!(first.id, next.id);
    first.remove().await;
    next.remove().await;
}

async fn a_pod_that_is_stopped_is_listed_until_it_is_removed() {
    let pod = Pod::run_with(shared().await, "stopped", |_| {}).await;
    let container = pod.idle("main").await;

    pod.stop().await;

    assert_eq!(pod.status().await.state(), v1::PodSandboxState::SandboxNotready);
    assert_eq!(
        container.status().await.state(),
        v1::ContainerState::ContainerExited
    );
    let listed = list(by_id(&pod.id)).await;
    assert_eq!(listed[0].state(), v1::PodSandboxState::SandboxNotready);

    pod.remove().await;

    assert_eq!(list(by_id(&pod.id)).await, []);
    let request = v1::PodSandboxStatusRequest {
        pod_sandbox_id: pod.id.clone(),
        verbose: false,
    };
    let status = refused(shared().await.runtime().pod_sandbox_status(request)).await;
    assert_eq!(status.code(), Code::NotFound);
    let request = v1::ContainerStatusRequest {
        container_id: container.id.clone(),
        verbose: false,
    };
    let status = refused(shared().await.runtime().container_status(request)).await;
    assert_eq!(status.code(), Code::NotFound);
}

/// "Stops any running process that is part of the sandbox": the first process of a container waits for its start.
async fn a_container_that_was_never_started_ends_with_its_pod() {
    let pod = Pod::run_with(shared().await, "unstarted", |_| {}).await;
    let container = pod.create("main", &["sleep", "infinity"]).await;
    let processes = [container.monitor().await, container.pid().await].map(|it| format!("/proc/{it}/ns"));

    pod.stop().await;

    let status = container.exited().await;
    assert_eq!((status.exit_code, status.started_at), (137, 0), "{status:?}");
    assert!(status.finished_at >= status.created_at, "{status:?}");
    eventually("neither it nor its monitor is left", async || {
        processes
            .iter()
            .all(|it| std::fs::read_dir(it).is_err())
            .then_some(())
    })
    .await;
    let start = v1::StartContainerRequest {
        container_id: container.id.clone(),
    };
    let refusal = refused(shared().await.runtime().start_container(start)).await;
    assert_eq!(refusal.code(), Code::FailedPrecondition, "{refusal}");
    pod.remove().await;
}

async fn stopping_and_removing_a_pod_may_be_repeated() {
    let pod = Pod::run_with(shared().await, "repeated", |_| {}).await;

    tokio::join!(pod.stop(), pod.stop());
    pod.stop().await;
    tokio::join!(pod.remove(), pod.remove());
    pod.remove().await;

    assert_eq!(list(by_id(&pod.id)).await, []);
}

async fn filters_are_all_to_be_met() {
    let pod = Pod::run(shared().await, "filtered").await;
    let state = |state: v1::PodSandboxState| Some(v1::PodSandboxStateValue { state: state.into() });
    let ready = v1::PodSandboxState::SandboxReady;
    let labels = pod.config.labels.clone();
    let other = [("test".to_owned(), "of another".to_owned())].into();
    let check = async |id: &str, wanted, labels, expected: usize| {
        let filter = v1::PodSandboxFilter {
            id: id.to_owned(),
            state: state(wanted),
            label_selector: labels,
        };
        assert_eq!(list(filter.clone()).await.len(), expected, "{filter:?}");
    };

    check(&pod.id, ready, labels.clone(), 1).await;
    check("", ready, labels.clone(), 1).await;
    check(&pod.id, v1::PodSandboxState::SandboxNotready, labels.clone(), 0).await;
    check(&pod.id, ready, other, 0).await;
    check("no-such-id", ready, labels, 0).await;
    pod.remove().await;
}

async fn a_pod_is_found_by_the_beginning_of_its_id() {
    let pod = Pod::run(shared().await, "prefix").await;
    let beginning = pod.id[..12].to_owned();

    let listed = list(by_id(&beginning)).await;
    let request = v1::PodSandboxStatusRequest {
        pod_sandbox_id: beginning,
        verbose: false,
    };
    let status = shared()
        .await
        .runtime()
        .pod_sandbox_status(request)
        .await
        .unwrap();

    assert_eq!(listed[0].id, pod.id);
    assert_eq!(status.into_inner().status.unwrap().id, pod.id);
    pod.remove().await;
}
