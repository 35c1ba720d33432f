//! Usage of a group, read from its files directly: no process, no mount table, nothing that a missing file spoils.

use crate::sys::cgroup::{Cgroup, Version};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// What a group uses. A value is `None` when the kernel does not account for it here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time.
    pub cpu: CpuUsage,
    /// Memory in bytes.
    pub memory: MemoryUsage,
    /// Processes and threads.
    pub pids: PidsUsage,
    /// Kills for want of memory.
    pub oom_kills: Option<u64>,
}

/// Processor time in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuUsage {
    /// All of it.
    pub total: Option<u64>,
    /// In user mode.
    pub user: Option<u64>,
    /// In the kernel.
    pub system: Option<u64>,
    /// Periods in which the group was throttled.
    pub throttled_periods: Option<u64>,
    /// Time spent throttled.
    pub throttled: Option<u64>,
}

/// Memory in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// Everything charged, page cache included.
    pub usage: Option<u64>,
    /// Usage without the inactive part of the page cache: what the kubelet evicts by.
    pub working_set: Option<u64>,
    /// Anonymous memory.
    pub rss: Option<u64>,
    /// Page faults.
    pub page_faults: Option<u64>,
    /// Page faults that read from disk.
    pub major_page_faults: Option<u64>,
    /// Limit; `None`: unlimited.
    pub limit: Option<u64>,
    /// Swap in use.
    pub swap: Option<u64>,
    /// Limit of swap alone; `None`: unlimited or not accounted.
    pub swap_limit: Option<u64>,
}

/// Processes and threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PidsUsage {
    /// Present number.
    pub current: Option<u64>,
    /// Limit; `None`: unlimited.
    pub limit: Option<u64>,
}

/// A v1 limit this large means none.
const UNLIMITED: u64 = 1 << 62;

impl Cgroup {
    /// Reads the group's usage.
    pub fn usage(&self) -> Usage {
        match self.version() {
            Version::V1 => v1(self),
            Version::V2 => v2(self),
        }
    }
}

fn v1(cgroup: &Cgroup) -> Usage {
    let (cpuacct, cpu, memory) = (cgroup.dir("cpuacct"), cgroup.dir("cpu"), cgroup.dir("memory"));
    let ticks = keyed(&cpuacct.join("cpuacct.stat"));
    let throttling = keyed(&cpu.join("cpu.stat"));
    let stat = keyed(&memory.join("memory.stat"));
    let usage = number(&memory.join("memory.usage_in_bytes"));
    let with_swap = number(&memory.join("memory.memsw.usage_in_bytes"));
    let limit = limit(&memory.join("memory.limit_in_bytes"));
    let limit_with_swap = self::limit(&memory.join("memory.memsw.limit_in_bytes"));
    let in_ns = |key: &str| ticks.get(key).map(|t| t * (1_000_000_000 / ticks_per_second()));
    Usage {
        cpu: CpuUsage {
            total: number(&cpuacct.join("cpuacct.usage")),
            user: in_ns("user"),
            system: in_ns("system"),
            throttled_periods: throttling.get("nr_throttled").copied(),
            throttled: throttling.get("throttled_time").copied(),
        },
        memory: MemoryUsage {
            usage,
            working_set: less(usage, stat.get("total_inactive_file")),
            rss: stat.get("total_rss").copied(),
            page_faults: stat.get("total_pgfault").copied(),
            major_page_faults: stat.get("total_pgmajfault").copied(),
            limit,
            swap: with_swap
                .zip(usage)
                .map(|(both, memory)| both.saturating_sub(memory)),
            swap_limit: limit_with_swap
                .zip(limit)
                .map(|(both, memory)| both.saturating_sub(memory)),
        },
        pids: pids(&cgroup.dir("pids")),
        oom_kills: keyed(&memory.join("memory.oom_control")).get("oom_kill").copied(),
    }
}

fn v2(cgroup: &Cgroup) -> Usage {
    let dir = cgroup.dir("");
    let cpu = keyed(&dir.join("cpu.stat"));
    let stat = keyed(&dir.join("memory.stat"));
    let usage = number(&dir.join("memory.current"));
    let in_ns = |key: &str| cpu.get(key).map(|us| us * 1000);
    Usage {
        cpu: CpuUsage {
            total: in_ns("usage_usec"),
            user: in_ns("user_usec"),
            system: in_ns("system_usec"),
            throttled_periods: cpu.get("nr_throttled").copied(),
            throttled: in_ns("throttled_usec"),
        },
        memory: MemoryUsage {
            usage,
            working_set: less(usage, stat.get("inactive_file")),
            rss: stat.get("anon").copied(),
            page_faults: stat.get("pgfault").copied(),
            major_page_faults: stat.get("pgmajfault").copied(),
            limit: limit(&dir.join("memory.max")),
            swap: number(&dir.join("memory.swap.current")),
            swap_limit: limit(&dir.join("memory.swap.max")),
        },
        pids: pids(&dir),
        oom_kills: keyed(&dir.join("memory.events")).get("oom_kill").copied(),
    }
}

fn pids(dir: &Path) -> PidsUsage {
    PidsUsage {
        current: number(&dir.join("pids.current")),
        limit: limit(&dir.join("pids.max")),
    }
}

fn less(usage: Option<u64>, inactive: Option<&u64>) -> Option<u64> {
    usage
        .zip(inactive)
        .map(|(all, inactive)| all.saturating_sub(*inactive))
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// `max`, or a number so large that it means none, is `None`.
fn limit(file: &Path) -> Option<u64> {
    number(file).filter(|n| *n < UNLIMITED)
}

/// A file of lines "key number".
fn keyed(file: &Path) -> HashMap<String, u64> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

fn ticks_per_second() -> u64 {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)
        .ok()
        .flatten();
    ticks
        .and_then(|t| u64::try_from(t).ok())
        .filter(|t| *t > 0)
        .unwrap_or(100)
}
