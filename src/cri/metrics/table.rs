//! The metrics, one row each, under the names and with the labels that cAdvisor gave them. Descriptors and values both
//! come from here, so a value without a descriptor cannot be.
//!
//! CRI's values are whole numbers: times are in whole seconds, as the names say. What the kernel does not account for
//! is 0 where every container must have a value, and not there otherwise; a limit that is not set is 0.

use crate::cri::wire::v1::MetricType::{self, Counter, Gauge};
use crate::model::{ContainerMetrics, Disk, MemoryUsage, Pressure, Stall};
use crate::sys::cgroup::{self, Version};
use crate::sys::traffic::Interface;

/// The labels that every metric has, first.
pub(super) const BASE: [&str; 6] = ["container", "id", "image", "name", "namespace", "pod"];

/// A metric of what `T` measures.
pub(super) struct Row<T> {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: MetricType,
    /// Labels after [`BASE`].
    pub(super) labels: &'static [&'static str],
    /// Values, each with its own labels.
    pub(super) values: fn(&T) -> Vec<Value>,
    /// Whether this machine accounts for it.
    pub(super) there: fn() -> bool,
}

/// The values of a row's own labels, and the metric's.
pub(super) type Value = (Vec<String>, u64);

const SECOND: u64 = 1_000_000_000;

const fn row<T>(
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    labels: &'static [&'static str],
    values: fn(&T) -> Vec<Value>,
) -> Row<T> {
    Row {
        name,
        help,
        kind,
        labels,
        values,
        there: || true,
    }
}

const fn only<T>(row: Row<T>, there: fn() -> bool) -> Row<T> {
    Row { there, ..row }
}

type C = ContainerMetrics;

/// Metrics of a container.
#[rustfmt::skip]
pub(super) const CONTAINER: &[Row<C>] = &[
    row("container_blkio_device_usage_total", "Bytes transferred, by disk and direction", Counter,
        &["device", "major", "minor", "operation"], block_io),
    row("container_cpu_cfs_periods_total", "Periods that the processor quota was counted in", Counter, &[], |c| one(c.detail.cpu_periods)),
    row("container_cpu_cfs_throttled_periods_total", "Periods in which the processor quota was used up", Counter, &[], |c| one(c.detail.cpu_throttled_periods)),
    row("container_cpu_cfs_throttled_seconds_total", "Seconds spent waiting for the next period", Counter, &[], |c| seconds(c.detail.cpu_throttled)),
    row("container_cpu_system_seconds_total", "Seconds of processor time in the kernel", Counter, &[], |c| seconds(c.detail.cpu_system)),
    row("container_cpu_usage_seconds_total", "Seconds of processor time", Counter, &["cpu"], |c| vec![(vec!["total".into()], cpu(c) / SECOND)]),
    row("container_cpu_user_seconds_total", "Seconds of processor time in user mode", Counter, &[], |c| seconds(c.detail.cpu_user)),
    row("container_file_descriptors", "Open file descriptors", Gauge, &[], |c| one(Some(c.detail.descriptors))),
    row("container_fs_inodes_free", "Inodes free on the file system of the writable layer", Gauge, &["device"], |c| layer(c, c.capacity.map(|s| s.inodes_free))),
    row("container_fs_inodes_total", "Inodes on the file system of the writable layer", Gauge, &["device"], |c| layer(c, c.capacity.map(|s| s.inodes))),
    row("container_fs_limit_bytes", "Bytes that the file system of the writable layer has", Gauge, &["device"], |c| layer(c, c.capacity.map(|s| s.bytes))),
    row("container_fs_reads_bytes_total", "Bytes read, by disk", Counter, &["device"], |c| disks(c, |d| d.read_bytes)),
    row("container_fs_reads_total", "Reads, by disk", Counter, &["device"], |c| disks(c, |d| d.reads)),
    row("container_fs_usage_bytes", "Bytes in the writable layer, as last counted", Gauge, &["device"], |c| layer(c, c.stats.writable_layer.as_ref().map(|l| l.used_bytes))),
    row("container_fs_writes_bytes_total", "Bytes written, by disk", Counter, &["device"], |c| disks(c, |d| d.written_bytes)),
    row("container_fs_writes_total", "Writes, by disk", Counter, &["device"], |c| disks(c, |d| d.writes)),
    only(row("container_hugetlb_max_usage_bytes", "Most bytes in huge pages at once", Gauge, &["pagesize"], |c| pages(c, |(_, peak)| peak)), huge_pages_v1),
    only(row("container_hugetlb_usage_bytes", "Bytes in huge pages", Gauge, &["pagesize"], |c| pages(c, |(usage, _)| Some(usage))), huge_pages),
    row("container_last_seen", "When the container was last seen, in seconds since the epoch", Gauge, &[], |c| one(c.stats.group.as_ref().map(|g| since_epoch(g.timestamp)))),
    row("container_memory_cache", "Bytes of page cache", Gauge, &[], |c| memory(c, |m| m.cache_bytes)),
    row("container_memory_failcnt", "How often the memory limit was hit", Counter, &[], |c| one(c.detail.memory_failures)),
    row("container_memory_failures_total", "Page faults", Counter, &["failure_type", "scope"], faults),
    row("container_memory_kernel_usage", "Bytes of the kernel for the container", Gauge, &[], |c| one(c.detail.memory_kernel)),
    row("container_memory_mapped_file", "Bytes of mapped files", Gauge, &[], |c| memory(c, |m| m.mapped_file_bytes)),
    row("container_memory_max_usage_bytes", "Most bytes in use at once", Gauge, &[], |c| one(c.detail.memory_peak)),
    row("container_memory_rss", "Bytes of anonymous memory", Gauge, &[], |c| memory(c, |m| m.rss_bytes)),
    row("container_memory_swap", "Bytes of swap in use", Gauge, &[], |c| memory(c, |m| m.swap_usage_bytes.unwrap_or(0))),
    row("container_memory_usage_bytes", "Bytes in use, page cache included", Gauge, &[], |c| memory(c, |m| m.usage_bytes)),
    row("container_memory_working_set_bytes", "Bytes in use without inactive page cache", Gauge, &[], |c| memory(c, |m| m.working_set_bytes)),
    row("container_oom_events_total", "Kills for want of memory", Counter, &[], |c| one(c.detail.oom_kills)),
    only(row("container_pressure_cpu_stalled_seconds_total", "Seconds in which no task could run for want of a processor", Counter, &[], |c| stalled(cpu_pressure(c), |p| p.full)), pressure),
    only(row("container_pressure_cpu_waiting_seconds_total", "Seconds in which some task waited for a processor", Counter, &[], |c| stalled(cpu_pressure(c), |p| p.some)), pressure),
    only(row("container_pressure_io_stalled_seconds_total", "Seconds in which all tasks waited for disks", Counter, &[], |c| stalled(io_pressure(c), |p| p.full)), pressure),
    only(row("container_pressure_io_waiting_seconds_total", "Seconds in which some task waited for disks", Counter, &[], |c| stalled(io_pressure(c), |p| p.some)), pressure),
    only(row("container_pressure_memory_stalled_seconds_total", "Seconds in which all tasks waited for memory", Counter, &[], |c| stalled(memory_pressure(c), |p| p.full)), pressure),
    only(row("container_pressure_memory_waiting_seconds_total", "Seconds in which some task waited for memory", Counter, &[], |c| stalled(memory_pressure(c), |p| p.some)), pressure),
    row("container_processes", "Processes", Gauge, &[], |c| one(Some(c.detail.processes))),
    row("container_sockets", "Open sockets", Gauge, &[], |c| one(Some(c.detail.sockets))),
    row("container_spec_cpu_period", "Microseconds of a period of the processor quota", Gauge, &[], |c| one(c.detail.cpu_period)),
    row("container_spec_cpu_quota", "Microseconds of processor time allowed in a period; 0: no quota", Gauge, &[], |c| one(c.detail.cpu_quota)),
    row("container_spec_cpu_shares", "Weight among those that want a processor", Gauge, &[], |c| one(c.detail.cpu_shares)),
    row("container_spec_memory_limit_bytes", "Most bytes of memory; 0: no limit", Gauge, &[], |c| memory(c, |m| m.limit_bytes.unwrap_or(0))),
    row("container_spec_memory_reservation_limit_bytes", "Bytes of memory that are kept for the container; 0: none", Gauge, &[], |c| one(c.detail.memory_reservation)),
    row("container_spec_memory_swap_limit_bytes", "Most bytes of memory and swap; 0: no limit", Gauge, &[], |c| memory(c, both_limits)),
    row("container_start_time_seconds", "When the container was started, in seconds since the epoch", Gauge, &[], |c| one(Some(since_epoch(c.started_at)))),
    row("container_threads", "Threads", Gauge, &[], |c| one(c.stats.group.as_ref().and_then(|g| g.tasks))),
    row("container_threads_max", "Most threads; 0: no limit", Gauge, &[], |c| one(c.detail.tasks_limit)),
    row("container_ulimits_soft", "Soft limits of the first process", Gauge, &["ulimit"], |c| {
        c.detail.files_limit.map(|limit| (vec!["max_open_files".into()], limit)).into_iter().collect()
    }),
];

/// Metrics of an interface of a sandbox.
#[rustfmt::skip]
pub(super) const NETWORK: &[Row<Interface>] = &[
    row("container_network_receive_bytes_total", "Bytes received", Counter, &["interface"], |i| interface(i, i.received.bytes)),
    row("container_network_receive_errors_total", "Errors while receiving", Counter, &["interface"], |i| interface(i, i.received.errors)),
    row("container_network_receive_packets_dropped_total", "Packets dropped while receiving", Counter, &["interface"], |i| interface(i, i.received.dropped)),
    row("container_network_receive_packets_total", "Packets received", Counter, &["interface"], |i| interface(i, i.received.packets)),
    row("container_network_transmit_bytes_total", "Bytes sent", Counter, &["interface"], |i| interface(i, i.sent.bytes)),
    row("container_network_transmit_errors_total", "Errors while sending", Counter, &["interface"], |i| interface(i, i.sent.errors)),
    row("container_network_transmit_packets_dropped_total", "Packets dropped while sending", Counter, &["interface"], |i| interface(i, i.sent.dropped)),
    row("container_network_transmit_packets_total", "Packets sent", Counter, &["interface"], |i| interface(i, i.sent.packets)),
];

fn one(value: Option<u64>) -> Vec<Value> {
    vec![(vec![], value.unwrap_or(0))]
}

fn seconds(nanoseconds: Option<u64>) -> Vec<Value> {
    one(nanoseconds.map(|ns| ns / SECOND))
}

fn since_epoch(nanoseconds: i64) -> u64 {
    u64::try_from(nanoseconds).unwrap_or(0) / SECOND
}

fn cpu(c: &C) -> u64 {
    let cpu = c.stats.group.as_ref().and_then(|group| group.cpu);
    cpu.map_or(0, |cpu| cpu.usage_core_nano_seconds)
}

fn memory(c: &C, of: fn(&MemoryUsage) -> u64) -> Vec<Value> {
    one(c
        .stats
        .group
        .as_ref()
        .and_then(|group| group.memory.as_ref())
        .map(of))
}

fn both_limits(memory: &MemoryUsage) -> u64 {
    let limits = memory.limit_bytes.zip(memory.swap_limit_bytes);
    limits.map_or(0, |(memory, swap)| memory + swap)
}

fn faults(c: &C) -> Vec<Value> {
    let memory = c.stats.group.as_ref().and_then(|group| group.memory);
    let memory = memory.unwrap_or_default();
    let kinds = [
        ("pgfault", memory.page_faults),
        ("pgmajfault", memory.major_page_faults),
    ];
    let mut values = vec![];
    for (kind, count) in kinds {
        // A container's group has its processes below it, so both scopes are the same.
        for scope in ["container", "hierarchy"] {
            values.push((vec![kind.into(), scope.into()], count));
        }
    }
    values
}

fn layer(c: &C, value: Option<u64>) -> Vec<Value> {
    let layer = c.stats.writable_layer.as_ref();
    let directory = layer.map(|layer| layer.mountpoint.to_string_lossy().into_owned());
    let known = directory
        .zip(value)
        .map(|(directory, value)| (vec![directory], value));
    known.into_iter().collect()
}

fn disks(c: &C, of: fn(&Disk) -> u64) -> Vec<Value> {
    let disks = c.detail.disks.iter();
    disks
        .map(|(number, disk)| (vec![device(number)], of(disk)))
        .collect()
}

fn block_io(c: &C) -> Vec<Value> {
    let mut values = vec![];
    for (number, disk) in &c.detail.disks {
        let (major, minor) = number.split_once(':').unwrap_or((number, ""));
        for (operation, bytes) in [("Read", disk.read_bytes), ("Write", disk.written_bytes)] {
            let labels = [device(number), major.into(), minor.into(), operation.into()];
            values.push((labels.into(), bytes));
        }
    }
    values
}

/// The device of a `major:minor`, or that when the kernel has no name for it.
fn device(number: &str) -> String {
    let link = std::fs::read_link(format!("/sys/dev/block/{number}")).unwrap_or_default();
    match link.file_name() {
        Some(name) => format!("/dev/{}", name.to_string_lossy()),
        None => number.to_owned(),
    }
}

fn pages(c: &C, of: fn((u64, Option<u64>)) -> Option<u64>) -> Vec<Value> {
    let sizes = c.detail.hugepages.iter();
    sizes
        .filter_map(|(size, pages)| Some((vec![size.clone()], of(*pages)?)))
        .collect()
}

fn interface(of: &Interface, value: u64) -> Vec<Value> {
    vec![(vec![of.name.clone()], value)]
}

fn stalled(pressure: Option<Pressure>, of: fn(Pressure) -> Stall) -> Vec<Value> {
    one(pressure.map(|pressure| of(pressure).total / 1_000_000))
}

fn cpu_pressure(c: &C) -> Option<Pressure> {
    c.stats.group.as_ref()?.cpu?.pressure
}

fn memory_pressure(c: &C) -> Option<Pressure> {
    c.stats.group.as_ref()?.memory?.pressure
}

fn io_pressure(c: &C) -> Option<Pressure> {
    c.stats.group.as_ref()?.io_pressure
}

fn pressure() -> bool {
    cgroup::version() == Version::V2 && std::path::Path::new("/proc/pressure/cpu").exists()
}

fn huge_pages() -> bool {
    match cgroup::version() {
        Version::V1 => huge_pages_v1(),
        Version::V2 => std::fs::read_to_string(format!("{}/cgroup.controllers", cgroup::ROOT))
            .is_ok_and(|names| names.split_whitespace().any(|name| name == "hugetlb")),
    }
}

fn huge_pages_v1() -> bool {
    cgroup::controllers().contains(&"hugetlb")
}
