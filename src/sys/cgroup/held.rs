//! What the kernel holds of a group's limits, in the terms they were set in.
//!
//! The kernel rounds, and version 2 has scales of its own. A value that is what becomes of the one that was set is told as
//! it was set; any other, somebody else's, as the kernel has it.

use crate::sys::cgroup::Version;
use crate::sys::cgroup::list::same;
use crate::sys::cgroup::reader::{Reader, known};
use crate::sys::cgroup::update::{Limits, weight};

const PAGE: i64 = 4096;
/// The kernel's own values of what nobody has set.
const SHARES: u64 = 1024;
const WEIGHT: u64 = 100;
const PERIOD: u64 = 100_000;

/// What is read of a group, in the terms of [`Limits`].
struct Held {
    shares: Option<u64>,
    quota: Option<i64>,
    period: Option<u64>,
    memory: Option<i64>,
    /// Of memory and swap.
    sum: Option<i64>,
}

impl Reader {
    /// The limits of the group, of which these were set. A file that is not there leaves what was set.
    pub fn held(&self, set: &Limits) -> Limits {
        let (held, cpuset, hugetlb, limit) = match self.cgroup.version() {
            Version::V1 => (v1(self, set), "cpuset", "hugetlb", "limit_in_bytes"),
            Version::V2 => (v2(self, set), "", "", "max"),
        };
        let huge = |size: &str| self.number(hugetlb, &format!("hugetlb.{size}.{limit}"));
        // Without a word there is no swap: the sum is what memory is.
        let sum = held.sum.filter(|sum| Some(*sum) != held.memory);
        Limits {
            cpu_shares: held.shares,
            cpu_quota: told(set.cpu_quota, held.quota, -1, |q| q),
            cpu_period: told(set.cpu_period, held.period, PERIOD, |p| p),
            // On version 1 these are the parent's without a word.
            cpuset_cpus: listed(&set.cpuset_cpus, || self.line(cpuset, "cpuset.cpus")),
            cpuset_mems: listed(&set.cpuset_mems, || self.line(cpuset, "cpuset.mems")),
            memory: told(set.memory, held.memory, -1, pages),
            memory_and_swap: told(set.memory_and_swap, sum, -1, pages),
            hugepages: hugepages(set, huge),
            unified: set.unified.clone(),
        }
    }

    /// A limit of memory; -1 is none.
    fn bytes(&self, controller: &str, file: &str) -> Option<i64> {
        let limit = self.line(controller, file)?;
        Some(known(&limit).map_or(-1, |limit| limit as i64))
    }
}

fn v1(reader: &Reader, set: &Limits) -> Held {
    let quota = reader.line("cpu", "cpu.cfs_quota_us");
    Held {
        shares: told(set.cpu_shares, reader.number("cpu", "cpu.shares"), SHARES, |s| s),
        quota: quota.and_then(|text| text.trim().parse().ok()),
        period: reader.number("cpu", "cpu.cfs_period_us"),
        memory: reader.bytes("memory", "memory.limit_in_bytes"),
        sum: reader.bytes("memory", "memory.memsw.limit_in_bytes"),
    }
}

fn v2(reader: &Reader, set: &Limits) -> Held {
    let max = reader.line("", "cpu.max").unwrap_or_default();
    let (quota, period) = max.trim().split_once(' ').unwrap_or_default();
    let memory = reader.bytes("", "memory.max");
    let sum = reader
        .bytes("", "memory.swap.max")
        .map(|swap| match (swap, memory) {
            (swap, Some(memory)) if swap >= 0 && memory >= 0 => swap + memory,
            _ => -1,
        });
    Held {
        shares: shares(set.cpu_shares, reader.number("", "cpu.weight")),
        quota: match quota {
            "max" => Some(-1),
            number => number.parse().ok(),
        },
        period: period.parse().ok(),
        memory,
        sum,
    }
}

/// What to tell of a value: as it was set if what becomes of that is what is held, nothing if nobody has set it, else what is.
fn told<T: Copy + PartialEq>(
    set: Option<T>,
    held: Option<T>,
    untouched: T,
    become_of: impl Fn(T) -> T,
) -> Option<T> {
    match (set, held) {
        (set, None) => set,
        (Some(set), Some(held)) if become_of(set) == held => Some(set),
        (None, Some(held)) if held == untouched => None,
        (_, held) => held,
    }
}

/// Many shares become one weight, so those that were set are told if they do.
fn shares(set: Option<u64>, held: Option<u64>) -> Option<u64> {
    match (set, held) {
        (set, None) => set,
        (Some(set), Some(held)) if weight(set) == held => Some(set),
        (None, Some(WEIGHT)) => None,
        (_, Some(weight)) => Some(2 + (weight.clamp(1, 10_000) - 1) * 262_142 / 9999),
    }
}

/// A limit of memory as the kernel keeps it.
fn pages(bytes: i64) -> i64 {
    match bytes {
        ..0 => bytes,
        _ => bytes / PAGE * PAGE,
    }
}

/// A list that was set, unless another is held. The kernel writes ranges, so the numbers count.
fn listed(set: &Option<String>, held: impl FnOnce() -> Option<String>) -> Option<String> {
    let set = set.as_ref()?;
    let held = held().map(|held| held.trim().to_owned()).unwrap_or_default();
    match held.is_empty() || same(&held, set) {
        true => Some(set.clone()),
        false => Some(held),
    }
}

/// Whole huge pages are limited.
fn hugepages(set: &Limits, held: impl Fn(&str) -> Option<u64>) -> Vec<(String, u64)> {
    let told = |(size, bytes): &(String, u64)| {
        let page = page_size(size).unwrap_or(1);
        let bytes = match held(size) {
            Some(held) if bytes / page * page != held => held,
            _ => *bytes,
        };
        (size.clone(), bytes)
    };
    set.hugepages.iter().map(told).collect()
}

/// `2MB` as the kernel names it.
fn page_size(name: &str) -> Option<u64> {
    let units = [("KB", 10), ("MB", 20), ("GB", 30)];
    let (number, shift) = units
        .into_iter()
        .find_map(|(unit, shift)| Some((name.strip_suffix(unit)?, shift)))?;
    number.parse::<u64>().ok()?.checked_shl(shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_was_rounded_is_told_as_it_was_set() {
        assert_eq!(told(Some(10_000), Some(8192), -1, pages), Some(10_000));
        assert_eq!(told(Some(10_000), Some(4096), -1, pages), Some(4096));
        assert_eq!(told(None, Some(-1), -1, pages), None);
        assert_eq!(told(None, Some(4096), -1, pages), Some(4096));
        assert_eq!(told(Some(5), None, -1, pages), Some(5));
        assert_eq!(told(Some(-1), Some(-1), -1, pages), Some(-1));
    }

    #[test]
    fn shares_are_told_as_set_while_their_weight_is_held() {
        assert_eq!(shares(Some(512), Some(weight(512))), Some(512));
        assert_eq!(shares(Some(512), Some(10_000)), Some(262_144));
        assert_eq!(shares(None, Some(WEIGHT)), None);
        assert_eq!(shares(None, Some(1)), Some(2));
    }

    #[test]
    fn lists_are_the_numbers_in_them() {
        let set = |list: &str| Some(list.to_owned());
        let held = |list: &'static str| move || Some(list.to_owned());

        assert_eq!(listed(&set("0,1,2"), held("0-2\n")), set("0,1,2"));
        assert_eq!(listed(&set("0,1"), held("0\n")), set("0"));
        assert_eq!(listed(&None, held("0-7\n")), None);
    }

    #[test]
    fn huge_pages_are_limited_by_whole_ones() {
        let set = Limits {
            hugepages: vec![("2MB".into(), 5 << 20), ("1GB".into(), 1 << 30)],
            ..Limits::default()
        };
        let held = |size: &str| Some(if size == "2MB" { 4 << 20 } else { 0 });

        assert_eq!(
            hugepages(&set, held),
            [("2MB".to_owned(), 5 << 20), ("1GB".to_owned(), 0)]
        );
    }
}
