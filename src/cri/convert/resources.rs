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
    // What the scheduler takes (kernel/sched/core.c); 0 is not specified, a negative quota none.
    let (period, quota) = (from.cpu_period, from.cpu_quota);
    if period != 0 && !(1000..=1_000_000).contains(&period) {
        return Err(Error::invalid(format!(
            "{field}.cpu_period {period} is not within 1000 to 1000000"
        )));
    }
    if quota > 0 && !(1000..1 << 44).contains(&quota) {
        return Err(Error::invalid(format!(
            "{field}.cpu_quota {quota} is out of range"
        )));
    }
    if !(-1000..=1000).contains(&from.oom_score_adj) {
        let value = from.oom_score_adj;
        return Err(Error::invalid(format!(
            "{field}.oom_score_adj {value} is not within -1000 to 1000"
        )));
    }
    for (index, limit) in from.hugepage_limits.iter().enumerate() {
        let name = format!("{field}.hugepage_limits[{index}].page_size");
        not_empty(&limit.page_size, &name)?;
        // It becomes part of a file's name.
        if limit.page_size.len() > 16 || !limit.page_size.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(Error::invalid(format!("{name} is not a size")));
        }
    }
    for (list, name) in [
        (&from.cpuset_cpus, "cpuset_cpus"),
        (&from.cpuset_mems, "cpuset_mems"),
    ] {
        let plain = |c: char| c.is_ascii_digit() || matches!(c, ',' | '-' | ' ');
        if list.len() > 1024 || !list.chars().all(plain) {
            return Err(Error::invalid(format!("{field}.{name} is not a list of numbers")));
        }
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
