//! Limits and what is used: cgroup values, updates, the out-of-memory killer, statistics.

use std::fs;
use std::path::PathBuf;

use k8s_cri::v1;
use libtest_mimic::Trial;
use tonic::Code;

use crate::harness::container::Made;
use crate::harness::daemon::{refused, shared};
use crate::harness::node::{cgroups_below, hierarchies};
use crate::harness::pod::{Pod, resources, security};
use crate::harness::{eventually, trials};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        limits_are_those_of_the_cgroup,
        limits_can_be_changed,
        limits_of_an_ended_container_cannot,
        a_container_that_takes_too_much_memory_is_killed,
        a_killed_child_is_not_a_killed_container,
        statistics_tell_what_is_used,
        statistics_are_of_the_containers_that_match,
        cgroups_go_with_the_container,
    ]
}

const MEBI: i64 = 1024 * 1024;

/// The directory of a process's cgroup in the hierarchy that has `controller`.
fn cgroup(pid: i32, controller: &str) -> PathBuf {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let mut fields = text.lines().map(|line| line.splitn(3, ':').collect::<Vec<_>>());
    let unified = hierarchies().len() == 1;
    let line = fields.find(|line| unified || line[1].split(',').any(|name| name == controller));
    let path = line.unwrap()[2].trim_start_matches('/').to_owned();
    match unified {
        true => PathBuf::from("/sys/fs/cgroup").join(path),
        false => PathBuf::from("/sys/fs/cgroup").join(controller).join(path),
    }
}

/// A value of the container's own cgroup: by its file's name in v1, and in v2.
async fn value(container: &Made<'_>, controller: &str, v1: &str, v2: &str) -> String {
    let directory = cgroup(container.pid().await, controller);
    let file = if hierarchies().len() == 1 { v2 } else { v1 };
    fs::read_to_string(directory.join(file))
        .unwrap()
        .trim()
        .to_owned()
}

async fn memory_limit(container: &Made<'_>) -> i64 {
    value(container, "memory", "memory.limit_in_bytes", "memory.max")
        .await
        .parse()
        .unwrap()
}

async fn limits_are_those_of_the_cgroup() {
    let pod = Pod::run(shared().await, "limits").await;
    let container = pod
        .start_with("main", &["sleep", "infinity"], |config| {
            let resources = resources(config);
            resources.memory_limit_in_bytes = 64 * MEBI;
            resources.cpu_shares = 512;
            resources.cpu_quota = 50_000;
            resources.cpu_period = 100_000;
            resources.cpuset_cpus = "0".into();
            resources.oom_score_adj = 500;
        })
        .await;

    let status = container.status().await.resources.unwrap().linux.unwrap();

    assert_eq!(memory_limit(&container).await, 64 * MEBI);
    let quota = value(&container, "cpu", "cpu.cfs_quota_us", "cpu.max").await;
    assert!(quota == "50000" || quota == "50000 100000", "{quota}");
    assert_eq!(
        value(&container, "cpuset", "cpuset.cpus", "cpuset.cpus").await,
        "0"
    );
    let pid = container.pid().await;
    assert_eq!(
        fs::read_to_string(format!("/proc/{pid}/oom_score_adj"))
            .unwrap()
            .trim(),
        "500"
    );
    assert_eq!(status.memory_limit_in_bytes, 64 * MEBI);
    assert_eq!(
        (status.cpu_shares, status.cpu_quota, status.cpu_period),
        (512, 50_000, 100_000)
    );
    assert!(
        cgroup(pid, "memory").to_str().unwrap().contains(&pod.cgroup()),
        "not below the pod's cgroup"
    );
    pod.remove().await;
}

async fn limits_can_be_changed() {
    let pod = Pod::run(shared().await, "update").await;
    let running = pod
        .start_with("running", &["sleep", "infinity"], |config| {
            resources(config).memory_limit_in_bytes = 64 * MEBI;
            resources(config).cpu_shares = 512;
        })
        .await;
    let created = pod.create("created", &["sleep", "infinity"]).await;
    let change = async |container: &Made<'_>| {
        let request = v1::UpdateContainerResourcesRequest {
            container_id: container.id.clone(),
            linux: Some(v1::LinuxContainerResources {
                memory_limit_in_bytes: 128 * MEBI,
                cpu_quota: 20_000,
                cpu_period: 100_000,
                ..Default::default()
            }),
            ..Default::default()
        };
        shared()
            .await
            .runtime()
            .update_container_resources(request)
            .await
            .unwrap();
    };

    change(&running).await;
    change(&created).await;
    created.start().await;

    for container in [&running, &created] {
        assert_eq!(memory_limit(container).await, 128 * MEBI);
        let status = container.status().await.resources.unwrap().linux.unwrap();
        assert_eq!(
            (status.memory_limit_in_bytes, status.cpu_quota),
            (128 * MEBI, 20_000)
        );
    }
    // What is zero in the request stays as it is.
    let status = running.status().await.resources.unwrap().linux.unwrap();
    assert_eq!(status.cpu_shares, 512);
    pod.remove().await;
}

async fn limits_of_an_ended_container_cannot() {
    let pod = Pod::run(shared().await, "update-ended").await;
    let container = pod.start("main", &["true"]).await;
    let before = container.exited().await;
    let request = v1::UpdateContainerResourcesRequest {
        container_id: container.id.clone(),
        linux: Some(v1::LinuxContainerResources {
            memory_limit_in_bytes: 128 * MEBI,
            ..Default::default()
        }),
        ..Default::default()
    };

    let refusal = refused(shared().await.runtime().update_container_resources(request)).await;

    assert_eq!(refusal.code(), Code::FailedPrecondition, "{refusal}");
    assert_eq!(container.status().await, before);
    pod.remove().await;
}

async fn a_container_that_takes_too_much_memory_is_killed() {
    let pod = Pod::run(shared().await, "oom").await;

    // `tail` keeps what it reads, since there is no end of line.
    let container = pod
        .start_with("main", &["tail", "/dev/zero"], |config| {
            resources(config).memory_limit_in_bytes = 16 * MEBI;
        })
        .await;
    let status = container.exited().await;

    assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
    pod.remove().await;
}

async fn a_killed_child_is_not_a_killed_container() {
    let pod = Pod::run(shared().await, "not-oom").await;
    let container = pod.idle("main").await;

    container.stop(0).await;

    let status = container.status().await;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"));
    pod.remove().await;
}

async fn statistics_tell_what_is_used() {
    let pod = Pod::run(shared().await, "stats").await;
    let script = "head -c 3000000 /dev/zero >/file; while :; do :; done";
    let container = pod.start("main", &["sh", "-c", script]).await;

    let stats = eventually("processor time and a written file show", async || {
        let request = v1::ContainerStatsRequest {
            container_id: container.id.clone(),
        };
        let stats = shared()
            .await
            .runtime()
            .container_stats(request)
            .await
            .unwrap()
            .into_inner()
            .stats
            .unwrap();
        let layer = stats.writable_layer.as_ref()?.used_bytes.as_ref()?.value;
        let cpu = stats.cpu.as_ref()?.usage_core_nano_seconds.as_ref()?.value;
        (layer >= 3_000_000 && cpu > 0).then_some(stats)
    })
    .await;

    let attributes = stats.attributes.unwrap();
    assert_eq!(attributes.id, container.id);
    assert_eq!(attributes.metadata.unwrap().name, "main");
    let memory = stats.memory.unwrap();
    assert!(memory.timestamp > 0);
    assert!(memory.working_set_bytes.unwrap().value > 0);
    let layer = stats.writable_layer.unwrap();
    assert!(layer.inodes_used.unwrap().value > 0);
    assert!(!layer.fs_id.unwrap().mountpoint.is_empty());
    pod.remove().await;
}

async fn statistics_are_of_the_containers_that_match() {
    let pod = Pod::run(shared().await, "stats-list").await;
    let running = pod.idle("running").await;
    let exited = pod.start("exited", &["true"]).await;
    exited.exited().await;
    let filter = v1::ContainerStatsFilter {
        pod_sandbox_id: pod.id.clone(),
        ..Default::default()
    };
    let request = v1::ListContainerStatsRequest { filter: Some(filter) };

    let listed = shared()
        .await
        .runtime()
        .list_container_stats(request)
        .await
        .unwrap()
        .into_inner()
        .stats;

    let ids: Vec<&str> = listed
        .iter()
        .map(|stats| stats.attributes.as_ref().unwrap().id.as_str())
        .collect();
    assert_eq!(ids, [running.id.as_str()]);
    pod.remove().await;
}

async fn cgroups_go_with_the_container() {
    let pod = Pod::run(shared().await, "cgroups").await;
    let container = pod
        .start_with("main", &["sleep", "infinity"], |config| {
            security(config).readonly_rootfs = true;
        })
        .await;
    container.sh("true").await;
    let below = || -> Vec<PathBuf> {
        let parent = pod.cgroup();
        let found = hierarchies().into_iter();
        found
            .flat_map(|root| cgroups_below(&root.join(parent.trim_start_matches('/'))))
            .collect()
    };
    let during = below();

    container.remove().await;

    let own = |path: &&PathBuf| path.to_str().unwrap().contains(&container.id);
    assert!(during.iter().any(|path| own(&path)), "{during:?}");
    assert_eq!(below().iter().filter(own).count(), 0);
    pod.remove().await;
}
