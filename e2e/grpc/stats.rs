//! What containers and pods use, compared with the files that the kernel tells it in.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use coracle::cri::wire::v1;
use libtest_mimic::Trial;
use tonic::Code;

use crate::harness::cgroup::{cgroup, cpu, memory, number};
use crate::harness::daemon::{Daemon, refused, shared};
use crate::harness::node::hierarchies;
use crate::harness::pod::{Pod, resources};
use crate::harness::{eventually, trials};
use crate::streams::runtime;

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        a_containers_figures_are_those_of_its_cgroup,
        the_rate_is_that_of_the_last_two_readings,
        a_pods_figures_are_those_of_its_cgroup_and_network,
        a_pods_files_are_open_while_it_is_ready,
        a_pod_in_the_nodes_network_has_no_traffic_of_its_own,
        pods_are_measured_by_id_and_label,
        what_is_not_there_is_not_measured,
        asking_starts_no_process,
    ]
}

async fn stats(daemon: &Daemon, id: &str) -> v1::ContainerStats {
    let request = v1::ContainerStatsRequest {
        container_id: id.to_owned(),
    };
    let answer = runtime(daemon).container_stats(request).await.unwrap();
    answer.into_inner().stats.unwrap()
}

async fn pod_stats(daemon: &Daemon, id: &str) -> v1::PodSandboxStats {
    let request = v1::PodSandboxStatsRequest {
        pod_sandbox_id: id.to_owned(),
    };
    let answer = runtime(daemon).pod_sandbox_stats(request).await.unwrap();
    answer.into_inner().stats.unwrap()
}

/// Says that a figure lies between two readings of what it is made of, which may have moved by some pages more.
fn between(what: &str, before: u64, told: Option<v1::UInt64Value>, after: u64) {
    const SLACK: u64 = 256 * 1024;
    let told = told.unwrap_or_else(|| panic!("{what} is missing")).value;
    let (low, high) = (before.min(after), before.max(after));
    assert!(
        told + SLACK >= low && told <= high + SLACK,
        "{what}: {told} is not between {low} and {high}"
    );
}

async fn a_containers_figures_are_those_of_its_cgroup() {
    let pod = Pod::run(shared().await, "figures").await;
    let container = pod
        .start_with("main", &["sleep", "infinity"], |config| {
            resources(config).memory_limit_in_bytes = 64 << 20;
        })
        .await;
    container.sh("head -c 1000000 /dev/zero >/file").await;
    let cgroup = cgroup(&container).await;
    let read = || {
        let key = |v1: &str, v2: &str| number(&cgroup, "memory", v1, v2);
        (
            cpu(&cgroup),
            memory(&cgroup),
            key("memory.stat:total_inactive_file", "memory.stat:inactive_file"),
            key("memory.stat:total_rss", "memory.stat:anon"),
            key("memory.stat:total_pgfault", "memory.stat:pgfault"),
        )
    };

    // The kernel gives back what an exec had a moment after its end: a reading counts once nothing moves.
    let (before, stats, after) = eventually("the memory is at rest", async || {
        let (before, stats, after) = (read(), stats(shared().await, &container.id).await, read());
        ((before.1, before.2, before.3) == (after.1, after.2, after.3)).then_some((before, stats, after))
    })
    .await;

    let used = stats.cpu.unwrap().usage_core_nano_seconds.unwrap().value;
    assert!(
        (before.0..=after.0).contains(&used),
        "{used} of {before:?} to {after:?}"
    );
    let memory = stats.memory.unwrap();
    between("usage", before.1, memory.usage_bytes, after.1);
    let set = |(_, usage, inactive, ..): (u64, u64, u64, u64, u64)| usage - inactive;
    between("working set", set(before), memory.working_set_bytes, set(after));
    between("rss", before.3, memory.rss_bytes, after.3);
    let faults = memory.page_faults.unwrap().value;
    assert!((before.4..=after.4).contains(&faults));
    let available = memory.available_bytes.unwrap().value;
    assert_eq!(available, (64 << 20) - memory.working_set_bytes.unwrap().value);
    assert!(memory.timestamp > 0);
    let unified = hierarchies().len() == 1;
    assert!(!unified || memory.psi.is_some() == Path::new("/proc/pressure/memory").exists());
    pod.remove().await;
}

async fn the_rate_is_that_of_the_last_two_readings() {
    let daemon = Daemon::with_images("rate").await;
    let pod = Pod::run(&daemon, "rate").await;
    let container = pod.start("main", &["sh", "-c", "while :; do :; done"]).await;
    let figures = |cpu: v1::CpuUsage| {
        let rate = cpu.usage_nano_cores.map(|rate| rate.value);
        (cpu.timestamp, cpu.usage_core_nano_seconds.unwrap().value, rate)
    };
    let expected = |before: (i64, u64, Option<u64>), after: (i64, u64, Option<u64>)| {
        let elapsed = u128::try_from(after.0 - before.0).unwrap();
        u64::try_from(u128::from(after.1 - before.1) * 1_000_000_000 / elapsed).unwrap()
    };

    let first = figures(stats(&daemon, &container.id).await.cpu.unwrap());
    let of_pod = figures(pod_stats(&daemon, &pod.id).await.linux.unwrap().cpu.unwrap());
    assert_eq!((first.2, of_pod.2), (None, None), "one reading is no rate");

    // The reading of the pod was one of the container as well.
    let before = eventually("the container has run on", async || {
        let stats = figures(stats(&daemon, &container.id).await.cpu.unwrap());
        (stats.1 > first.1).then_some(stats)
    })
    .await;
    let after = eventually("the container has run on", async || {
        let stats = figures(stats(&daemon, &container.id).await.cpu.unwrap());
        (stats.1 > before.1).then_some(stats)
    })
    .await;
    let pod_after = figures(pod_stats(&daemon, &pod.id).await.linux.unwrap().cpu.unwrap());

    assert!(after.2.unwrap() > 0);
    assert_eq!(pod_after.2, Some(expected(of_pod, pod_after)));
    pod.remove().await;
}

async fn a_pods_figures_are_those_of_its_cgroup_and_network() {
    let pod = Pod::run_with(shared().await, "pod-figures", |_| {}).await;
    let container = pod.idle("main").await;
    let beside = pod.idle("beside").await;
    container.sh("ping -c 1 -W 1 10.88.0.1 >/dev/null || true").await;
    // What eth0 has counted: bytes in, bytes out.
    let traffic = async || {
        let line = container.sh("grep eth0 /proc/net/dev").await;
        let counters = line.split_once(':').unwrap().1.split_whitespace();
        let counters: Vec<u64> = counters.map(|word| word.parse().unwrap()).collect();
        (counters[0], counters[8])
    };
    let cgroup = pod.cgroup();

    let read = || (cpu(&cgroup), memory(&cgroup));
    let net_before = traffic().await;
    let (before, stats, after) = eventually("the memory is at rest", async || {
        let (before, stats, after) = (read(), pod_stats(shared().await, &pod.id).await, read());
        (before.1 == after.1).then_some((before, stats, after))
    })
    .await;
    let net_after = traffic().await;

    let attributes = stats.attributes.unwrap();
    assert_eq!(attributes.id, pod.id);
    assert_eq!(
        attributes.metadata.unwrap().uid,
        pod.config.metadata.as_ref().unwrap().uid
    );
    let linux = stats.linux.unwrap();
    let used = linux.cpu.unwrap().usage_core_nano_seconds.unwrap().value;
    assert!((before.0..=after.0).contains(&used));
    between("usage", before.1, linux.memory.unwrap().usage_bytes, after.1);
    assert_eq!(linux.process.unwrap().process_count.unwrap().value, 2);
    let network = linux.network.unwrap();
    let eth0 = network.default_interface.unwrap();
    assert_eq!(eth0.name, "eth0");
    let (rx, tx) = (eth0.rx_bytes.unwrap().value, eth0.tx_bytes.unwrap().value);
    assert!((net_before.0..=net_after.0).contains(&rx) && rx > 0);
    assert!((net_before.1..=net_after.1).contains(&tx) && tx > 0);
    assert_eq!(network.interfaces, [], "loopback is no interface of interest");
    let ids: BTreeSet<String> = linux
        .containers
        .into_iter()
        .map(|stats| stats.attributes.unwrap().id)
        .collect();
    assert_eq!(ids, BTreeSet::from([container.id.clone(), beside.id.clone()]));
    pod.remove().await;
}

/// A control group and a network namespace whose files are open take memory of the kernel's after they are removed.
async fn a_pods_files_are_open_while_it_is_ready() {
    let daemon = shared().await;
    let pod = Pod::run_with(daemon, "open-files", |_| {}).await;
    let pid = pod.idle("main").await.pid().await;
    let (group, counters) = (format!("{}/", pod.cgroup()), format!("/proc/{pid}/net/dev"));
    let counters = fs::metadata(counters).unwrap().ino();
    let open = || {
        let (mut groups, mut networks) = (0, 0);
        for descriptor in fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap() {
            let path = descriptor.unwrap().path();
            let target = fs::read_link(&path).unwrap_or_default();
            groups += usize::from(target.to_string_lossy().contains(&group));
            let is_of_the_network = |file: fs::Metadata| file.ino() == counters;
            networks +=
                usize::from(target.ends_with("net/dev") && fs::metadata(&path).is_ok_and(is_of_the_network));
        }
        (groups, networks)
    };

    pod_stats(daemon, &pod.id).await;
    let once = open();
    pod_stats(daemon, &pod.id).await;
    let twice = open();
    pod.stop().await;

    assert!(once.0 > 0 && once.1 == 1, "{once:?}");
    assert_eq!(twice, once);
    eventually("the files are closed", async || (open() == (0, 0)).then_some(())).await;
    pod.remove().await;
}

async fn a_pod_in_the_nodes_network_has_no_traffic_of_its_own() {
    let pod = Pod::run(shared().await, "node-traffic").await;
    pod.idle("main").await;

    let linux = pod_stats(shared().await, &pod.id).await.linux.unwrap();

    assert_eq!(linux.network, None);
    assert!(linux.memory.unwrap().usage_bytes.unwrap().value > 0);
    pod.remove().await;
}

async fn pods_are_measured_by_id_and_label() {
    let (one, other) = (
        Pod::run(shared().await, "by-one").await,
        Pod::run(shared().await, "by-other").await,
    );
    let stopped = Pod::run(shared().await, "by-stopped").await;
    stopped.stop().await;
    let list = async |filter: v1::PodSandboxStatsFilter| -> BTreeSet<String> {
        let request = v1::ListPodSandboxStatsRequest {
            filter: Some(filter.clone()),
        };
        let mut client = runtime(shared().await);
        let listed = client
            .list_pod_sandbox_stats(request)
            .await
            .unwrap()
            .into_inner()
            .stats;
        let ids = |stats: Vec<v1::PodSandboxStats>| -> BTreeSet<String> {
            stats
                .into_iter()
                .map(|stats| stats.attributes.unwrap().id)
                .collect()
        };
        let request = v1::StreamPodSandboxStatsRequest { filter: Some(filter) };
        let mut stream = client
            .stream_pod_sandbox_stats(request)
            .await
            .unwrap()
            .into_inner();
        let mut streamed = vec![];
        while let Some(message) = stream.message().await.unwrap() {
            streamed.extend(message.pod_sandbox_stats);
        }
        // Others come and go meanwhile.
        let own = |ids: BTreeSet<String>| -> BTreeSet<String> {
            let own = [&one.id, &other.id, &stopped.id];
            ids.into_iter().filter(|id| own.contains(&id)).collect()
        };
        assert_eq!(own(ids(streamed)), own(ids(listed.clone())));
        own(ids(listed))
    };
    let label = one.config.labels["test"].clone();

    let all = list(v1::PodSandboxStatsFilter::default()).await;
    let by_id = list(v1::PodSandboxStatsFilter {
        id: one.id[..20].to_owned(),
        ..Default::default()
    })
    .await;
    let by_label = list(v1::PodSandboxStatsFilter {
        label_selector: [("test".to_owned(), label)].into(),
        ..Default::default()
    })
    .await;

    assert_eq!(all, BTreeSet::from([one.id.clone(), other.id.clone()]));
    assert_eq!(
        (by_id, by_label),
        ([one.id.clone()].into(), [one.id.clone()].into())
    );
    for pod in [one, other, stopped] {
        pod.remove().await;
    }
}

async fn what_is_not_there_is_not_measured() {
    let mut client = runtime(shared().await);
    let unknown = "0".repeat(64);
    let pod = v1::PodSandboxStatsRequest {
        pod_sandbox_id: unknown.clone(),
    };
    let container = v1::ContainerStatsRequest {
        container_id: unknown.clone(),
    };
    let empty = v1::PodSandboxStatsRequest::default();

    assert_eq!(
        refused(client.pod_sandbox_stats(pod)).await.code(),
        Code::NotFound
    );
    assert_eq!(
        refused(client.container_stats(container)).await.code(),
        Code::NotFound
    );
    assert_eq!(
        refused(client.pod_sandbox_stats(empty)).await.code(),
        Code::InvalidArgument
    );
}

/// What a process would leave behind in its parent: a living or dead child, or the page faults of one that was waited
/// for (proc_pid_stat(5), cminflt).
fn offspring(pid: i32) -> (BTreeSet<String>, Vec<String>) {
    let mut children = BTreeSet::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let text = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        children.extend(text.split_whitespace().map(str::to_owned));
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<String> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    (children, vec![fields[8].clone(), fields[10].clone()])
}

async fn asking_starts_no_process() {
    let daemon = Daemon::with_images("no-process").await;
    let pod = Pod::run_with(&daemon, "no-process", |_| {}).await;
    let container = pod.idle("main").await;
    let mut client = runtime(&daemon);
    let zygote: i32 = offspring(daemon.pid()).0.first().unwrap().parse().unwrap();
    let all = || (offspring(daemon.pid()), offspring(zygote));
    let before = all();

    for _ in 0..20 {
        client.status(v1::StatusRequest { verbose: true }).await.unwrap();
        client
            .list_pod_sandbox(v1::ListPodSandboxRequest::default())
            .await
            .unwrap();
        client
            .list_containers(v1::ListContainersRequest::default())
            .await
            .unwrap();
        client
            .list_container_stats(v1::ListContainerStatsRequest::default())
            .await
            .unwrap();
        client
            .list_pod_sandbox_stats(v1::ListPodSandboxStatsRequest::default())
            .await
            .unwrap();
        stats(&daemon, &container.id).await;
        pod_stats(&daemon, &pod.id).await;
        daemon
            .images()
            .list_images(k8s_cri::v1::ListImagesRequest::default())
            .await
            .unwrap();
    }

    assert_eq!(all(), before);
    // The counters do tell of processes.
    container.remove().await;
    pod.remove().await;
    assert_ne!(all(), before);
}
