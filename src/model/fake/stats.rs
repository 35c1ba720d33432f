//! The fake's measurements: the same for every running container.

use crate::model::{ContainerFilter, ContainerState, ContainerStats, CpuUsage, MemoryUsage, Result, Stats};

use super::{Entry, Fake};

impl Entry {
    fn stats(&self) -> ContainerStats {
        let running = self.status.state == ContainerState::Running;
        let timestamp = self.status.created_at;
        ContainerStats {
            id: self.status.id.clone(),
            cpu: running.then_some(CpuUsage {
                timestamp,
                usage_core_nano_seconds: 1_000_000,
                usage_nano_cores: None,
            }),
            memory: running.then_some(MemoryUsage {
                timestamp,
                working_set_bytes: 4096,
                usage_bytes: 8192,
                ..MemoryUsage::default()
            }),
            writable_layer: None,
            processes: running.then_some(1),
        }
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
}
