//! Changing the limits of a living group, file by file.

use crate::sys::cgroup::{Cgroup, Version};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Limits to set; `None` leaves a value as it is. -1 means unlimited where the kernel knows that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Relative weight, v1 scale (2 to 262144).
    pub cpu_shares: Option<u64>,
    /// Microseconds per period.
    pub cpu_quota: Option<i64>,
    /// Period in microseconds.
    pub cpu_period: Option<u64>,
    /// Processors, such as `0-3,7`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes.
    pub cpuset_mems: Option<String>,
    /// Bytes of memory.
    pub memory: Option<i64>,
    /// Bytes of memory *and* swap together, as in the OCI specification.
    pub memory_and_swap: Option<i64>,
    /// Processes and threads.
    pub pids: Option<i64>,
    /// Page size (such as `2MB`) and bytes.
    pub hugepages: Vec<(String, u64)>,
    /// cgroup v2 file name and content; an error on v1, which has no such files.
    pub unified: Vec<(String, String)>,
}

/// A limit that could not be set. Those set before it stay.
#[derive(Debug, Error)]
#[error("cannot set {}", file.display())]
pub struct LimitError {
    /// The group's file.
    pub file: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl Cgroup {
    /// Sets limits of a group whose processes run.
    pub fn update(&self, limits: &Limits) -> Result<(), LimitError> {
        match self.version() {
            Version::V1 => v1(self, limits),
            Version::V2 => v2(self, limits),
        }
    }
}

fn v1(cgroup: &Cgroup, limits: &Limits) -> Result<(), LimitError> {
    let (cpu, cpuset) = (cgroup.dir("cpu"), cgroup.dir("cpuset"));
    put(&cpu.join("cpu.shares"), limits.cpu_shares.filter(|s| *s != 0))?;
    put_quota_and_period(&cpu, limits)?;
    put(
        &cpuset.join("cpuset.cpus"),
        limits.cpuset_cpus.as_ref().filter(|s| !s.is_empty()),
    )?;
    put(
        &cpuset.join("cpuset.mems"),
        limits.cpuset_mems.as_ref().filter(|s| !s.is_empty()),
    )?;
    put_memory_v1(&cgroup.dir("memory"), limits)?;
    put(&cgroup.dir("pids").join("pids.max"), limits.pids.map(or_max))?;
    for (size, bytes) in &limits.hugepages {
        put(
            &cgroup
                .dir("hugetlb")
                .join(format!("hugetlb.{size}.limit_in_bytes")),
            Some(bytes),
        )?;
    }
    match limits.unified.first() {
        None => Ok(()),
        Some((file, _)) => Err(LimitError {
            file: file.into(),
            source: io::ErrorKind::Unsupported.into(),
        }),
    }
}

/// The kernel refuses a quota below what a nested group has and a period that breaks a set quota, so the order that
/// works depends on the present values: period first, or else quota first.
fn put_quota_and_period(dir: &Path, limits: &Limits) -> Result<(), LimitError> {
    let (quota_file, period_file) = (dir.join("cpu.cfs_quota_us"), dir.join("cpu.cfs_period_us"));
    let period = limits.cpu_period.filter(|p| *p != 0);
    let quota = limits.cpu_quota.filter(|q| *q != 0);
    if put(&period_file, period).is_err() {
        put(&quota_file, quota)?;
        return put(&period_file, period);
    }
    put(&quota_file, quota)
}

/// Memory may never exceed memory and swap together: growing sets the sum first, shrinking last.
fn put_memory_v1(dir: &Path, limits: &Limits) -> Result<(), LimitError> {
    let (memory, sum) = (
        dir.join("memory.limit_in_bytes"),
        dir.join("memory.memsw.limit_in_bytes"),
    );
    let wanted_sum = limits.memory_and_swap.filter(|n| *n != 0 && sum.exists());
    let wanted = limits.memory.filter(|n| *n != 0);
    if put(&memory, wanted).is_ok() {
        return put(&sum, wanted_sum);
    }
    // Refused because the sum is in the way. With no word about the sum it is lifted, as an unset one would be.
    put(&sum, wanted_sum.or_else(|| sum.exists().then_some(-1)))?;
    put(&memory, wanted)
}

fn v2(cgroup: &Cgroup, limits: &Limits) -> Result<(), LimitError> {
    let dir = cgroup.dir("");
    put(
        &dir.join("cpu.weight"),
        limits.cpu_shares.filter(|s| *s != 0).map(weight),
    )?;
    put(&dir.join("cpu.max"), cpu_max(&dir, limits))?;
    put(
        &dir.join("cpuset.cpus"),
        limits.cpuset_cpus.as_ref().filter(|s| !s.is_empty()),
    )?;
    put(
        &dir.join("cpuset.mems"),
        limits.cpuset_mems.as_ref().filter(|s| !s.is_empty()),
    )?;
    let memory = limits.memory.filter(|n| *n != 0);
    let swap = limits
        .memory_and_swap
        .filter(|n| *n != 0 && dir.join("memory.swap.max").exists());
    // Version 2 limits swap alone.
    let swap = swap.map(|sum| match (sum, memory) {
        (-1, _) => "max".to_owned(),
        (sum, Some(memory)) if memory > 0 => (sum - memory).max(0).to_string(),
        (sum, _) => sum.to_string(),
    });
    put(&dir.join("memory.swap.max"), swap)?;
    put(&dir.join("memory.max"), memory.map(or_max))?;
    put(&dir.join("pids.max"), limits.pids.map(or_max))?;
    for (size, bytes) in &limits.hugepages {
        put(&dir.join(format!("hugetlb.{size}.max")), Some(bytes))?;
    }
    for (file, value) in &limits.unified {
        if file.contains('/') {
            return Err(LimitError {
                file: file.into(),
                source: io::ErrorKind::InvalidInput.into(),
            });
        }
        put(&dir.join(file), Some(value))?;
    }
    Ok(())
}

/// "quota period", where a value that is not given stays as it is.
fn cpu_max(dir: &Path, limits: &Limits) -> Option<String> {
    let (quota, period) = (
        limits.cpu_quota.filter(|q| *q != 0),
        limits.cpu_period.filter(|p| *p != 0),
    );
    if quota.is_none() && period.is_none() {
        return None;
    }
    let now = fs::read_to_string(dir.join("cpu.max")).unwrap_or_default();
    let (old_quota, old_period) = now.trim().split_once(' ').unwrap_or(("max", "100000"));
    let quota = quota.map_or(old_quota.to_owned(), or_max);
    Some(format!(
        "{quota} {}",
        period.map_or(old_period.to_owned(), |p| p.to_string())
    ))
}

/// The conversion that the OCI runtimes have agreed on: 2..=262144 to 1..=10000.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

fn or_max(value: i64) -> String {
    if value < 0 {
        "max".into()
    } else {
        value.to_string()
    }
}

fn put(file: &Path, value: Option<impl ToString>) -> Result<(), LimitError> {
    match value {
        Some(value) => fs::write(file, value.to_string()).map_err(|source| LimitError {
            file: file.to_owned(),
            source,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights_on_the_agreed_scale() {
        assert_eq!(
            (weight(2), weight(1024), weight(262_144), weight(0)),
            (1, 39, 10000, 1)
        );
    }

    #[test]
    fn a_value_not_given_keeps_its_half_of_cpu_max() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cpu.max"), "5000 20000\n").unwrap();
        let with = |cpu_quota, cpu_period| {
            cpu_max(
                dir.path(),
                &Limits {
                    cpu_quota,
                    cpu_period,
                    ..Limits::default()
                },
            )
        };

        assert_eq!(with(Some(7000), None).as_deref(), Some("7000 20000"));
        assert_eq!(with(None, Some(50000)).as_deref(), Some("5000 50000"));
        assert_eq!(with(Some(-1), None).as_deref(), Some("max 20000"));
        assert_eq!(with(None, None), None);
    }
}
