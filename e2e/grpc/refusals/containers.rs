//! Tables of the calls about containers that exist, or do not.

use k8s_cri::v1;
use libtest_mimic::Trial;
use tonic::Code;

use super::{Table, at_rest, empty, shared_beginning};
use crate::harness::container::Made;
use crate::harness::daemon::Daemon;
use crate::harness::pod::Pod;
use crate::harness::trials;

pub(super) fn tests() -> Vec<Trial> {
    trials![start, stop, remove, status, list, stats, list_stats]
}

pub(super) const INVALID: Code = Code::InvalidArgument;
pub(super) const UNKNOWN: &str = "no-such-container";

/// A pod with a container in each state, and so many that two ids begin alike.
pub(super) struct Scene<'a> {
    pub(super) running: Made<'a>,
    pub(super) created: Made<'a>,
    pub(super) exited: Made<'a>,
    pub(super) beginning: String,
}

pub(super) async fn scene<'a>(daemon: &'a Daemon) -> Scene<'a> {
    let pod = Pod::run(daemon, "scene").await;
    let exited = pod.start("exited", &["true"]).await;
    exited.exited().await;
    at_rest(daemon).await;
    let running = pod.idle("running").await;
    let beginning =
        shared_beginning(async |number| pod.create(&format!("twin-{number}"), &["true"]).await.id).await;
    Scene {
        running,
        created: pod.create("created", &["sleep", "9"]).await,
        exited,
        beginning,
    }
}

async fn start() {
    let daemon = empty().await;
    let scene = scene(&daemon).await;
    let call = async |id: &str| {
        let container_id = id.to_owned();
        daemon
            .runtime()
            .start_container(v1::StartContainerRequest { container_id })
            .await
    };
    let mut table = Table::new(&daemon).await;

    table.refused("no id", INVALID, "container_id", call("")).await;
    table
        .refused("an unknown id", Code::NotFound, UNKNOWN, call(UNKNOWN))
        .await;
    table
        .refused("a path", Code::NotFound, "../..", call("../.."))
        .await;
    table
        .refused(
            "the beginning of two ids",
            INVALID,
            "container_id",
            call(&scene.beginning),
        )
        .await;
    table
        .refused(
            "a running one",
            Code::FailedPrecondition,
            &scene.running.id,
            call(&scene.running.id),
        )
        .await;
    table
        .refused(
            "an ended one",
            Code::FailedPrecondition,
            &scene.exited.id,
            call(&scene.exited.id),
        )
        .await;

    table.finish();
}

async fn stop() {
    let daemon = empty().await;
    let scene = scene(&daemon).await;
    let call = async |id: &str, timeout: i64| {
        let container_id = id.to_owned();
        daemon
            .runtime()
            .stop_container(v1::StopContainerRequest {
                container_id,
                timeout,
            })
            .await
    };
    let mut table = Table::new(&daemon).await;

    table.refused("no id", INVALID, "container_id", call("", 0)).await;
    table
        .refused("a negative time", INVALID, "timeout", call(&scene.running.id, -1))
        .await;
    table
        .refused(
            "the beginning of two ids",
            INVALID,
            "container_id",
            call(&scene.beginning, 0),
        )
        .await;
    table.accepted("an unknown id", call(UNKNOWN, 0)).await;
    table.accepted("a path", call("../..", 0)).await;
    table.accepted("an ended one", call(&scene.exited.id, 0)).await;

    table.finish();
}

async fn remove() {
    let daemon = empty().await;
    let scene = scene(&daemon).await;
    let call = async |id: &str| {
        let container_id = id.to_owned();
        daemon
            .runtime()
            .remove_container(v1::RemoveContainerRequest { container_id })
            .await
    };
    scene.created.remove().await;
    let mut table = Table::new(&daemon).await;

    table.refused("no id", INVALID, "container_id", call("")).await;
    table
        .refused(
            "the beginning of two ids",
            INVALID,
            "container_id",
            call(&scene.beginning),
        )
        .await;
    table.accepted("an unknown id", call(UNKNOWN)).await;
    table.accepted("a path", call("../..")).await;
    table.accepted("a removed one", call(&scene.created.id)).await;

    table.finish();
}

async fn status() {
    let daemon = empty().await;
    let scene = scene(&daemon).await;
    let call = async |id: &str| {
        let container_id = id.to_owned();
        let request = v1::ContainerStatusRequest {
            container_id,
            verbose: true,
        };
        daemon.runtime().container_status(request).await
    };
    scene.created.remove().await;
    let mut table = Table::new(&daemon).await;

    table.refused("no id", INVALID, "container_id", call("")).await;
    table
        .refused("an unknown id", Code::NotFound, UNKNOWN, call(UNKNOWN))
        .await;
    table
        .refused("a path", Code::NotFound, "../..", call("../.."))
        .await;
    table
        .refused(
            "the beginning of two ids",
            INVALID,
            "container_id",
            call(&scene.beginning),
        )
        .await;
    table
        .refused(
            "a removed one",
            Code::NotFound,
            &scene.created.id,
            call(&scene.created.id),
        )
        .await;

    table.finish();
}

async fn list() {
    let daemon = empty().await;
    let scene = scene(&daemon).await;
    let call = async |filter: v1::ContainerFilter| {
        let request = v1::ListContainersRequest { filter: Some(filter) };
        daemon.runtime().list_containers(request).await
    };
    let by_state = |state| v1::ContainerFilter {
        state: Some(v1::ContainerStateValue { state }),
        ..Default::default()
    };
    let by_ids = |id: &str, pod: &str| v1::ContainerFilter {
        id: id.to_owned(),
        pod_sandbox_id: pod.to_owned(),
        ..Default::default()
    };
    let by_label = v1::ContainerFilter {
        label_selector: [("no-such".to_owned(), "label".to_owned())].into(),
        ..Default::default()
    };
    let mut table = Table::new(&daemon).await;

    table
        .refused("an unknown state", INVALID, "filter.state", call(by_state(9)))
        .await;
    table
        .refused("a negative state", INVALID, "filter.state", call(by_state(-1)))
        .await;
    for (row, filter) in [
        ("an unknown id", by_ids(UNKNOWN, "")),
        ("an unknown pod", by_ids("", "no-such-pod")),
        ("the beginning of two ids", by_ids(&scene.beginning, "")),
        ("a pod's path", by_ids("", "../..")),
        ("an unknown label", by_label),
    ] {
        let answer = table.accepted(row, call(filter)).await.unwrap();
        assert_eq!(answer.containers, [], "{row}");
    }

    table.finish();
}

async fn stats() {
    let daemon = empty().await;
    let scene = scene(&daemon).await;
    let call = async |id: &str| {
        let container_id = id.to_owned();
        daemon
            .runtime()
            .container_stats(v1::ContainerStatsRequest { container_id })
            .await
    };
    scene.created.remove().await;
    let mut table = Table::new(&daemon).await;

    table.refused("no id", INVALID, "container_id", call("")).await;
    table
        .refused("an unknown id", Code::NotFound, UNKNOWN, call(UNKNOWN))
        .await;
    table
        .refused("a path", Code::NotFound, "../..", call("../.."))
        .await;
    table
        .refused(
            "the beginning of two ids",
            INVALID,
            "container_id",
            call(&scene.beginning),
        )
        .await;
    table
        .refused(
            "a removed one",
            Code::NotFound,
            &scene.created.id,
            call(&scene.created.id),
        )
        .await;

    table.finish();
}

async fn list_stats() {
    let daemon = empty().await;
    let scene = scene(&daemon).await;
    let call = async |id: &str, pod: &str, label: Option<&str>| {
        let filter = v1::ContainerStatsFilter {
            id: id.to_owned(),
            pod_sandbox_id: pod.to_owned(),
            label_selector: label
                .map(|key| (key.to_owned(), String::new()))
                .into_iter()
                .collect(),
        };
        let request = v1::ListContainerStatsRequest { filter: Some(filter) };
        daemon.runtime().list_container_stats(request).await
    };
    let mut table = Table::new(&daemon).await;

    for (row, id, pod, label) in [
        ("an unknown id", UNKNOWN, "", None),
        ("an unknown pod", "", "no-such-pod", None),
        ("the beginning of two ids", scene.beginning.as_str(), "", None),
        ("an unknown label", "", "", Some("no-such")),
        ("an ended one", scene.exited.id.as_str(), "", None),
    ] {
        let answer = table.accepted(row, call(id, pod, label)).await.unwrap();
        assert_eq!(answer.stats, [], "{row}");
    }

    table.finish();
}
