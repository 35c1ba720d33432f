//! A reboot: what lives in memory is gone with all processes, the state directory is as it was.

use k8s_cri::v1;
use libtest_mimic::Trial;
use nix::mount::{MntFlags, umount2};
use serde_json::json;

use crate::caller::Caller;
use crate::harness::daemon::Place;
use crate::harness::eventually;
use crate::harness::node::remove_cgroups;
use crate::harness::pod::Pod;
use crate::harness::results;
use crate::harness::trials;
use crate::lane::Lane;
use crate::processes::{self, slay};
use crate::world::{leases, left, world};

pub(crate) fn tests() -> Vec<Trial> {
    trials![after_a_reboot_everything_is_told_and_nothing_has_to_be_repaired]
}

async fn after_a_reboot_everything_is_told_and_nothing_has_to_be_repaired() {
    let lane = Lane::open("reboot").await;
    let mut caller = Caller::new(&lane);
    let (pods, ended, config) = {
        let daemon = lane.daemon().await;
        // What the first pod makes for all.
        Pod::run_with(&daemon, "first", |_| {}).await.remove().await;
        let busy = Pod::run_with(&daemon, "busy", |_| {}).await;
        let (running, created) = (
            busy.idle("running").await,
            busy.create("created", &["true"]).await,
        );
        let exited = busy.start("exited", &["sh", "-c", "exit 5"]).await;
        exited.exited().await;
        let stopped = Pod::run_with(&daemon, "stopped", |_| {}).await;
        stopped.stop().await;
        let ended = [(running.id, 255), (created.id, 255), (exited.id, 5)];
        ([busy.id, stopped.id], ended, busy.config)
    };
    let alone = alone(&lane).await;
    let images = caller.images().await;

    lane.reboot().await;

    for pod in caller.pods().await {
        assert_eq!(pod.state(), v1::PodSandboxState::SandboxNotready, "{pod:?}");
    }
    for (id, code) in &ended {
        let status = caller.status(id).await.unwrap();
        assert_eq!(status.state(), v1::ContainerState::ContainerExited, "{status:?}");
        assert_eq!(status.exit_code, *code, "{status:?}");
        let told = (status.reason.as_str(), status.message.contains("restarted"));
        assert_eq!(
            told,
            if *code == 5 {
                ("Error", false)
            } else {
                ("NodeRestarted", true)
            }
        );
    }
    assert_eq!(caller.images().await, images);
    assert!(
        images.iter().any(|image| image.pinned),
        "those of the reduced API use one, before and after"
    );
    removed(&lane, &alone).await;
    // As the kubelet goes on: a new attempt of the pod, while the old ones are removed.
    let mut next = config;
    next.metadata.as_mut().unwrap().attempt = 1;
    let again = caller.run_pod(&next).await.unwrap();
    for pod in pods.iter().chain([&again]) {
        caller.stop_pod(pod).await.unwrap();
        caller.remove_pod(pod).await.unwrap();
    }
    let owners: Vec<String> = leases().into_iter().map(|(_, owner)| owner).collect();
    assert!(
        !pods.iter().any(|pod| owners.contains(pod)),
        "addresses are kept: {owners:?}"
    );
    let clean = world(&mut caller).await;
    let about: Vec<&String> = clean
        .iter()
        .filter(|line| pods.iter().any(|pod| line.contains(pod)))
        .collect();
    assert!(about.is_empty(), "left: {about:#?}");
    assert!(left(&lane, &clean).await.is_empty());
    results::write(
        "faults",
        "reboot",
        json!({"pods": 2, "containers": ended.len() + alone.len(), "losses": 0}),
    );
}

/// Containers of the reduced API, running, created and exited: how each is found to have ended, by its id.
async fn alone(lane: &Lane) -> [(String, i64, &'static str); 3] {
    let api = &lane.api;
    let (running, created) = (api.idle("running").await, api.create("created", "true").await);
    let exited = api.create("exited", "exit 5").await;
    api.ok("StartContainer", json!({"containerID": exited})).await;
    eventually("it has ended", async || {
        (api.status(&exited).await["state"] == 2).then_some(())
    })
    .await;
    [
        (running, 255, "NodeRestarted"),
        (created, 255, "NodeRestarted"),
        (exited, 5, "Error"),
    ]
}

/// They are told of truthfully, cannot be used any more, and go with their logs.
async fn removed(lane: &Lane, alone: &[(String, i64, &str)]) {
    let api = &lane.api;
    let listed = api.ok("ListContainers", json!({})).await;
    for (id, code, reason) in alone {
        let of = json!({"containerID": id});
        let status = api.status(id).await;
        assert_eq!(status["state"], 2, "{status}");
        let told = (&status["exitCode"], &status["reason"]);
        assert_eq!(told, (&json!(code), &json!(reason)), "{status}");
        let finished = status["finishedAt"].as_i64().unwrap_or_default();
        assert!(finished >= status["createdAt"].as_i64().unwrap(), "{status}");
        assert!(listed.to_string().contains(id), "{listed}");
        let (refused, _) = api.refused("StartContainer", of.clone()).await;
        assert_eq!(refused, 412);
        api.ok("StopContainer", of.clone()).await;
        for _ in 0..2 {
            api.ok("RemoveContainer", of.clone()).await;
        }
        let log = status["logPath"].as_str().unwrap();
        assert!(!std::path::Path::new(log).exists(), "{log}");
        let (gone, _) = api.refused("ContainerStatus", of).await;
        assert_eq!(gone, 404);
    }
    lane.daemon().await.check().await;
}

impl Lane {
    /// Takes away what a reboot takes, and starts the daemon.
    async fn reboot(&self) {
        self.replace_after(|place| {
            for (_, process) in processes::of(place) {
                slay(process.pid);
            }
            while !processes::of(place).is_empty() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            unmount_below(place);
            std::fs::remove_dir_all(&place.run).unwrap();
            remove_cgroups(&place.cgroup_parent());
        })
        .await;
    }
}

fn unmount_below(place: &Place) {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let own = format!("{}/", place.run.display());
    for point in points.filter(|point| point.starts_with(&own)) {
        umount2(point, MntFlags::MNT_DETACH).unwrap();
    }
}
