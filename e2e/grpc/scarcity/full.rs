//! Disks without room or inodes: calls that need some say so and leave nothing behind, ends and removals go on.

use std::future::Future;

use k8s_cri::v1;
use libtest_mimic::Trial;
use tonic::{Code, Response, Status};

use super::disk::Disk;
use crate::harness::container::Made;
use crate::harness::daemon::{Daemon, Place, refused};
use crate::harness::pod::{Pod, config, host_network};
use crate::harness::{eventually, trials};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        pods_live_on_a_state_disk_with_ever_less_room,
        pods_live_on_a_state_disk_with_ever_fewer_inodes,
        pods_live_on_a_runtime_disk_with_ever_less_room,
        a_full_store_says_so_and_comes_back,
    ]
}

/// A place whose state lies on a small disk.
fn on_small_disk(purpose: &str, options: &str) -> (Place, Disk) {
    let place = Place::new(purpose);
    let disk = Disk::ext4(&place.state, "32M", options);
    (place, disk)
}

/// Awaits a call that may fail for want of something, and for nothing else.
async fn scarce<T>(what: &str, call: impl Future<Output = Result<Response<T>, Status>>) -> Option<T> {
    match call.await {
        Ok(answer) => Some(answer.into_inner()),
        Err(status) => {
            assert_eq!(status.code(), Code::ResourceExhausted, "{what}: {status:?}");
            let text = status.message().to_lowercase();
            assert!(text.contains("no space left"), "{what}: {status:?}");
            None
        }
    }
}

/// A pod's whole life, as far as it comes; the calls that failed.
async fn live(daemon: &Daemon, config: &v1::PodSandboxConfig) -> Vec<&'static str> {
    let mut runtime = daemon.runtime();
    let mut failed = vec![];
    let run = v1::RunPodSandboxRequest {
        config: Some(config.clone()),
        ..Default::default()
    };
    let Some(answer) = scarce("run", runtime.run_pod_sandbox(run)).await else {
        let pods = runtime.list_pod_sandbox(v1::ListPodSandboxRequest::default());
        assert_eq!(
            pods.await.unwrap().into_inner().items,
            [],
            "a failed run leaves a pod"
        );
        return vec!["run"];
    };
    let pod = Pod::adopted(daemon, &answer.pod_sandbox_id, config);
    let create = pod.create_request(pod.container_config("main", &["sh", "-c", "echo begun; exit 3"]));
    match scarce("create", runtime.create_container(create)).await {
        None => {
            let containers = runtime.list_containers(v1::ListContainersRequest::default());
            assert_eq!(
                containers.await.unwrap().into_inner().containers,
                [],
                "a failed creation leaves a container"
            );
            failed.push("create");
        }
        Some(answer) => {
            let made = Made::adopted(daemon, &answer.container_id, &pod.logs().join("main.log"));
            let start = v1::StartContainerRequest {
                container_id: made.id.clone(),
            };
            match scarce("start", runtime.start_container(start.clone())).await {
                None => failed.push("start"),
                Some(_) => assert_eq!(made.exited().await.exit_code, 3),
            }
            made.stop(0).await;
            made.remove().await;
        }
    }
    // Never kept from ending.
    pod.remove().await;
    failed
}

/// Goes through lives with ever less of something, then again with enough of it.
async fn ever_less(
    daemon: &Daemon,
    disk: &Disk,
    amounts: &[u64],
    take: impl Fn(&Disk, u64),
) -> Vec<Vec<&'static str>> {
    let mut outcomes = vec![];
    for left in amounts {
        let mut config = config(daemon, "scarce");
        host_network(&mut config);
        take(disk, *left);
        let failed = live(daemon, &config).await;
        disk.free();
        eventually("a pod lives when the shortage is over", async || {
            live(daemon, &config).await.is_empty().then_some(())
        })
        .await;
        outcomes.push(failed);
    }
    daemon.check().await;
    outcomes
}

async fn pods_live_on_a_state_disk_with_ever_less_room() {
    let (place, disk) = on_small_disk("less-room", "");
    let daemon = Daemon::with_images_in(place).await;

    let amounts = [4096, 2048, 1024, 512, 256, 128, 64, 48, 32, 24, 16, 12, 8, 4, 0];
    let outcomes = ever_less(&daemon, &disk, &amounts, Disk::fill).await;

    assert!(outcomes[0].is_empty(), "{outcomes:?}");
    assert!(outcomes.iter().any(|failed| !failed.is_empty()), "{outcomes:?}");
}

async fn pods_live_on_a_state_disk_with_ever_fewer_inodes() {
    let (place, disk) = on_small_disk("fewer-inodes", "-N 256");
    let daemon = Daemon::with_images_in(place).await;

    let outcomes = ever_less(&daemon, &disk, &[24, 8, 6, 5, 4, 3, 2, 1, 0], Disk::take_inodes).await;

    assert!(outcomes[0].is_empty(), "{outcomes:?}");
    assert_eq!(outcomes.last().unwrap(), &["create"], "{outcomes:?}");
}

async fn pods_live_on_a_runtime_disk_with_ever_less_room() {
    let place = Place::new("less-run");
    let disk = Disk::tmpfs(&place.run, "size=1m");
    let daemon = Daemon::with_images_in(place).await;

    let amounts = [256, 96, 64, 48, 40, 36, 32, 28, 24, 20, 16, 12, 8, 4, 0];
    let outcomes = ever_less(&daemon, &disk, &amounts, Disk::fill).await;

    assert!(outcomes[0].is_empty(), "{outcomes:?}");
    assert!(!outcomes.last().unwrap().is_empty(), "{outcomes:?}");
}

/// The condition that tells of the store.
async fn store_condition(daemon: &Daemon) -> (bool, String) {
    let status = daemon
        .runtime()
        .status(v1::StatusRequest::default())
        .await
        .unwrap();
    let conditions = status.into_inner().status.unwrap().conditions;
    let found = conditions
        .into_iter()
        .find(|c| c.r#type == "StoreHealthy")
        .unwrap();
    (found.status, found.reason)
}

async fn a_full_store_says_so_and_comes_back() {
    let (place, disk) = on_small_disk("full-store", "");
    let daemon = Daemon::with_images_in(place).await;
    let pod = Pod::run(&daemon, "full-store").await;
    let container = pod
        .start(
            "main",
            &["sh", "-c", "trap 'exit 42' TERM; while :; do sleep 0.02; done"],
        )
        .await;
    let other = pod.idle("other").await;
    // Records until the file has to grow, which it then cannot.
    disk.fill(0);
    let mut made = vec![];
    let refusal = loop {
        let mut config = config(&daemon, "filler");
        host_network(&mut config);
        config.annotations.insert("bulk".into(), "x".repeat(200_000));
        let request = v1::RunPodSandboxRequest {
            config: Some(config.clone()),
            ..Default::default()
        };
        match daemon.runtime().run_pod_sandbox(request).await {
            Ok(answer) => made.push((answer.into_inner().pod_sandbox_id, config)),
            Err(refusal) => break refusal,
        }
        assert!(made.len() < 1000, "the disk is never full");
    };

    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal:?}");
    let text = refusal.message();
    assert!(
        text.contains("state.redb") && text.contains("No space left on device"),
        "{text}"
    );
    assert_eq!(store_condition(&daemon).await, (false, "StoreFull".to_owned()));
    // What is there goes on to its end.
    container.stop(30).await;
    assert_eq!(container.exited().await.exit_code, 42);
    let (id, log, other_id, other_log) = (
        container.id.clone(),
        container.log.clone(),
        other.id.clone(),
        other.log.clone(),
    );
    let (pod_id, pod_config) = (pod.id.clone(), pod.config.clone());
    let daemon = Daemon::start(daemon.kill().await).await;
    let (container, other) = (
        Made::adopted(&daemon, &id, &log),
        Made::adopted(&daemon, &other_id, &other_log),
    );
    assert_eq!(container.status().await.exit_code, 42);
    assert_eq!(other.sh("echo on").await, "on\n");
    container.remove().await;
    let mut config = config(&daemon, "refused");
    host_network(&mut config);
    config.annotations.insert("bulk".into(), "x".repeat(200_000));
    let request = v1::RunPodSandboxRequest {
        config: Some(config.clone()),
        ..Default::default()
    };
    assert_eq!(
        refused(daemon.runtime().run_pod_sandbox(request.clone()))
            .await
            .code(),
        Code::ResourceExhausted
    );

    disk.free();

    eventually("the store is well again", async || {
        store_condition(&daemon).await.0.then_some(())
    })
    .await;
    let again = daemon
        .runtime()
        .run_pod_sandbox(request)
        .await
        .unwrap()
        .into_inner();
    made.push((again.pod_sandbox_id, config));
    made.push((pod_id, pod_config));
    for (id, config) in made {
        Pod::adopted(&daemon, &id, &config).remove().await;
    }
    daemon.check().await;
}
