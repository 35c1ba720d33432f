//! The model's [`Stats`]: usage read from the cgroup's files when asked, rates from the last two readings.

use super::registry::{Entry, Phase};
use super::{Core, now};
use crate::model::{
    ContainerFilter, ContainerState, ContainerStateValue, ContainerStats, CpuUsage, Error, MemoryUsage,
    Result, Stats,
};
use crate::sys::cgroup::Cgroup;
use crate::sys::cgroup::stats::Usage;

impl Stats for Core {
    async fn container_stats(&self, id: &str) -> Result<ContainerStats> {
        let entry = self.inner.registry.find(id)?;
        let core = self.clone();
        blocking(move || core.measure(&entry)).await
    }

    async fn list_container_stats(&self, filter: ContainerFilter) -> Result<Vec<ContainerStats>> {
        let running = ContainerStateValue {
            state: ContainerState::Running,
        };
        let filter = ContainerFilter {
            state: Some(filter.state.unwrap_or(running)),
            ..filter
        };
        let chosen = self.inner.registry.select(Some(&filter));
        let core = self.clone();
        blocking(move || chosen.iter().map(|entry| core.measure(entry)).collect()).await
    }
}

/// Reading a control file can wait for a lock of the kernel's.
async fn blocking<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let task = tokio::task::spawn_blocking(read).await;
    task.map_err(|e| Error::internal("reading of usage ended badly").because(e))
}

impl Core {
    fn measure(&self, entry: &Entry) -> ContainerStats {
        let mut stats = ContainerStats {
            id: entry.id.clone(),
            writable_layer: self.inner.images.writable_layer_usage(&entry.id),
            ..ContainerStats::default()
        };
        let Phase::Running(_) = entry.phase() else {
            return stats;
        };
        let Ok(group) = Cgroup::new(&entry.record.cgroup) else {
            return stats;
        };
        let (usage, timestamp) = (group.usage(), now());
        stats.cpu = usage.cpu.total.map(|total| cpu(entry, timestamp, total));
        stats.memory = usage.memory.usage.map(|bytes| memory(&usage, timestamp, bytes));
        stats.processes = usage.pids.current;
        stats
    }
}

fn cpu(entry: &Entry, timestamp: i64, total: u64) -> CpuUsage {
    let before = entry.exchange_cpu((timestamp, total));
    let rate = before.and_then(|(when, used)| {
        let elapsed = u64::try_from(timestamp - when).ok().filter(|ns| *ns > 0)?;
        let nanoseconds = u128::from(total.saturating_sub(used)) * 1_000_000_000;
        u64::try_from(nanoseconds / u128::from(elapsed)).ok()
    });
    CpuUsage {
        timestamp,
        usage_core_nano_seconds: total,
        usage_nano_cores: rate,
    }
}

fn memory(usage: &Usage, timestamp: i64, bytes: u64) -> MemoryUsage {
    let memory = &usage.memory;
    let working_set_bytes = memory.working_set.unwrap_or(bytes);
    MemoryUsage {
        timestamp,
        working_set_bytes,
        available_bytes: memory.limit.map(|limit| limit.saturating_sub(working_set_bytes)),
        usage_bytes: bytes,
        rss_bytes: memory.rss.unwrap_or(0),
        page_faults: memory.page_faults.unwrap_or(0),
        major_page_faults: memory.major_page_faults.unwrap_or(0),
        swap_usage_bytes: memory.swap,
        swap_available_bytes: memory
            .swap_limit
            .map(|limit| limit.saturating_sub(memory.swap.unwrap_or(0))),
    }
}
