//! Limits of a group as properties of its unit. The service manager writes the files of its units again whenever it
//! reads its configuration again; what it does not know, it undoes.

use crate::sys::cgroup::ranges;
use crate::sys::cgroup::update::{Limits, weight};
use crate::sys::systemd::Value;

/// What the manager takes for no limit, and for not set.
const NONE: u64 = u64::MAX;
/// The kernel's own period, in microseconds.
const PERIOD: u64 = 100_000;
/// A second in microseconds.
const SECOND: u64 = 1_000_000;
/// A hundredth of a processor. The manager keeps quotas as percentages, without fractions.
const PERCENT: u64 = SECOND / 100;

/// All properties that limits come to; what is not limited is said to be unlimited, so that an earlier limit goes.
/// `tasks` is no part of what can be changed later: `None` leaves it alone, 0 is no limit.
pub fn properties(limits: &Limits, tasks: Option<u64>) -> Vec<(&'static str, Value)> {
    let bytes = |limit: Option<i64>| limit.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(NONE);
    let mut found = vec![
        ("CPUWeight", limits.cpu_shares.map_or(NONE, weight)),
        ("CPUQuotaPerSecUSec", quota(limits)),
        ("CPUQuotaPeriodUSec", limits.cpu_period.unwrap_or(NONE)),
        ("MemoryMax", bytes(limits.memory)),
        ("MemorySwapMax", bytes(limits.swap())),
    ];
    found.extend(tasks.map(|tasks| ("TasksMax", if tasks == 0 { NONE } else { tasks })));
    // Given by the names of files, they come last there too.
    for (file, value) in &limits.unified {
        let Some(property) = property(file) else { continue };
        let number = match value.trim() {
            "max" => Some(NONE),
            number => number.parse().ok(),
        };
        if let Some(number) = number {
            found.retain(|(name, _)| *name != property);
            found.push((property, number));
        }
    }
    let sets = [
        ("AllowedCPUs", &limits.cpuset_cpus),
        ("AllowedMemoryNodes", &limits.cpuset_mems),
    ];
    let numbers = found
        .into_iter()
        .map(|(name, number)| (name, Value::Number(number)));
    let sets = sets.map(|(name, list)| (name, Value::Bytes(bits(list.as_deref().unwrap_or_default()))));
    numbers.chain(sets).collect()
}

/// Microseconds of processor time in a second, rounded up to what the manager can keep: with less than was asked for, the
/// container could not be given what it was promised.
fn quota(limits: &Limits) -> u64 {
    let period = limits.cpu_period.unwrap_or(PERIOD).max(1);
    match limits.cpu_quota.and_then(|quota| u64::try_from(quota).ok()) {
        Some(quota) => (quota.saturating_mul(SECOND) / period)
            .max(1)
            .next_multiple_of(PERCENT),
        None => NONE,
    }
}

/// The property that writes a file.
fn property(file: &str) -> Option<&'static str> {
    Some(match file {
        "cpu.weight" => "CPUWeight",
        "memory.min" => "MemoryMin",
        "memory.low" => "MemoryLow",
        "memory.high" => "MemoryHigh",
        "memory.max" => "MemoryMax",
        "memory.swap.max" => "MemorySwapMax",
        "pids.max" => "TasksMax",
        _ => return None,
    })
}

/// A list such as `0-2,4` as bits, the lowest first; no bit is no confinement.
fn bits(list: &str) -> Vec<u8> {
    let mut bits = vec![];
    for (first, last) in ranges(list).flatten() {
        // More than any machine has: the files have refused it.
        for number in (first..=last.min(u16::MAX.into())).map(|number| number as usize) {
            bits.resize(bits.len().max(number / 8 + 1), 0);
            bits[number / 8] |= 1 << (number % 8);
        }
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(limits: &Limits, name: &str) -> Option<Value> {
        let properties = properties(limits, Some(0));
        let mut found = properties.into_iter().filter(|(property, _)| *property == name);
        let value = found.next();
        assert_eq!(found.next(), None, "{name} is there once");
        value.map(|(_, value)| value)
    }

    #[test]
    fn every_limit_has_its_property() {
        let limits = Limits {
            cpu_shares: Some(1024),
            cpu_quota: Some(20_000),
            cpu_period: Some(50_000),
            memory: Some(1 << 20),
            memory_and_swap: Some(3 << 20),
            cpuset_cpus: Some("0-2,9".into()),
            cpuset_mems: Some("0".into()),
            ..Limits::default()
        };
        let check = |name: &str, value: Value| assert_eq!(found(&limits, name), Some(value), "{name}");

        check("CPUWeight", Value::Number(39));
        check("CPUQuotaPerSecUSec", Value::Number(400_000));
        check("CPUQuotaPeriodUSec", Value::Number(50_000));
        check("MemoryMax", Value::Number(1 << 20));
        check("MemorySwapMax", Value::Number(2 << 20));
        check("TasksMax", Value::Number(u64::MAX));
        check("AllowedCPUs", Value::Bytes(vec![0b111, 0b10]));
        check("AllowedMemoryNodes", Value::Bytes(vec![1]));
    }

    #[test]
    fn what_is_not_limited_is_said_to_be_unlimited() {
        let unlimited = Limits {
            cpu_quota: Some(-1),
            memory: Some(-1),
            memory_and_swap: Some(-1),
            ..Limits::default()
        };
        for limits in [Limits::default(), unlimited] {
            for name in ["CPUWeight", "CPUQuotaPerSecUSec", "MemoryMax", "MemorySwapMax"] {
                assert_eq!(found(&limits, name), Some(Value::Number(NONE)), "{name}");
            }
            assert_eq!(found(&limits, "AllowedCPUs"), Some(Value::Bytes(vec![])));
        }
    }

    #[test]
    fn a_quota_is_rounded_up_to_whole_percents() {
        let check = |cpu_quota, expected| {
            let limits = Limits {
                cpu_quota: Some(cpu_quota),
                ..Limits::default()
            };
            assert_eq!(quota(&limits), expected, "{cpu_quota}");
        };

        check(100_000, SECOND);
        check(12_345, 130_000);
        check(1, PERCENT);
        check(i64::MAX, u64::MAX / PERIOD / PERCENT * PERCENT + PERCENT);
    }

    #[test]
    fn a_file_of_version_2_replaces_the_limit_that_writes_it() {
        let limits = Limits {
            memory: Some(1 << 20),
            unified: [
                ("memory.max", "max"),
                ("memory.high", "4096"),
                ("memory.min", "odd"),
                ("hugetlb.2MB.max", "0"),
            ]
            .map(|(file, value)| (file.to_owned(), value.to_owned()))
            .into(),
            ..Limits::default()
        };

        assert_eq!(found(&limits, "MemoryMax"), Some(Value::Number(NONE)));
        assert_eq!(found(&limits, "MemoryHigh"), Some(Value::Number(4096)));
        assert_eq!(found(&limits, "MemoryMin"), None);
    }

    #[test]
    fn no_limit_of_tasks_and_one_that_is_left_alone_are_not_the_same() {
        let tasks = |tasks| {
            let properties = properties(&Limits::default(), tasks);
            properties
                .into_iter()
                .find(|(name, _)| *name == "TasksMax")
                .map(|(_, value)| value)
        };

        assert_eq!(tasks(None), None);
        assert_eq!(tasks(Some(0)), Some(Value::Number(NONE)));
        assert_eq!(tasks(Some(7)), Some(Value::Number(7)));
    }
}
