//! Metrics: the whole set that cAdvisor's consumers know, and values that are those of the cgroup's files.

use std::collections::{BTreeMap, BTreeSet};

use coracle::cri::wire::v1;
use libtest_mimic::Trial;

use crate::harness::cgroup::{cgroup, number};
use crate::harness::daemon::shared;
use crate::harness::pod::{Pod, resources};
use crate::harness::trials;
use crate::streams::runtime;

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        every_metric_that_is_asked_for_is_described,
        every_metric_has_a_value_with_the_labels_of_its_descriptor,
        values_are_those_of_the_cgroup,
        a_stream_of_metrics_tells_the_same,
    ]
}

/// What the newest conformance suite asks for; those after the blank line need not have a value.
const ASKED: &str = "
container_cpu_cfs_periods_total container_cpu_cfs_throttled_periods_total container_cpu_cfs_throttled_seconds_total
container_cpu_system_seconds_total container_cpu_usage_seconds_total container_cpu_user_seconds_total
container_file_descriptors container_fs_inodes_free container_fs_inodes_total container_fs_limit_bytes
container_fs_usage_bytes container_last_seen container_memory_cache container_memory_failcnt
container_memory_failures_total container_memory_kernel_usage container_memory_mapped_file
container_memory_max_usage_bytes container_memory_rss container_memory_swap container_memory_usage_bytes
container_memory_working_set_bytes container_network_receive_bytes_total container_network_receive_errors_total
container_network_receive_packets_dropped_total container_network_receive_packets_total
container_network_transmit_bytes_total container_network_transmit_errors_total
container_network_transmit_packets_dropped_total container_network_transmit_packets_total
container_oom_events_total container_processes container_sockets container_spec_cpu_period container_spec_cpu_shares
container_spec_memory_limit_bytes container_spec_memory_swap_limit_bytes container_start_time_seconds
container_threads container_threads_max

container_blkio_device_usage_total container_fs_reads_bytes_total container_fs_reads_total
container_fs_writes_bytes_total container_fs_writes_total";

fn asked() -> (Vec<&'static str>, Vec<&'static str>) {
    let (must, may) = ASKED.split_once("\n\n").unwrap();
    (
        must.split_whitespace().collect(),
        may.split_whitespace().collect(),
    )
}

async fn descriptors() -> BTreeMap<String, Vec<String>> {
    let request = v1::ListMetricDescriptorsRequest {};
    let answer = runtime(shared().await).list_metric_descriptors(request).await;
    let all = answer.unwrap().into_inner().descriptors.into_iter();
    all.map(|one| (one.name, one.label_keys)).collect()
}

async fn metrics_of(pod: &Pod<'_>) -> v1::PodSandboxMetrics {
    let request = v1::ListPodSandboxMetricsRequest {};
    let answer = runtime(shared().await).list_pod_sandbox_metrics(request).await;
    let mut all = answer.unwrap().into_inner().pod_metrics.into_iter();
    all.find(|metrics| metrics.pod_sandbox_id == pod.id).unwrap()
}

async fn every_metric_that_is_asked_for_is_described() {
    let (must, may) = asked();
    let described = descriptors().await;

    let missing: Vec<_> = must
        .iter()
        .chain(&may)
        .filter(|name| !described.contains_key(**name))
        .collect();

    assert_eq!(must.len() + may.len(), 45);
    assert!(missing.is_empty(), "{missing:?}");
}

async fn every_metric_has_a_value_with_the_labels_of_its_descriptor() {
    let pod = Pod::run_with(shared().await, "metrics", |_| {}).await;
    let container = pod.idle("main").await;
    let described = descriptors().await;

    let found = metrics_of(&pod).await;

    let metrics: Vec<_> = found
        .container_metrics
        .iter()
        .flat_map(|one| &one.metrics)
        .chain(&found.metrics)
        .collect();
    let names: BTreeSet<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
    let without: Vec<_> = asked()
        .0
        .into_iter()
        .filter(|name| !names.contains(name))
        .collect();
    assert!(without.is_empty(), "{without:?}");
    let name = &pod.config.metadata.as_ref().unwrap().name;
    for metric in &metrics {
        let keys = &described[&metric.name];
        assert_eq!(metric.label_values.len(), keys.len(), "{}", metric.name);
        let label = |key: &str| &metric.label_values[keys.iter().position(|k| k == key).unwrap()];
        assert_eq!((label("pod"), label("namespace").as_str()), (name, "e2e"));
        assert!(metric.timestamp > 0 && metric.value.is_some());
        if metric.name.starts_with("container_network") {
            assert_eq!(label("interface"), "eth0");
        } else {
            assert_eq!(
                (label("container").as_str(), label("name")),
                ("main", &container.id)
            );
        }
    }
    pod.remove().await;
}

async fn values_are_those_of_the_cgroup() {
    let pod = Pod::run(shared().await, "metrics-values").await;
    let container = pod
        .start_with("main", &["sleep", "infinity"], |config| {
            let resources = resources(config);
            resources.cpu_period = 100_000;
            resources.cpu_quota = 20_000;
            resources.cpu_shares = 1024;
            resources.memory_limit_in_bytes = 64 << 20;
        })
        .await;
    let cgroup = cgroup(&container).await;
    let pid = container.pid().await;
    let usage = || number(&cgroup, "memory", "memory.usage_in_bytes", "memory.current");

    let before = usage();
    let found = metrics_of(&pod).await;
    let after = usage();

    let own = &found.container_metrics[0];
    assert_eq!(
        (&own.container_id, found.container_metrics.len()),
        (&container.id, 1)
    );
    let value = |name: &str| {
        let metric = own.metrics.iter().find(|metric| metric.name == name);
        metric.unwrap_or_else(|| panic!("no {name}")).value.unwrap().value
    };
    let memory = value("container_memory_usage_bytes");
    assert!(before.min(after) <= memory + 65536 && memory <= before.max(after) + 65536);
    let rss = number(&cgroup, "memory", "memory.stat:total_rss", "memory.stat:anon");
    assert!(value("container_memory_rss").abs_diff(rss) <= 65536);
    assert_eq!(value("container_spec_memory_limit_bytes"), 64 << 20);
    assert_eq!(value("container_spec_cpu_period"), 100_000);
    assert_eq!(value("container_spec_cpu_quota"), 20_000);
    assert!((990..=1040).contains(&value("container_spec_cpu_shares")));
    assert_eq!(value("container_processes"), 1);
    assert_eq!(
        value("container_threads"),
        number(&cgroup, "pids", "pids.current", "pids.current")
    );
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    assert_eq!(value("container_file_descriptors"), open as u64);
    let started = container.status().await.started_at as u64 / 1_000_000_000;
    assert_eq!(value("container_start_time_seconds"), started);
    assert!(value("container_last_seen") >= started);
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    let soft: u64 = files.split_whitespace().nth(3).unwrap().parse().unwrap();
    assert_eq!(value("container_ulimits_soft"), soft);
    assert!(value("container_fs_limit_bytes") > value("container_fs_usage_bytes"));
    assert!(value("container_fs_inodes_total") > value("container_fs_inodes_free"));
    pod.remove().await;
}

async fn a_stream_of_metrics_tells_the_same() {
    let pod = Pod::run(shared().await, "metrics-stream").await;
    pod.idle("main").await;
    let names = |metrics: &v1::PodSandboxMetrics| -> BTreeSet<String> {
        let all = metrics.container_metrics.iter().flat_map(|one| &one.metrics);
        all.map(|metric| metric.name.clone()).collect()
    };

    let listed = metrics_of(&pod).await;
    let request = v1::StreamPodSandboxMetricsRequest {};
    let answer = runtime(shared().await).stream_pod_sandbox_metrics(request).await;
    let mut stream = answer.unwrap().into_inner();
    let mut streamed = vec![];
    while let Some(message) = stream.message().await.unwrap() {
        streamed.extend(message.pod_sandbox_metrics);
    }

    let own = streamed
        .iter()
        .find(|metrics| metrics.pod_sandbox_id == pod.id)
        .unwrap();
    assert_eq!(names(own), names(&listed));
    pod.remove().await;
}
