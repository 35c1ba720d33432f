//! What metrics tell of a container beyond its statistics.

use std::collections::BTreeMap;

use super::stats::ContainerStats;

/// Everything that can be measured of a running container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerMetrics {
    /// Its statistics.
    pub stats: ContainerStats,
    /// When it was started, nanoseconds since the epoch.
    pub started_at: i64,
    /// Path of its control group.
    pub cgroup: String,
    /// Size of the file system of its writable layer; absent when that cannot be told.
    pub capacity: Option<Capacity>,
    /// The rest.
    pub detail: Detail,
}

/// Size of a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each names itself")]
pub struct Capacity {
    pub bytes: u64,
    pub inodes: u64,
    pub inodes_free: u64,
}

/// A control group in detail. What is absent is not accounted here, or not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// Nanoseconds in user mode.
    pub cpu_user: Option<u64>,
    /// Nanoseconds in the kernel.
    pub cpu_system: Option<u64>,
    /// Periods that the quota was counted in.
    pub cpu_periods: Option<u64>,
    /// Those in which it was used up.
    pub cpu_throttled_periods: Option<u64>,
    /// Nanoseconds spent waiting for the next one.
    pub cpu_throttled: Option<u64>,
    /// Weight, as shares.
    pub cpu_shares: Option<u64>,
    /// Microseconds of a period.
    pub cpu_period: Option<u64>,
    /// Microseconds allowed in a period.
    pub cpu_quota: Option<u64>,
    /// Most bytes in use at once.
    pub memory_peak: Option<u64>,
    /// How often the limit was hit.
    pub memory_failures: Option<u64>,
    /// Bytes of the kernel for the group.
    pub memory_kernel: Option<u64>,
    /// Soft limit in bytes.
    pub memory_reservation: Option<u64>,
    /// Kills for want of memory.
    pub oom_kills: Option<u64>,
    /// Most processes and threads.
    pub tasks_limit: Option<u64>,
    /// Disks, by `major:minor`.
    pub disks: BTreeMap<String, Disk>,
    /// Huge pages in use and the most that ever were, in bytes, by size as in `2MB`.
    pub hugepages: BTreeMap<String, (u64, Option<u64>)>,
    /// Processes now.
    pub processes: u64,
    /// What they have open.
    pub descriptors: u64,
    /// Sockets among it.
    pub sockets: u64,
    /// Soft limit of open files of the first process.
    pub files_limit: Option<u64>,
}

/// Traffic of one disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each names itself")]
pub struct Disk {
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub reads: u64,
    pub writes: u64,
}
