//! Usage of a group, read from its files directly: no process, no mount table, nothing that a missing file spoils.
//! What is read less often than this is in [`detail`](super::detail).

use crate::sys::cgroup::Version;
use crate::sys::cgroup::reader::{Reader, value, values};

/// What a group uses. A value is `None` when the kernel does not account for it here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// Processor time.
    pub cpu: CpuUsage,
    /// Memory in bytes.
    pub memory: MemoryUsage,
    /// Present number of processes and threads.
    pub tasks: Option<u64>,
    /// Time lost waiting for disks; v2 only, as the other two.
    pub io_pressure: Option<Pressure>,
}

/// Processor time in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CpuUsage {
    /// All of it.
    pub total: Option<u64>,
    /// Time lost waiting for a processor.
    pub pressure: Option<Pressure>,
}

/// Memory in bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemoryUsage {
    /// Everything charged, page cache included.
    pub usage: Option<u64>,
    /// Usage without the inactive part of the page cache: what the kubelet evicts by.
    pub working_set: Option<u64>,
    /// Anonymous memory.
    pub rss: Option<u64>,
    /// Page cache.
    pub cache: Option<u64>,
    /// Page cache that is mapped.
    pub mapped_file: Option<u64>,
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
    /// Time lost waiting for memory.
    pub pressure: Option<Pressure>,
}

/// Time lost waiting for a resource (the kernel's PSI).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    /// By some of the tasks.
    pub some: Stall,
    /// By all of them at once.
    pub full: Stall,
}

/// One line of a pressure file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stall {
    /// Microseconds since the group was made.
    pub total: u64,
    /// Percent of the last ten seconds.
    pub avg10: f64,
    /// Percent of the last minute.
    pub avg60: f64,
    /// Percent of the last five minutes.
    pub avg300: f64,
}

impl Reader {
    /// Reads the group's usage.
    pub fn usage(&self) -> Usage {
        match self.cgroup.version() {
            Version::V1 => v1(self),
            Version::V2 => v2(self),
        }
    }
}

fn v1(reader: &Reader) -> Usage {
    let keys = [
        "total_inactive_file",
        "total_rss",
        "total_cache",
        "total_mapped_file",
        "total_pgfault",
        "total_pgmajfault",
    ];
    let usage = reader.kept_number("memory", "memory.usage_in_bytes");
    let with_swap = reader.kept_number("memory", "memory.memsw.usage_in_bytes");
    let limit = reader.kept_limit("memory", "memory.limit_in_bytes");
    let limit_with_swap = reader.kept_limit("memory", "memory.memsw.limit_in_bytes");
    Usage {
        cpu: CpuUsage {
            total: reader.kept_number("cpuacct", "cpuacct.usage"),
            pressure: None,
        },
        memory: MemoryUsage {
            limit,
            swap: less(with_swap, usage),
            swap_limit: less(limit_with_swap, limit),
            ..parts(reader, "memory", usage, keys)
        },
        tasks: reader.kept_number("pids", "pids.current"),
        io_pressure: None,
    }
}

fn v2(reader: &Reader) -> Usage {
    let keys = [
        "inactive_file",
        "anon",
        "file",
        "file_mapped",
        "pgfault",
        "pgmajfault",
    ];
    let cpu = reader.kept("", "cpu.stat", |text| value(text, "usage_usec"));
    let pressure = |file| reader.kept("", file, pressure).flatten();
    Usage {
        cpu: CpuUsage {
            total: cpu.flatten().map(|us| us * 1000),
            pressure: pressure("cpu.pressure"),
        },
        memory: MemoryUsage {
            limit: reader.kept_limit("", "memory.max"),
            swap: reader.kept_number("", "memory.swap.current"),
            swap_limit: reader.kept_limit("", "memory.swap.max"),
            pressure: pressure("memory.pressure"),
            ..parts(reader, "", reader.kept_number("", "memory.current"), keys)
        },
        tasks: reader.kept_number("", "pids.current"),
        io_pressure: pressure("io.pressure"),
    }
}

/// What the usage of memory consists of. The keys are those of the inactive page cache, anonymous memory, page cache, what of
/// that is mapped, page faults and those that read from disk.
fn parts(reader: &Reader, controller: &'static str, usage: Option<u64>, keys: [&str; 6]) -> MemoryUsage {
    let read = reader.kept(controller, "memory.stat", |text| values(text, keys));
    let [
        inactive_file,
        rss,
        cache,
        mapped_file,
        page_faults,
        major_page_faults,
    ] = read.unwrap_or_default();
    MemoryUsage {
        usage,
        working_set: less(usage, inactive_file),
        rss,
        cache,
        mapped_file,
        page_faults,
        major_page_faults,
        ..MemoryUsage::default()
    }
}

fn less(all: Option<u64>, part: Option<u64>) -> Option<u64> {
    all.zip(part).map(|(all, part)| all.saturating_sub(part))
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`, which old kernels lack for processors.
fn pressure(text: &str) -> Option<Pressure> {
    if text.is_empty() {
        return None;
    }
    let line = |kind: &str| {
        let fields = text.lines().find_map(|line| line.strip_prefix(kind));
        let mut stall = Stall::default();
        for field in fields.unwrap_or_default().split_whitespace() {
            let Some((key, value)) = field.split_once('=') else {
                continue;
            };
            match key {
                "total" => stall.total = value.parse().unwrap_or_default(),
                "avg10" => stall.avg10 = value.parse().unwrap_or_default(),
                "avg60" => stall.avg60 = value.parse().unwrap_or_default(),
                "avg300" => stall.avg300 = value.parse().unwrap_or_default(),
                _ => {}
            }
        }
        stall
    };
    Some(Pressure {
        some: line("some"),
        full: line("full"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pressure_file_is_read_line_by_line() {
        let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=123\nfull avg10=0.00 avg60=0.00 avg300=0.10 total=45\n";

        let pressure = pressure(text).unwrap();

        assert_eq!((pressure.some.total, pressure.some.avg10), (123, 1.5));
        assert_eq!((pressure.full.total, pressure.full.avg300), (45, 0.1));
    }

    #[test]
    fn an_empty_pressure_file_tells_nothing() {
        assert_eq!(pressure(""), None);
    }
}
