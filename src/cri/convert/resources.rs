//! Limits, both ways.

use crate::cri::wire::v1;
use crate::model::{Error, HugepageLimit, LinuxContainerResources, Result};

use super::not_empty;

/// The model's limits.
///
/// # Errors
/// `InvalidArgument`: a value that no kernel takes.
pub(in crate::cri) fn resources(
    from: v1::LinuxContainerResources,
    field: &str,
) -> Result<LinuxContainerResources> {
    for (value, name) in [(from.cpu_period, "cpu_period"), (from.cpu_shares, "cpu_shares")] {
        if value < 0 {
            return Err(Error::invalid(format!("{field}.{name} {value} is negative")));
        }
    }
    if !(-1000..=1000).contains(&from.oom_score_adj) {
        let value = from.oom_score_adj;
        return Err(Error::invalid(format!(
            "{field}.oom_score_adj {value} is not within -1000 to 1000"
        )));
    }
    for (index, limit) in from.hugepage_limits.iter().enumerate() {
        not_empty(
            &limit.page_size,
            &format!("{field}.hugepage_limits[{index}].page_size"),
        )?;
    }
    for name in from.unified.keys() {
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
            return Err(Error::invalid(format!(
                "{field}.unified[{name}] is not a cgroup file"
            )));
        }
    }
    Ok(LinuxContainerResources {
        cpu_period: from.cpu_period,
        cpu_quota: unlimited(from.cpu_quota),
        cpu_shares: from.cpu_shares,
        memory_limit_in_bytes: unlimited(from.memory_limit_in_bytes),
        oom_score_adj: from.oom_score_adj,
        cpuset_cpus: from.cpuset_cpus,
        cpuset_mems: from.cpuset_mems,
        hugepage_limits: from.hugepage_limits.into_iter().map(hugepages).collect(),
        memory_swap_limit_in_bytes: unlimited(from.memory_swap_limit_in_bytes),
        unified: from.unified,
    })
}

/// Any negative number means no limit on the wire; -1 does in the model.
fn unlimited(value: i64) -> i64 {
    value.max(-1)
}

fn hugepages(from: v1::HugepageLimit) -> HugepageLimit {
    HugepageLimit {
        page_size: from.page_size,
        limit: from.limit,
    }
}

/// The wire's limits.
pub(super) fn to_wire(from: LinuxContainerResources) -> v1::LinuxContainerResources {
    v1::LinuxContainerResources {
        cpu_period: from.cpu_period,
        cpu_quota: from.cpu_quota,
        cpu_shares: from.cpu_shares,
        memory_limit_in_bytes: from.memory_limit_in_bytes,
        oom_score_adj: from.oom_score_adj,
        cpuset_cpus: from.cpuset_cpus,
        cpuset_mems: from.cpuset_mems,
        hugepage_limits: from
            .hugepage_limits
            .into_iter()
            .map(|limit| v1::HugepageLimit {
                page_size: limit.page_size,
                limit: limit.limit,
            })
            .collect(),
        unified: from.unified,
        memory_swap_limit_in_bytes: from.memory_swap_limit_in_bytes,
    }
}
