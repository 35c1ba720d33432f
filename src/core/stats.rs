//! The model's [`Stats`]: usage read from the cgroup's files when asked, rates from the last two readings.

use std::sync::Arc;

use super::Core;
use super::entry::{Entry, Phase};
use crate::model::{
    ContainerFilter, ContainerMetrics, ContainerState, ContainerStateValue, ContainerStats, CpuUsage, Error,
    Group, GroupStats, MemoryUsage, Pressure, Result, Stall, Stats,
};
use crate::sys::cgroup::stats as found;
use crate::sys::cgroup::{Cgroup, Reader};
use crate::sys::clock::now;

impl Stats for Core {
    async fn container_stats(&self, id: &str) -> Result<ContainerStats> {
        let entry = self.inner.registry.find(id)?;
        let core = self.clone();
        blocking(move || core.measure(&entry)).await
    }

    async fn list_container_stats(&self, filter: ContainerFilter) -> Result<Vec<ContainerStats>> {
        let chosen = self.running(filter);
        let core = self.clone();
        blocking(move || chosen.iter().map(|entry| core.measure(entry)).collect()).await
    }

    async fn list_container_metrics(&self, filter: ContainerFilter) -> Result<Vec<ContainerMetrics>> {
        let chosen = self.running(filter);
        let core = self.clone();
        blocking(move || chosen.iter().map(|entry| core.measure_whole(entry)).collect()).await
    }

    fn group(&self, path: &str) -> Arc<dyn Group> {
        Arc::new(Measured(Cgroup::new(path).ok().map(Reader::new)))
    }

    async fn group_stats(&self, groups: Vec<Arc<dyn Group>>) -> Result<Vec<GroupStats>> {
        blocking(move || groups.iter().map(|group| group.measure()).collect()).await
    }

    fn image_is_used(&self, image_id: &str) -> bool {
        self.inner.registry.uses_untagged(image_id)
    }
}

/// Reading a control file can wait for a lock of the kernel's.
async fn blocking<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let task = tokio::task::spawn_blocking(read).await;
    task.map_err(|e| Error::internal("reading of usage ended badly").because(e))
}

impl Core {
    /// The containers that match, and run if the filter does not say otherwise.
    fn running(&self, filter: ContainerFilter) -> Vec<Arc<Entry>> {
        let running = ContainerStateValue {
            state: ContainerState::Running,
        };
        let state = Some(filter.state.unwrap_or(running));
        self.inner
            .registry
            .select(Some(&ContainerFilter { state, ..filter }))
    }

    pub(super) fn measure(&self, entry: &Entry) -> ContainerStats {
        ContainerStats {
            id: entry.id.clone(),
            group: self.measure_group(entry),
            writable_layer: self.inner.images.writable_layer_usage(&entry.id),
        }
    }

    fn measure_group(&self, entry: &Entry) -> Option<GroupStats> {
        let Phase::Running(_) = entry.phase() else {
            return None;
        };
        let mut group = group(&*entry.reader().ok()?);
        if let Some(cpu) = &mut group.cpu {
            let reading = (group.timestamp, cpu.usage_core_nano_seconds);
            let before = entry.exchange_cpu(reading);
            cpu.usage_nano_cores = before.and_then(|before| CpuUsage::rate(before, reading));
        }
        Some(group)
    }
}

/// A group that is not a container's own, if its path is one.
#[derive(Debug)]
struct Measured(Option<Reader>);

impl Group for Measured {
    fn measure(&self) -> GroupStats {
        self.0.as_ref().map(group).unwrap_or_default()
    }
}

fn group(reader: &Reader) -> GroupStats {
    let usage = reader.usage();
    let cpu = |total| CpuUsage {
        usage_core_nano_seconds: total,
        usage_nano_cores: None,
        pressure: usage.cpu.pressure.map(pressure),
    };
    GroupStats {
        timestamp: now(),
        cpu: usage.cpu.total.map(cpu),
        memory: usage.memory.usage.map(|bytes| memory(&usage.memory, bytes)),
        tasks: usage.tasks,
        io_pressure: usage.io_pressure.map(pressure),
    }
}

fn memory(memory: &found::MemoryUsage, bytes: u64) -> MemoryUsage {
    let working_set_bytes = memory.working_set.unwrap_or(bytes);
    MemoryUsage {
        working_set_bytes,
        available_bytes: memory.limit.map(|limit| limit.saturating_sub(working_set_bytes)),
        usage_bytes: bytes,
        limit_bytes: memory.limit,
        rss_bytes: memory.rss.unwrap_or(0),
        cache_bytes: memory.cache.unwrap_or(0),
        mapped_file_bytes: memory.mapped_file.unwrap_or(0),
        page_faults: memory.page_faults.unwrap_or(0),
        major_page_faults: memory.major_page_faults.unwrap_or(0),
        swap_usage_bytes: memory.swap,
        swap_limit_bytes: memory.swap_limit,
        pressure: memory.pressure.map(pressure),
    }
}

fn pressure(from: found::Pressure) -> Pressure {
    let stall = |from: found::Stall| Stall {
        total: from.total,
        avg10: from.avg10,
        avg60: from.avg60,
        avg300: from.avg300,
    };
    Pressure {
        some: stall(from.some),
        full: stall(from.full),
    }
}
