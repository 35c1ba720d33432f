//! What metrics tell of running containers: their statistics, and what is read less often.

use super::Core;
use super::entry::Entry;
use crate::model::{Capacity, ContainerMetrics, Detail, Disk, FilesystemUsage};
use crate::sys::cgroup::detail as found;

impl Core {
    pub(super) fn measure_whole(&self, entry: &Entry) -> ContainerMetrics {
        let stats = self.measure(entry);
        let capacity = stats.writable_layer.as_ref().and_then(capacity);
        ContainerMetrics {
            stats,
            started_at: entry.status().started_at,
            cgroup: entry.record.cgroup.clone(),
            capacity,
            detail: entry.reader().map(|r| detail(r.detail())).unwrap_or_default(),
        }
    }
}

fn capacity(layer: &FilesystemUsage) -> Option<Capacity> {
    let found = rustix::fs::statvfs(&layer.mountpoint).ok()?;
    Some(Capacity {
        bytes: found.f_blocks * found.f_frsize,
        inodes: found.f_files,
        inodes_free: found.f_ffree,
    })
}

fn detail(from: found::Detail) -> Detail {
    let disk = |from: found::Disk| Disk {
        read_bytes: from.read_bytes,
        written_bytes: from.written_bytes,
        reads: from.reads,
        writes: from.writes,
    };
    let pages = from.hugepages.into_iter();
    Detail {
        cpu_user: from.cpu_user,
        cpu_system: from.cpu_system,
        cpu_periods: from.cpu_periods,
        cpu_throttled_periods: from.cpu_throttled_periods,
        cpu_throttled: from.cpu_throttled,
        cpu_shares: from.cpu_shares,
        cpu_period: from.cpu_period,
        cpu_quota: from.cpu_quota,
        memory_peak: from.memory_peak,
        memory_failures: from.memory_failures,
        memory_kernel: from.memory_kernel,
        memory_reservation: from.memory_reservation,
        oom_kills: from.oom_kills,
        tasks_limit: from.tasks_limit,
        disks: from.disks.into_iter().map(|(key, of)| (key, disk(of))).collect(),
        hugepages: pages.map(|(size, of)| (size, (of.usage, of.peak))).collect(),
        processes: from.processes.count,
        descriptors: from.processes.descriptors,
        sockets: from.processes.sockets,
        files_limit: from.processes.files_limit,
    }
}
