//! What metrics tell of a group beyond its usage: limits, throttling, disks, huge pages, and what its processes have
//! open. Costs more files than [`stats`](super::stats), so it is read apart.

use std::collections::BTreeMap;
use std::fs;

use crate::sys::cgroup::Version;
use crate::sys::cgroup::reader::{Reader, value};

/// The details. A value is `None` when the kernel does not account for it here, or there is no such limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// Processor time in user mode, in nanoseconds.
    pub cpu_user: Option<u64>,
    /// Processor time in the kernel, in nanoseconds.
    pub cpu_system: Option<u64>,
    /// Periods that the quota was counted in.
    pub cpu_periods: Option<u64>,
    /// Those in which it was used up.
    pub cpu_throttled_periods: Option<u64>,
    /// Nanoseconds spent waiting for the next one.
    pub cpu_throttled: Option<u64>,
    /// Weight, in v1's shares.
    pub cpu_shares: Option<u64>,
    /// Microseconds of a period.
    pub cpu_period: Option<u64>,
    /// Microseconds allowed in a period.
    pub cpu_quota: Option<u64>,
    /// Most memory that was in use at once.
    pub memory_peak: Option<u64>,
    /// How often the limit was hit.
    pub memory_failures: Option<u64>,
    /// Memory of the kernel for the group.
    pub memory_kernel: Option<u64>,
    /// Soft limit.
    pub memory_reservation: Option<u64>,
    /// Kills for want of memory.
    pub oom_kills: Option<u64>,
    /// Most tasks.
    pub tasks_limit: Option<u64>,
    /// Disks, by `major:minor`.
    pub disks: BTreeMap<String, Disk>,
    /// Huge pages, by size as in `2MB`.
    pub hugepages: BTreeMap<String, Hugepages>,
    /// What the processes have.
    pub processes: Processes,
}

/// Traffic of one disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each names itself")]
pub struct Disk {
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub reads: u64,
    pub writes: u64,
}

/// Huge pages of one size, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each names itself")]
pub struct Hugepages {
    pub usage: u64,
    pub peak: Option<u64>,
}

/// What the processes of a group have, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Processes {
    /// How many there are.
    pub count: u64,
    /// Open descriptors of all of them.
    pub descriptors: u64,
    /// Those that are sockets.
    pub sockets: u64,
    /// Soft limit of open files of the first one; `None`: unlimited, or no process.
    pub files_limit: Option<u64>,
}

impl Reader {
    /// Reads the details.
    pub fn detail(&self) -> Detail {
        match self.cgroup.version() {
            Version::V1 => v1(self),
            Version::V2 => v2(self),
        }
    }

    fn processes(&self) -> Processes {
        let mut found = Processes::default();
        for pid in self.cgroup.processes() {
            if found.count == 0 {
                found.files_limit = files_limit(pid);
            }
            found.count += 1;
            // One that has ended in between has nothing open.
            for entry in fs::read_dir(format!("/proc/{pid}/fd"))
                .into_iter()
                .flatten()
                .flatten()
            {
                found.descriptors += 1;
                let target = fs::read_link(entry.path()).unwrap_or_default();
                found.sockets += u64::from(target.to_string_lossy().starts_with("socket:"));
            }
        }
        found
    }
}

fn files_limit(pid: i32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let mut lines = limits.lines();
    let line = lines.find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn v1(reader: &Reader) -> Detail {
    let times = reader.text("cpuacct", "cpuacct.stat").unwrap_or_default();
    let tick = 1_000_000_000 / ticks_per_second();
    let throttling = reader.text("cpu", "cpu.stat").unwrap_or_default();
    let events = reader.text("memory", "memory.oom_control").unwrap_or_default();
    let mut disks = BTreeMap::new();
    for (file, bytes) in [
        ("blkio.throttle.io_service_bytes_recursive", true),
        ("blkio.throttle.io_serviced_recursive", false),
    ] {
        v1_disks(&reader.text("blkio", file).unwrap_or_default(), bytes, &mut disks);
    }
    Detail {
        cpu_user: value(&times, "user").map(|ticks| ticks * tick),
        cpu_system: value(&times, "system").map(|ticks| ticks * tick),
        cpu_periods: value(&throttling, "nr_periods"),
        cpu_throttled_periods: value(&throttling, "nr_throttled"),
        cpu_throttled: value(&throttling, "throttled_time"),
        cpu_shares: reader.number("cpu", "cpu.shares"),
        cpu_period: reader.number("cpu", "cpu.cfs_period_us"),
        // -1 is no number of this kind, and no limit.
        cpu_quota: reader.number("cpu", "cpu.cfs_quota_us"),
        memory_peak: reader.number("memory", "memory.max_usage_in_bytes"),
        memory_failures: reader.number("memory", "memory.failcnt"),
        memory_kernel: reader.number("memory", "memory.kmem.usage_in_bytes"),
        memory_reservation: reader.limit("memory", "memory.soft_limit_in_bytes"),
        oom_kills: value(&events, "oom_kill"),
        tasks_limit: reader.limit("pids", "pids.max"),
        disks,
        hugepages: hugepages(reader, "hugetlb", "usage_in_bytes", Some("max_usage_in_bytes")),
        processes: reader.processes(),
    }
}

/// `8:0 Read 4096`, and `Total 4096` at the end.
fn v1_disks(text: &str, bytes: bool, disks: &mut BTreeMap<String, Disk>) {
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [device, operation, number] = fields[..] else {
            continue;
        };
        let Ok(number) = number.parse() else { continue };
        let disk = disks.entry(device.to_owned()).or_default();
        match (operation, bytes) {
            ("Read", true) => disk.read_bytes = number,
            ("Write", true) => disk.written_bytes = number,
            ("Read", false) => disk.reads = number,
            ("Write", false) => disk.writes = number,
            _ => {}
        }
    }
}

fn v2(reader: &Reader) -> Detail {
    let cpu = reader.kept("", "cpu.stat", str::to_owned).unwrap_or_default();
    let stat = reader.kept("", "memory.stat", str::to_owned).unwrap_or_default();
    let events = reader.text("", "memory.events").unwrap_or_default();
    let max = reader.text("", "cpu.max").unwrap_or_default();
    let (quota, period) = max.trim().split_once(' ').unwrap_or_default();
    let io = reader.text("", "io.stat").unwrap_or_default();
    let in_ns = |key| value(&cpu, key).map(|us| us * 1000);
    Detail {
        cpu_user: in_ns("user_usec"),
        cpu_system: in_ns("system_usec"),
        cpu_periods: value(&cpu, "nr_periods"),
        cpu_throttled_periods: value(&cpu, "nr_throttled"),
        cpu_throttled: in_ns("throttled_usec"),
        cpu_shares: reader.number("", "cpu.weight").map(shares),
        cpu_period: period.parse().ok(),
        cpu_quota: quota.parse().ok(),
        memory_peak: reader.number("", "memory.peak"),
        memory_failures: value(&events, "max"),
        memory_kernel: value(&stat, "kernel"),
        memory_reservation: reader.number("", "memory.low").filter(|bytes| *bytes > 0),
        oom_kills: value(&events, "oom_kill"),
        tasks_limit: reader.limit("", "pids.max"),
        disks: io.lines().filter_map(v2_disk).collect(),
        hugepages: hugepages(reader, "", "current", None),
        processes: reader.processes(),
    }
}

/// Weight to shares, the other way round than OCI runtimes turn shares into a weight.
fn shares(weight: u64) -> u64 {
    2 + weight.saturating_sub(1) * 262_142 / 9999
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`
fn v2_disk(line: &str) -> Option<(String, Disk)> {
    let (device, fields) = line.split_once(' ')?;
    let field = |key: &str| {
        let mut fields = fields.split(' ');
        fields.find_map(|field| field.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
    };
    let disk = Disk {
        read_bytes: field("rbytes")?,
        written_bytes: field("wbytes").unwrap_or(0),
        reads: field("rios").unwrap_or(0),
        writes: field("wios").unwrap_or(0),
    };
    Some((device.to_owned(), disk))
}

/// Files `hugetlb.2MB.<usage>`, one for each size.
fn hugepages(
    reader: &Reader,
    controller: &str,
    usage: &str,
    peak: Option<&str>,
) -> BTreeMap<String, Hugepages> {
    let mut found = BTreeMap::new();
    for name in reader.names(controller) {
        let size = name
            .strip_prefix("hugetlb.")
            .and_then(|rest| rest.strip_suffix(usage));
        let Some(size) = size.and_then(|size| size.strip_suffix('.')) else {
            continue;
        };
        if size.contains('.') {
            continue;
        }
        let peak = peak.and_then(|peak| reader.number(controller, &format!("hugetlb.{size}.{peak}")));
        let Some(usage) = reader.number(controller, &name) else {
            continue;
        };
        found.insert(size.to_owned(), Hugepages { usage, peak });
    }
    found
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_read_in_the_form_of_either_version() {
        let expected = Disk {
            read_bytes: 1,
            written_bytes: 2,
            reads: 3,
            writes: 4,
        };
        let mut disks = BTreeMap::new();

        v1_disks("8:0 Read 1\n8:0 Write 2\n8:0 Sync 3\nTotal 6\n", true, &mut disks);
        v1_disks("8:0 Read 3\n8:0 Write 4\nTotal 7\n", false, &mut disks);
        let second = v2_disk("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0").unwrap();

        assert_eq!(disks, [("8:0".to_owned(), expected)].into());
        assert_eq!(second, ("8:0".to_owned(), expected));
        assert_eq!(v2_disk("7:0 "), None);
    }

    #[test]
    fn the_default_weight_is_near_the_default_shares() {
        assert_eq!((shares(1), shares(10_000)), (2, 262_144));
        assert_eq!(shares(39), 998);
    }
}
