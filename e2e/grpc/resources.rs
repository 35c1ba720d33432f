//! Limits and what is used: cgroup values, updates, the out-of-memory killer, statistics.

use std::fs;
use std::path::PathBuf;

use coracle::cri::wire;
use k8s_cri::v1;
use libtest_mimic::Trial;
use tonic::Code;

use crate::harness::container::Made;
use crate::harness::daemon::shared;
use crate::harness::endpoint::ours;
use crate::harness::node::{cgroups_below, hierarchies};
use crate::harness::pod::{Pod, resources, security};
use crate::harness::{eventually, trials};
use crate::streams::runtime;

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        limits_are_those_of_the_cgroup,
        limits_can_be_changed,
        limits_of_an_ended_container_cannot,
        memory_in_use_is_reclaimed_for_a_lower_limit_or_the_limit_is_refused,
        limits_are_changed_all_or_none,
        a_status_tells_what_the_kernel_holds,
        the_score_of_every_process_can_be_changed,
        what_a_pod_may_use_is_kept,
        a_container_that_takes_too_much_memory_is_killed,
        a_killed_child_is_not_a_killed_container,
        statistics_tell_what_is_used,
        statistics_are_of_the_containers_that_match,
        cgroups_go_with_the_container,
    ]
}

pub(crate) const MEBI: i64 = 1024 * 1024;

/// The directory of a process's cgroup in the hierarchy that has `controller`.
pub(crate) fn cgroup(pid: i32, controller: &str) -> PathBuf {
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
pub(crate) async fn value(container: &Made<'_>, controller: &str, v1: &str, v2: &str) -> String {
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

/// Asks for other limits.
async fn update(
    container: &Made<'_>,
    change: impl FnOnce(&mut v1::LinuxContainerResources),
) -> Result<(), tonic::Status> {
    let mut linux = v1::LinuxContainerResources::default();
    change(&mut linux);
    let request = v1::UpdateContainerResourcesRequest {
        container_id: container.id.clone(),
        linux: Some(linux),
        ..Default::default()
    };
    let mut runtime = shared().await.runtime();
    runtime.update_container_resources(request).await.map(drop)
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
    for container in [&running, &created] {
        update(container, |limits| {
            limits.memory_limit_in_bytes = 128 * MEBI;
            limits.cpu_quota = 20_000;
            limits.cpu_period = 100_000;
        })
        .await
        .unwrap();
    }
    created.start().await;

    for container in [&running, &created] {
        assert_eq!(memory_limit(container).await, 128 * MEBI);
        let status = container.status().await.resources.unwrap().linux.unwrap();
        assert_eq!(
            (status.memory_limit_in_bytes, status.cpu_quota),
            (128 * MEBI, 20_000)
        );
    }
    // Who could not swap before cannot now.
    let (memory, swap) = ("memory.memsw.limit_in_bytes", "memory.swap.max");
    let allowed = if hierarchies().len() == 1 { 0 } else { 128 * MEBI };
    assert_eq!(value(&running, "memory", memory, swap).await, allowed.to_string());
    // What is zero in the request stays as it is.
    let status = running.status().await.resources.unwrap().linux.unwrap();
    assert_eq!(status.cpu_shares, 512);
    pod.remove().await;
}

async fn memory_in_use_is_reclaimed_for_a_lower_limit_or_the_limit_is_refused() {
    let pod = Pod::run(shared().await, "update-used").await;
    let limited = |config: &mut v1::ContainerConfig| {
        resources(config).memory_limit_in_bytes = 96 * MEBI;
    };
    // A file's pages can go to the disk, what lies in a shell's variable cannot.
    let script = "head -c 40000000 /dev/zero >/file; sync; echo ready; exec sleep infinity";
    let cached = pod.start_with("cached", &["sh", "-c", script], limited).await;
    let script = "x=$(head -c 30000000 /dev/zero | tr '\\0' x); echo ready; sleep 1000000; echo $x";
    let held = pod.start_with("held", &["sh", "-c", script], limited).await;
    for container in [&cached, &held] {
        eventually("the container is ready", async || container.lines().pop()).await;
    }

    update(&cached, |limits| limits.memory_limit_in_bytes = 16 * MEBI)
        .await
        .unwrap();
    let refusal = update(&held, |limits| limits.memory_limit_in_bytes = 16 * MEBI)
        .await
        .unwrap_err();

    assert_eq!(memory_limit(&cached).await, 16 * MEBI);
    assert_eq!(refusal.code(), Code::FailedPrecondition, "{refusal}");
    assert!(refusal.message().contains("is in use"), "{refusal}");
    assert_eq!(memory_limit(&held).await, 96 * MEBI);
    for container in [&cached, &held] {
        assert_eq!(
            container.status().await.state(),
            v1::ContainerState::ContainerRunning
        );
    }
    pod.remove().await;
}

async fn limits_are_changed_all_or_none() {
    let pod = Pod::run(shared().await, "update-none").await;
    let container = pod
        .start_with("main", &["sleep", "infinity"], |config| {
            resources(config).cpu_shares = 512;
            resources(config).memory_limit_in_bytes = 64 * MEBI;
        })
        .await;
    let before = container.status().await;
    let shares = value(&container, "cpu", "cpu.shares", "cpu.weight").await;

    // No machine has so many processors, which the kernel tells after it has taken the shares.
    let refusal = update(&container, |limits| {
        limits.cpu_shares = 2048;
        limits.memory_limit_in_bytes = 128 * MEBI;
        limits.cpuset_cpus = "8000".into();
    })
    .await
    .unwrap_err();

    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    assert!(refusal.message().contains("cpuset.cpus"), "{refusal}");
    assert_eq!(value(&container, "cpu", "cpu.shares", "cpu.weight").await, shares);
    assert_eq!(memory_limit(&container).await, 64 * MEBI);
    assert_eq!(container.status().await, before);
    pod.remove().await;
}

async fn a_status_tells_what_the_kernel_holds() {
    let pod = Pod::run(shared().await, "update-held").await;
    let container = pod
        .start_with("main", &["sleep", "infinity"], |config| {
            resources(config).cpu_shares = 513;
            resources(config).memory_limit_in_bytes = 64 * MEBI + 1;
        })
        .await;
    let told = async || container.status().await.resources.unwrap().linux.unwrap();
    let as_set = told().await;
    let file = if hierarchies().len() == 1 {
        "memory.max"
    } else {
        "memory.limit_in_bytes"
    };
    let file = cgroup(container.pid().await, "memory").join(file);

    fs::write(file, (32 * MEBI).to_string()).unwrap();

    // The kernel rounds, which is nobody's change.
    assert_eq!(
        (as_set.cpu_shares, as_set.memory_limit_in_bytes),
        (513, 64 * MEBI + 1)
    );
    let held = told().await;
    assert_eq!((held.cpu_shares, held.memory_limit_in_bytes), (513, 32 * MEBI));
    pod.remove().await;
}

async fn the_score_of_every_process_can_be_changed() {
    let pod = Pod::run(shared().await, "update-score").await;
    let script = "sleep infinity & exec sleep infinity";
    let container = pod.start("main", &["sh", "-c", script]).await;
    let group = cgroup(container.pid().await, "memory");
    let processes = || {
        let text = fs::read_to_string(group.join("cgroup.procs")).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    eventually("both processes are there", async || {
        (processes().len() == 2).then_some(())
    })
    .await;

    update(&container, |limits| limits.oom_score_adj = 777)
        .await
        .unwrap();

    for pid in processes() {
        let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
        assert_eq!(score.trim(), "777");
    }
    let told = container.status().await.resources.unwrap().linux.unwrap();
    assert_eq!(told.oom_score_adj, 777);
    pod.remove().await;
}

async fn what_a_pod_may_use_is_kept() {
    ours("is told of a pod's limits by our status");
    let daemon = shared().await;
    let memory = |bytes| wire::v1::LinuxContainerResources {
        memory_limit_in_bytes: bytes,
        ..Default::default()
    };
    let pod = Pod::run_with(daemon, "pod-resources", |config| {
        let linux = config.linux.get_or_insert_default();
        linux.overhead = Some(v1::LinuxContainerResources {
            memory_limit_in_bytes: MEBI,
            ..Default::default()
        });
    })
    .await;
    let request = wire::v1::UpdatePodSandboxResourcesRequest {
        pod_sandbox_id: pod.id.clone(),
        overhead: None,
        resources: Some(memory(5 * MEBI)),
    };

    runtime(daemon)
        .update_pod_sandbox_resources(request)
        .await
        .unwrap();

    let request = v1::PodSandboxStatusRequest {
        pod_sandbox_id: pod.id.clone(),
        verbose: true,
    };
    let answer = daemon.runtime().pod_sandbox_status(request).await.unwrap();
    let info: serde_json::Value = serde_json::from_str(&answer.into_inner().info["info"]).unwrap();
    let kept = |of: &str| info["sandbox"]["config"]["resources"][of]["memoryLimitInBytes"].as_i64();
    assert_eq!(
        (kept("overhead"), kept("containers")),
        (Some(MEBI), Some(5 * MEBI))
    );
    pod.remove().await;
}

async fn limits_of_an_ended_container_cannot() {
    let pod = Pod::run(shared().await, "update-ended").await;
    let container = pod.start("main", &["true"]).await;
    let before = container.exited().await;

    let refusal = update(&container, |limits| limits.memory_limit_in_bytes = 128 * MEBI)
        .await
        .unwrap_err();

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
    let request = v1::ImageFsInfoRequest {};
    let filesystems = shared().await.images().image_fs_info(request).await.unwrap();
    let filesystem = filesystems.into_inner().container_filesystems.remove(0);
    assert_eq!(layer.fs_id, filesystem.fs_id);
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
