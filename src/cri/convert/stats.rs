//! Measurements of a container.

use crate::cri::wire::v1;
use crate::model::{Container, ContainerStats, CpuUsage, MemoryUsage};

use super::image::filesystem;
use super::status::metadata;

/// The wire's measurements of a container.
pub(in crate::cri) fn container_stats(of: Container, from: ContainerStats) -> v1::ContainerStats {
    v1::ContainerStats {
        attributes: Some(v1::ContainerAttributes {
            id: of.id,
            metadata: metadata(&of.tags, of.metadata),
            labels: of.labels,
            annotations: of.annotations,
        }),
        swap: from.memory.as_ref().map(swap),
        cpu: from.cpu.map(cpu),
        memory: from.memory.map(memory),
        writable_layer: from.writable_layer.map(filesystem),
        io: None,
    }
}

fn cpu(from: CpuUsage) -> v1::CpuUsage {
    v1::CpuUsage {
        timestamp: from.timestamp,
        usage_core_nano_seconds: number(from.usage_core_nano_seconds),
        usage_nano_cores: from.usage_nano_cores.and_then(number),
        psi: None,
    }
}

fn memory(from: MemoryUsage) -> v1::MemoryUsage {
    v1::MemoryUsage {
        timestamp: from.timestamp,
        working_set_bytes: number(from.working_set_bytes),
        available_bytes: from.available_bytes.and_then(number),
        usage_bytes: number(from.usage_bytes),
        rss_bytes: number(from.rss_bytes),
        page_faults: number(from.page_faults),
        major_page_faults: number(from.major_page_faults),
        psi: None,
    }
}

fn swap(from: &MemoryUsage) -> v1::SwapUsage {
    v1::SwapUsage {
        timestamp: from.timestamp,
        swap_available_bytes: from.swap_available_bytes.and_then(number),
        swap_usage_bytes: from.swap_usage_bytes.and_then(number),
    }
}

fn number(value: u64) -> Option<v1::UInt64Value> {
    Some(v1::UInt64Value { value })
}
