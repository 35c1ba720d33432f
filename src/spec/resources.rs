//! Limits and weights: from the model's terms to the OCI's, less what the machine cannot control.

use std::collections::HashMap;

use oci_spec::runtime::{
    LinuxCpu, LinuxHugepageLimit, LinuxHugepageLimitBuilder, LinuxMemory, LinuxResources,
};

use crate::model::{HugepageLimit, LinuxContainerResources};

use super::error::SpecError;
use super::host::Host;

/// The kernel's range of CPU shares; v2 weights are computed from it, and below it the computation breaks.
const SHARES: (i64, i64) = (2, 262_144);
const UNLIMITED: i64 = -1;

/// Limits in the OCI's terms, without device rules.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// The limits.
    pub linux: LinuxResources,
    /// What was asked for and cannot be controlled here.
    pub warnings: Vec<String>,
}

/// Translates limits, for a new container or for an update of a running one.
///
/// # Errors
/// `SpecError::Invalid`, naming the field.
pub fn resources(asked: &LinuxContainerResources, host: &Host) -> Result<Resources, SpecError> {
    let mut warnings = vec![];
    let mut linux = LinuxResources::default();
    linux
        .set_memory(memory(asked, host, &mut warnings)?)
        .set_cpu(cpu(asked, host, &mut warnings)?)
        .set_hugepage_limits(hugepages(&asked.hugepage_limits, host, &mut warnings))
        .set_unified(unified(asked, host, &mut warnings)?);
    Ok(Resources { linux, warnings })
}

/// The limits of a container after an update: what the update does not specify stays.
pub fn merge_resources(
    current: &LinuxContainerResources,
    update: &LinuxContainerResources,
) -> LinuxContainerResources {
    fn newer<T: Clone + Default + PartialEq>(current: &T, update: &T) -> T {
        if *update == T::default() { current } else { update }.clone()
    }
    let mut hugepage_limits = update.hugepage_limits.clone();
    for limit in &current.hugepage_limits {
        if !hugepage_limits.iter().any(|l| l.page_size == limit.page_size) {
            hugepage_limits.push(limit.clone());
        }
    }
    let mut unified = current.unified.clone();
    unified.extend(update.unified.clone());
    LinuxContainerResources {
        cpu_period: newer(&current.cpu_period, &update.cpu_period),
        cpu_quota: newer(&current.cpu_quota, &update.cpu_quota),
        cpu_shares: newer(&current.cpu_shares, &update.cpu_shares),
        memory_limit_in_bytes: newer(&current.memory_limit_in_bytes, &update.memory_limit_in_bytes),
        memory_swap_limit_in_bytes: newer(
            &current.memory_swap_limit_in_bytes,
            &update.memory_swap_limit_in_bytes,
        ),
        oom_score_adj: newer(&current.oom_score_adj, &update.oom_score_adj),
        cpuset_cpus: newer(&current.cpuset_cpus, &update.cpuset_cpus),
        cpuset_mems: newer(&current.cpuset_mems, &update.cpuset_mems),
        hugepage_limits,
        unified,
    }
}

fn field(name: &str) -> String {
    format!("linux.resources.{name}")
}

/// Checks a number that is -1 for no limit, 0 for not specified.
fn limit(name: &str, value: i64) -> Result<Option<i64>, SpecError> {
    match value {
        0 => Ok(None),
        value if value >= UNLIMITED => Ok(Some(value)),
        value => Err(SpecError::invalid(field(name), format!("is {value}"))),
    }
}

/// Swap is limited to what memory is when nothing else is said, so that a container cannot swap.
fn memory(
    asked: &LinuxContainerResources,
    host: &Host,
    warnings: &mut Vec<String>,
) -> Result<Option<LinuxMemory>, SpecError> {
    let memory = limit("memory_limit_in_bytes", asked.memory_limit_in_bytes)?;
    let swap = limit("memory_swap_limit_in_bytes", asked.memory_swap_limit_in_bytes)?;
    // The kernel refuses it as well, at the container's start and with no name.
    if let Some(swap) = swap.filter(|s| *s != UNLIMITED)
        && memory.is_none_or(|m| m == UNLIMITED || m > swap)
    {
        let problem = format!("is {swap}, below the memory limit");
        return Err(SpecError::invalid(field("memory_swap_limit_in_bytes"), problem));
    }
    if memory.is_none() && swap.is_none() {
        return Ok(None);
    }
    if !host.cgroups.has("memory") {
        warnings.push("memory is not limited: there is no memory controller".to_owned());
        return Ok(None);
    }
    let mut linux = LinuxMemory::default();
    linux.set_limit(memory);
    match (swap.or(memory), host.swap_accounting) {
        (limit, true) => _ = linux.set_swap(limit),
        (_, false) if swap.is_some() && swap != memory => {
            warnings.push("swap is not limited: the kernel does not account it".to_owned());
        }
        _ => {}
    }
    Ok(Some(linux))
}

fn cpu(
    asked: &LinuxContainerResources,
    host: &Host,
    warnings: &mut Vec<String>,
) -> Result<Option<LinuxCpu>, SpecError> {
    let quota = limit("cpu_quota", asked.cpu_quota)?;
    let natural = |name: &str, value: i64| {
        u64::try_from(value)
            .map(|value| Some(value).filter(|v| *v != 0))
            .map_err(|_| SpecError::invalid(field(name), format!("is {value}")))
    };
    let period = natural("cpu_period", asked.cpu_period)?;
    natural("cpu_shares", asked.cpu_shares)?;
    let shares = natural(
        "cpu_shares",
        match asked.cpu_shares {
            0 => 0,
            shares => shares.clamp(SHARES.0, SHARES.1),
        },
    )?;

    let mut linux = LinuxCpu::default();
    if host.cgroups.has("cpu") {
        linux.set_shares(shares).set_quota(quota).set_period(period);
    } else if shares.is_some() || quota.is_some() {
        warnings.push("processor time is not limited: there is no cpu controller".to_owned());
    }
    let set = |value: &str| Some(value.to_owned()).filter(|v| !v.is_empty());
    if host.cgroups.has("cpuset") {
        linux
            .set_cpus(set(&asked.cpuset_cpus))
            .set_mems(set(&asked.cpuset_mems));
    } else if !asked.cpuset_cpus.is_empty() || !asked.cpuset_mems.is_empty() {
        warnings.push("processors are not confined: there is no cpuset controller".to_owned());
    }
    Ok(Some(linux).filter(|l| *l != LinuxCpu::default()))
}

/// A size that the machine does not have cannot be used either, so leaving out its limit loses nothing.
fn hugepages(
    asked: &[HugepageLimit],
    host: &Host,
    warnings: &mut Vec<String>,
) -> Option<Vec<LinuxHugepageLimit>> {
    let mut limits = vec![];
    for wanted in asked {
        if !host.cgroups.has("hugetlb") || !host.hugepage_sizes.contains(&wanted.page_size) {
            if wanted.limit > 0 {
                warnings.push(format!(
                    "huge pages of {} are not limited: the machine has none",
                    wanted.page_size
                ));
            }
            continue;
        }
        limits.push(
            LinuxHugepageLimitBuilder::default()
                .page_size(wanted.page_size.clone())
                .limit(i64::try_from(wanted.limit).unwrap_or(i64::MAX))
                .build()
                .expect("size and limit are set"),
        );
    }
    Some(limits).filter(|l| !l.is_empty())
}

fn unified(
    asked: &LinuxContainerResources,
    host: &Host,
    warnings: &mut Vec<String>,
) -> Result<Option<HashMap<String, String>>, SpecError> {
    if asked.unified.is_empty() {
        return Ok(None);
    }
    if !host.cgroups.is_v2() {
        warnings.push("cgroup v2 files are not set: the machine has cgroup v1".to_owned());
        return Ok(None);
    }
    for name in asked.unified.keys() {
        // Each name becomes a path below the container's cgroup; `cgroup.*` would move or kill processes.
        let file_of_a_controller = name
            .split_once('.')
            .is_some_and(|(controller, _)| !controller.is_empty() && controller != "cgroup");
        if !file_of_a_controller || name.contains(['/', '\0']) {
            let problem = "is not a file of a controller";
            return Err(SpecError::invalid(field(&format!("unified[{name:?}]")), problem));
        }
    }
    Ok(Some(asked.unified.clone().into_iter().collect()))
}
