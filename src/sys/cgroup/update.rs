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
    /// Page size (such as `2MB`) and bytes.
    pub hugepages: Vec<(String, u64)>,
    /// cgroup v2 file name and content; an error on v1, which has no such files.
    pub unified: Vec<(String, String)>,
}

impl Limits {
    /// Bytes of swap alone, as version 2 limits it.
    pub(in crate::sys) fn swap(&self) -> Option<i64> {
        let memory = self.memory.unwrap_or_default().max(0);
        self.memory_and_swap.map(|sum| match sum {
            ..0 => -1,
            sum => (sum - memory).max(0),
        })
    }

    /// Those that are not as others are. Quota and period go together, and so do memory and swap.
    pub fn changed_from(&self, old: &Limits) -> Limits {
        fn new<T: Clone + PartialEq>(new: &T, old: &T) -> Option<T> {
            (new != old).then(|| new.clone())
        }
        let bandwidth = |limits: &Limits| (limits.cpu_quota, limits.cpu_period);
        let memory = |limits: &Limits| (limits.memory, limits.memory_and_swap);
        let (cpu_quota, cpu_period) = new(&bandwidth(self), &bandwidth(old)).unwrap_or_default();
        let (memory, memory_and_swap) = new(&memory(self), &memory(old)).unwrap_or_default();
        let added = |entry: &&(String, String)| !old.unified.contains(entry);
        let limited = |entry: &&(String, u64)| !old.hugepages.contains(entry);
        Limits {
            cpu_shares: new(&self.cpu_shares, &old.cpu_shares).flatten(),
            cpu_quota,
            cpu_period,
            cpuset_cpus: new(&self.cpuset_cpus, &old.cpuset_cpus).flatten(),
            cpuset_mems: new(&self.cpuset_mems, &old.cpuset_mems).flatten(),
            memory,
            memory_and_swap,
            hugepages: self.hugepages.iter().filter(limited).cloned().collect(),
            unified: self.unified.iter().filter(added).cloned().collect(),
        }
    }
}

/// A limit that could not be set.
#[derive(Debug, Error)]
#[error("cannot set {}", file.display())]
pub struct LimitError {
    /// The group's file.
    pub file: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// What was in the files that an update has written. Restoring it is exact: each state on the way back is one that the
/// kernel has accepted on the way there.
#[derive(Debug, Default)]
pub struct Journal(Vec<(PathBuf, String)>);

impl Journal {
    /// Writes back what was there, the last change first. All of it is tried; the first failure is told.
    pub fn restore(self) -> Result<(), LimitError> {
        let mut outcome = Ok(());
        for (file, old) in self.0.into_iter().rev() {
            // An empty write is none. A line break alone empties a list.
            outcome = outcome.and(write(&file, &format!("{old}\n")));
        }
        outcome
    }

    /// Sets a value unless there is none, or it is set already.
    fn put(&mut self, file: &Path, value: Option<impl ToString>) -> Result<(), LimitError> {
        let Some(value) = value.map(|value| value.to_string()) else {
            return Ok(());
        };
        let old = fs::read_to_string(file).map(|text| text.trim_end().to_owned());
        if old.as_ref().is_ok_and(|old| *old == value) {
            return Ok(());
        }
        write(file, &value)?;
        // A file that cannot be read holds nothing that could be restored.
        self.0.extend(old.ok().map(|old| (file.to_owned(), old)));
        Ok(())
    }
}

impl Cgroup {
    /// Sets limits of a group whose processes run, and notes what was there. After an error the caller restores that.
    ///
    /// # Errors
    /// The kernel refuses one of them. `EBUSY`: more memory than that is in use, and cannot be reclaimed.
    pub fn update(&self, limits: &Limits, journal: &mut Journal) -> Result<(), LimitError> {
        match self.version() {
            Version::V1 => v1(self, limits, journal),
            Version::V2 => v2(self, limits, journal),
        }
    }
}

fn v1(cgroup: &Cgroup, limits: &Limits, journal: &mut Journal) -> Result<(), LimitError> {
    let (cpu, cpuset) = (cgroup.dir("cpu"), cgroup.dir("cpuset"));
    journal.put(&cpu.join("cpu.shares"), limits.cpu_shares)?;
    put_quota_and_period(&cpu, limits, journal)?;
    journal.put(&cpuset.join("cpuset.cpus"), limits.cpuset_cpus.as_ref())?;
    journal.put(&cpuset.join("cpuset.mems"), limits.cpuset_mems.as_ref())?;
    put_memory_v1(&cgroup.dir("memory"), limits, journal)?;
    for (size, bytes) in &limits.hugepages {
        let file = format!("hugetlb.{size}.limit_in_bytes");
        journal.put(&cgroup.dir("hugetlb").join(file), Some(bytes))?;
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
fn put_quota_and_period(dir: &Path, limits: &Limits, journal: &mut Journal) -> Result<(), LimitError> {
    let (quota_file, period_file) = (dir.join("cpu.cfs_quota_us"), dir.join("cpu.cfs_period_us"));
    if journal.put(&period_file, limits.cpu_period).is_err() {
        journal.put(&quota_file, limits.cpu_quota)?;
        return journal.put(&period_file, limits.cpu_period);
    }
    journal.put(&quota_file, limits.cpu_quota)
}

/// Memory may never exceed memory and swap together: growing sets the sum first, shrinking last. The kernel reclaims
/// what it can before it answers that more is in use (`EBUSY`).
fn put_memory_v1(dir: &Path, limits: &Limits, journal: &mut Journal) -> Result<(), LimitError> {
    let (memory, sum) = (
        dir.join("memory.limit_in_bytes"),
        dir.join("memory.memsw.limit_in_bytes"),
    );
    let wanted_sum = limits.memory_and_swap.filter(|_| sum.exists());
    match journal.put(&memory, limits.memory) {
        Err(error) if error.source.raw_os_error() == Some(libc::EINVAL) => {
            journal.put(&sum, wanted_sum)?;
            journal.put(&memory, limits.memory)
        }
        done => done.and_then(|()| journal.put(&sum, wanted_sum)),
    }
}

fn v2(cgroup: &Cgroup, limits: &Limits, journal: &mut Journal) -> Result<(), LimitError> {
    let dir = cgroup.dir("");
    journal.put(&dir.join("cpu.weight"), limits.cpu_shares.map(weight))?;
    journal.put(&dir.join("cpu.max"), cpu_max(&dir, limits))?;
    journal.put(&dir.join("cpuset.cpus"), limits.cpuset_cpus.as_ref())?;
    journal.put(&dir.join("cpuset.mems"), limits.cpuset_mems.as_ref())?;
    let swap_file = dir.join("memory.swap.max");
    let swap = limits.swap().filter(|_| swap_file.exists());
    journal.put(&swap_file, swap.map(or_max))?;
    if let Some(limit) = limits.memory.and_then(|limit| u64::try_from(limit).ok()) {
        make_room(&dir, limit)?;
    }
    journal.put(&dir.join("memory.max"), limits.memory.map(or_max))?;
    for (size, bytes) in &limits.hugepages {
        journal.put(&dir.join(format!("hugetlb.{size}.max")), Some(bytes))?;
    }
    for (file, value) in &limits.unified {
        if file.contains('/') {
            return Err(LimitError {
                file: file.into(),
                source: io::ErrorKind::InvalidInput.into(),
            });
        }
        journal.put(&dir.join(file), Some(value))?;
    }
    Ok(())
}

/// Version 2 kills what does not fit into a lower limit. So what is too much is reclaimed first (since 5.19), and what
/// cannot be is the answer that version 1 gives.
fn make_room(dir: &Path, limit: u64) -> Result<(), LimitError> {
    let in_use = || {
        let text = fs::read_to_string(dir.join("memory.current")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let excess = |used: Option<u64>| used.and_then(|used| used.checked_sub(limit)).filter(|n| *n > 0);
    if let Some(excess) = excess(in_use()) {
        // It fails as well when it has reclaimed some, but less.
        let _ = fs::write(dir.join("memory.reclaim"), excess.to_string());
    }
    match excess(in_use()) {
        None => Ok(()),
        Some(_) => Err(LimitError {
            file: dir.join("memory.max"),
            source: io::Error::from_raw_os_error(libc::EBUSY),
        }),
    }
}

/// "quota period", where a value that is not given stays as it is.
fn cpu_max(dir: &Path, limits: &Limits) -> Option<String> {
    let (quota, period) = (limits.cpu_quota, limits.cpu_period);
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
pub(in crate::sys) fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

fn or_max(value: i64) -> String {
    if value < 0 {
        "max".into()
    } else {
        value.to_string()
    }
}

fn write(file: &Path, value: &str) -> Result<(), LimitError> {
    fs::write(file, value).map_err(|source| LimitError {
        file: file.to_owned(),
        source,
    })
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
