//! Ten thousand pods and containers when the daemon starts: all are known as soon as it answers.

use std::fs;
use std::path::Path;
use std::time::Instant;

use coracle::state::{Record, Store};
use futures_util::future::join_all;
use k8s_cri::v1;
use libtest_mimic::Trial;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::harness::container::Made;
use crate::harness::daemon::{Daemon, Place};
use crate::harness::pod::Pod;
use crate::harness::trials;

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        ten_thousand_ended_containers_are_known_after_a_restart,
        ten_thousand_running_containers_are_known_as_ended_after_a_reboot,
    ]
}

const MANY: usize = 10_000;

/// A container's record as it is on disk.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
struct Container(Value);

impl Record for Container {
    const TABLE: &'static str = "containers";
}

/// A pod's record as it is on disk.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
struct Sandbox(Value);

impl Record for Sandbox {
    const TABLE: &'static str = "sandboxes-v1";
}

/// What is copied with a record.
#[derive(Clone, Copy, PartialEq)]
enum Copies {
    /// All that the model has left on disk.
    Everything,
    /// What a reboot does not take.
    AfterReboot,
}

/// Copies a pod and its container [`MANY`] times: records, and what lies on disk. No daemon runs.
async fn copy(place: &Place, (pod, container): (&str, &str), copies: Copies) {
    let store = Store::open(&place.state.join("state.redb")).unwrap();
    let containers = store.load::<Container>().unwrap();
    let sandboxes = store.load::<Sandbox>().unwrap();
    let model = |id: &str, records: Vec<(String, Value)>| {
        let found = records.into_iter().find(|(key, _)| key == id);
        found.unwrap().1.to_string()
    };
    let of_container = model(
        container,
        containers
            .into_iter()
            .map(|(id, record)| (id, record.0))
            .collect(),
    );
    let of_pod = model(
        pod,
        sandboxes.into_iter().map(|(id, record)| (id, record.0)).collect(),
    );
    let (store, of_container, of_pod) = (&store, &of_container, &of_pod);
    let written = (0..MANY).map(|n| async move {
        let (pod_id, id) = (format!("{n:064x}"), format!("{:064x}", MANY + n));
        let mut record: Value = serde_json::from_str(&of_pod.replace(pod, &pod_id)).unwrap();
        record["config"]["key"]["uid"] = json!(format!("copy-{n}"));
        store.put(&pod_id, &Sandbox(record)).await.unwrap();
        let text = of_container.replace(container, &id).replace(pod, &pod_id);
        let record = serde_json::from_str(&text).unwrap();
        store.put(&id, &Container(record)).await.unwrap();
    });
    join_all(written).await;
    store.close().await;

    for n in 0..MANY {
        let (pod_id, id) = (format!("{n:064x}"), format!("{:064x}", MANY + n));
        copy_tree(&place.state.join("images/c"), container, &id);
        if copies == Copies::Everything {
            copy_tree(&place.run.join("containers"), container, &id);
            copy_tree(&place.run.join("sandboxes"), pod, &pod_id);
        }
    }
}

fn copy_tree(directory: &Path, from: &str, to: &str) {
    let (from, to) = (directory.join(from), directory.join(to));
    let kind = fs::symlink_metadata(&from).map(|meta| meta.file_type());
    if kind.as_ref().is_ok_and(fs::FileType::is_dir) {
        fs::create_dir(&to).unwrap();
        for entry in fs::read_dir(&from).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            let below = entry.path();
            if entry.file_type().unwrap().is_dir() {
                fs::create_dir(to.join(&name)).unwrap();
            } else if entry.file_type().unwrap().is_file() {
                fs::copy(below, to.join(&name)).unwrap();
            }
        }
    }
}

/// Starts the daemon, and tells how long that took.
async fn start(place: Place) -> Daemon {
    let began = Instant::now();
    let daemon = Daemon::start(place).await;
    eprintln!("a daemon with {MANY} pods answers after {:?}", began.elapsed());
    daemon
}

/// Asserts that all are listed: so many containers in each state, all pods but one not ready.
async fn listed(daemon: &Daemon, states: &[(v1::ContainerState, usize)]) {
    let mut runtime = daemon.runtime();
    let list = runtime
        .list_containers(v1::ListContainersRequest::default())
        .await;
    let containers = list.unwrap().into_inner().containers;
    for (state, count) in states {
        let found = containers.iter().filter(|container| container.state() == *state);
        assert_eq!(found.count(), *count, "{state:?}");
    }
    let list = runtime
        .list_pod_sandbox(v1::ListPodSandboxRequest::default())
        .await;
    let pods = list.unwrap().into_inner().items;
    let ready = pods
        .iter()
        .filter(|pod| pod.state() == v1::PodSandboxState::SandboxReady);
    assert_eq!((pods.len(), ready.count()), (MANY + 2, 1));
}

async fn ten_thousand_ended_containers_are_known_after_a_restart() {
    let daemon = Daemon::with_images("many-ended").await;
    let live = Pod::run(&daemon, "live").await;
    let running = live.idle("main").await;
    let (running, log) = (running.id.clone(), running.log.clone());
    let pod = Pod::run(&daemon, "model").await;
    let model = pod.start("main", &["sh", "-c", "exit 3"]).await;
    model.exited().await;
    pod.stop().await;
    let (pod, model) = (pod.id.clone(), model.id.clone());
    let (place, status) = daemon.stop().await;
    assert!(status.success());
    copy(&place, (&pod, &model), Copies::Everything).await;

    let daemon = start(place).await;

    let states = [
        (v1::ContainerState::ContainerExited, MANY + 1),
        (v1::ContainerState::ContainerRunning, 1),
    ];
    listed(&daemon, &states).await;
    let last = format!("{:064x}", 2 * MANY - 1);
    assert_eq!(Made::adopted(&daemon, &last, &log).status().await.exit_code, 3);
    assert_eq!(Made::adopted(&daemon, &running, &log).sh("echo on").await, "on\n");
    daemon.check().await;
}

async fn ten_thousand_running_containers_are_known_as_ended_after_a_reboot() {
    let daemon = Daemon::with_images("many-running").await;
    Pod::run(&daemon, "live").await;
    let pod = Pod::run(&daemon, "model").await;
    let model = pod.idle("main").await;
    let (pod, model) = (pod.id.clone(), (model.id.clone(), model.log.clone()));
    let place = daemon.kill().await;
    copy(&place, (&pod, &model.0), Copies::AfterReboot).await;

    let daemon = start(place).await;

    Made::adopted(&daemon, &model.0, &model.1).stop(0).await;
    let stop = v1::StopPodSandboxRequest { pod_sandbox_id: pod };
    daemon.runtime().stop_pod_sandbox(stop).await.unwrap();
    let states = [(v1::ContainerState::ContainerExited, MANY + 1)];
    listed(&daemon, &states).await;
    let last = Made::adopted(&daemon, &format!("{:064x}", 2 * MANY - 1), &model.1);
    assert_eq!(last.status().await.reason, "NodeRestarted");
    daemon.check().await;
}
