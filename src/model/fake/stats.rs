//! The fake's measurements: the same for every running container.

use std::sync::Arc;

use crate::model::{
    ContainerFilter, ContainerMetrics, ContainerState, ContainerStats, CpuUsage, Group, GroupStats,
    MemoryUsage, Result, Stats,
};

use super::{Entry, Fake};

impl Entry {
    fn stats(&self) -> ContainerStats {
        let running = self.status.state == ContainerState::Running;
        ContainerStats {
            id: self.status.id.clone(),
            group: running.then(|| group(self.status.created_at)),
            writable_layer: None,
        }
    }
}

fn group(timestamp: i64) -> GroupStats {
    GroupStats {
        timestamp,
        cpu: Some(CpuUsage {
            usage_core_nano_seconds: 1_000_000,
            ..CpuUsage::default()
        }),
        memory: Some(MemoryUsage {
            working_set_bytes: 4096,
            usage_bytes: 8192,
            ..MemoryUsage::default()
        }),
        tasks: Some(1),
        io_pressure: None,
    }
}

/// Measured when it was asked for.
#[derive(Debug)]
struct FakeGroup(i64);

impl Group for FakeGroup {
    fn measure(&self) -> GroupStats {
        group(self.0)
    }
}

impl Stats for Fake {
    async fn container_stats(&self, id: &str) -> Result<ContainerStats> {
        Ok(self.enter("container_stats")?.get(id)?.stats())
    }

    async fn list_container_stats(&self, filter: ContainerFilter) -> Result<Vec<ContainerStats>> {
        let state = self.enter("list_container_stats")?;
        let running = |entry: &&Entry| entry.status.state == ContainerState::Running;
        let entries = state.matching(&filter).into_iter().filter(running);
        Ok(entries.map(Entry::stats).collect())
    }

    async fn list_container_metrics(&self, filter: ContainerFilter) -> Result<Vec<ContainerMetrics>> {
        let all = self.list_container_stats(filter).await?.into_iter();
        let metrics = all.map(|stats| ContainerMetrics {
            stats,
            ..ContainerMetrics::default()
        });
        Ok(metrics.collect())
    }

    fn group(&self, _path: &str) -> Arc<dyn Group> {
        Arc::new(FakeGroup(self.lock().clock))
    }

    async fn group_stats(&self, groups: Vec<Arc<dyn Group>>) -> Result<Vec<GroupStats>> {
        let _state = self.enter("group_stats")?;
        Ok(groups.iter().map(|group| group.measure()).collect())
    }

    fn image_is_used(&self, image_id: &str) -> bool {
        let state = self.lock();
        let mut untagged = state.containers.values().filter(|it| it.config.tags.is_empty());
        untagged.any(|container| container.status.image_id == image_id)
    }
}
