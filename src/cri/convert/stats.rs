//! Measurements of containers and sandboxes.

use crate::cri::sandbox::Record;
use crate::cri::wire::v1;
use crate::model::{Container, ContainerStats, CpuUsage, GroupStats, MemoryUsage, Pressure, Stall};
use crate::sys::traffic::Interface;

use super::image::filesystem;
use super::sandbox::metadata as sandbox_metadata;
use super::status::metadata;

/// The interface that the network plugins make, and that the pod's address is on.
const DEFAULT_INTERFACE: &str = "eth0";

/// The wire's measurements of a container.
pub(in crate::cri) fn container_stats(of: Container, from: ContainerStats) -> v1::ContainerStats {
    let group = from.group.unwrap_or_default();
    v1::ContainerStats {
        attributes: Some(v1::ContainerAttributes {
            id: of.id,
            metadata: metadata(&of.tags, of.metadata),
            labels: of.labels,
            annotations: of.annotations,
        }),
        swap: group.memory.as_ref().map(|memory| swap(group.timestamp, memory)),
        cpu: group.cpu.map(|from| cpu(group.timestamp, from)),
        memory: group.memory.map(|from| memory(group.timestamp, from)),
        writable_layer: from.writable_layer.map(filesystem),
        io: group.io_pressure.map(|pressure| io(group.timestamp, pressure)),
    }
}

/// The wire's measurements of a sandbox: of its cgroup, its network, and the containers in it.
pub(in crate::cri) fn sandbox_stats(
    of: &Record,
    group: Option<GroupStats>,
    network: Option<v1::NetworkUsage>,
    containers: Vec<v1::ContainerStats>,
) -> v1::PodSandboxStats {
    let group = group.unwrap_or_default();
    let process = |count| v1::ProcessUsage {
        timestamp: group.timestamp,
        process_count: number(count),
    };
    v1::PodSandboxStats {
        attributes: Some(v1::PodSandboxAttributes {
            id: of.id.clone(),
            metadata: Some(sandbox_metadata(&of.config.key)),
            labels: of.config.labels.clone(),
            annotations: of.config.annotations.clone(),
        }),
        linux: Some(v1::LinuxPodSandboxStats {
            cpu: group.cpu.map(|from| cpu(group.timestamp, from)),
            memory: group.memory.map(|from| memory(group.timestamp, from)),
            network,
            process: group.tasks.map(process),
            containers,
            io: group.io_pressure.map(|pressure| io(group.timestamp, pressure)),
        }),
        windows: None,
    }
}

/// The traffic of a sandbox's interfaces, the default one apart from the others.
pub(in crate::cri) fn network(timestamp: i64, interfaces: Vec<Interface>) -> v1::NetworkUsage {
    let (mut default, mut others) = (None, vec![]);
    for interface in interfaces {
        let usage = v1::NetworkInterfaceUsage {
            rx_bytes: number(interface.received.bytes),
            rx_errors: number(interface.received.errors),
            tx_bytes: number(interface.sent.bytes),
            tx_errors: number(interface.sent.errors),
            name: interface.name,
        };
        match usage.name == DEFAULT_INTERFACE {
            true => default = Some(usage),
            false => others.push(usage),
        }
    }
    v1::NetworkUsage {
        timestamp,
        default_interface: default,
        interfaces: others,
    }
}

/// What the containers use together, for a sandbox without a cgroup of its own.
pub(in crate::cri) fn together(groups: &[&GroupStats]) -> Option<GroupStats> {
    let sum = |of: &dyn Fn(&GroupStats) -> Option<u64>| groups.iter().filter_map(|g| of(g)).sum::<u64>();
    let timestamp = groups.iter().map(|group| group.timestamp).max()?;
    Some(GroupStats {
        timestamp,
        cpu: Some(CpuUsage {
            usage_core_nano_seconds: sum(&|g| Some(g.cpu?.usage_core_nano_seconds)),
            ..CpuUsage::default()
        }),
        memory: Some(MemoryUsage {
            working_set_bytes: sum(&|g| Some(g.memory?.working_set_bytes)),
            usage_bytes: sum(&|g| Some(g.memory?.usage_bytes)),
            rss_bytes: sum(&|g| Some(g.memory?.rss_bytes)),
            cache_bytes: sum(&|g| Some(g.memory?.cache_bytes)),
            mapped_file_bytes: sum(&|g| Some(g.memory?.mapped_file_bytes)),
            page_faults: sum(&|g| Some(g.memory?.page_faults)),
            major_page_faults: sum(&|g| Some(g.memory?.major_page_faults)),
            ..MemoryUsage::default()
        }),
        tasks: Some(sum(&|g| g.tasks)),
        io_pressure: None,
    })
}

fn cpu(timestamp: i64, from: CpuUsage) -> v1::CpuUsage {
    v1::CpuUsage {
        timestamp,
        usage_core_nano_seconds: number(from.usage_core_nano_seconds),
        usage_nano_cores: from.usage_nano_cores.and_then(number),
        psi: from.pressure.map(psi),
    }
}

fn memory(timestamp: i64, from: MemoryUsage) -> v1::MemoryUsage {
    v1::MemoryUsage {
        timestamp,
        working_set_bytes: number(from.working_set_bytes),
        available_bytes: from.available_bytes.and_then(number),
        usage_bytes: number(from.usage_bytes),
        rss_bytes: number(from.rss_bytes),
        page_faults: number(from.page_faults),
        major_page_faults: number(from.major_page_faults),
        psi: from.pressure.map(psi),
    }
}

fn swap(timestamp: i64, from: &MemoryUsage) -> v1::SwapUsage {
    v1::SwapUsage {
        timestamp,
        swap_available_bytes: from.swap_available_bytes().and_then(number),
        swap_usage_bytes: from.swap_usage_bytes.and_then(number),
    }
}

fn io(timestamp: i64, pressure: Pressure) -> v1::IoUsage {
    v1::IoUsage {
        timestamp,
        psi: Some(psi(pressure)),
    }
}

fn psi(from: Pressure) -> v1::PsiStats {
    let data = |from: Stall| v1::PsiData {
        // CRI counts nanoseconds, the kernel microseconds.
        total: from.total * 1000,
        avg10: from.avg10,
        avg60: from.avg60,
        avg300: from.avg300,
    };
    v1::PsiStats {
        full: Some(data(from.full)),
        some: Some(data(from.some)),
    }
}

fn number(value: u64) -> Option<v1::UInt64Value> {
    Some(v1::UInt64Value { value })
}
