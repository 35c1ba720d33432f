//! What `/proc` says of processes, and the little that is written there.

use rustix::fs::{CWD, Mode, OFlags, PROC_SUPER_MAGIC, fstatfs, openat};
use rustix::io::write;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::str::FromStr;

/// Returns a process's start time in clock ticks since boot.
pub fn start_time(pid: i32) -> io::Result<u64> {
    Stat::read(pid)?.number(22)
}

/// `/proc/PID/stat`, whose fields are numbered as in proc(5).
struct Stat {
    pid: i32,
    text: String,
}

impl Stat {
    fn read(pid: i32) -> io::Result<Stat> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Ok(Stat { pid, text })
    }

    /// A field behind the second. That is the command's name, which may hold blanks and parentheses.
    fn field(&self, number: usize) -> Option<&str> {
        let (_, rest) = self.text.rsplit_once(')')?;
        rest.split_whitespace().nth(number - 3)
    }

    fn number<T: FromStr>(&self, number: usize) -> io::Result<T> {
        let value = self.field(number).and_then(|field| field.parse().ok());
        value.ok_or_else(|| {
            let text = format!("/proc/{}/stat has no number as field {number}", self.pid);
            io::Error::new(io::ErrorKind::InvalidData, text)
        })
    }
}

/// Returns the numbers of all processes.
pub fn processes() -> io::Result<Vec<i32>> {
    let entries = std::fs::read_dir("/proc")?.flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(numbers.collect())
}

/// Returns a process's name: `comm`, at most 15 bytes.
pub fn name(pid: i32) -> io::Result<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/comm"))?;
    Ok(text.trim_end_matches('\n').to_owned())
}

/// Whether all of these are in the environment that a process was started with, as in `NAME=value`.
pub fn was_started_with(pid: i32, variables: &[String]) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let has = |wanted: &String| {
        environment
            .split(|byte| *byte == 0)
            .any(|one| one == wanted.as_bytes())
    };
    variables.iter().all(has)
}

/// Tells whether a process has ended, is ending, or will before it does anything else.
pub fn is_ending(pid: i32) -> bool {
    let Ok(stat) = Stat::read(pid) else {
        return true;
    };
    let dead = matches!(stat.field(3), Some("Z" | "X"));
    // Flags; PF_EXITING of the kernel's sched.h.
    let exiting = stat.number::<u32>(9).is_ok_and(|flags| flags & 0x4 != 0);
    dead || exiting || is_killed(pid)
}

/// Whether SIGKILL is on its way: bit 8 of the pending signals.
fn is_killed(pid: i32) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let pending = text.lines().filter_map(|line| {
        let mask = line.strip_prefix("SigPnd:").or(line.strip_prefix("ShdPnd:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    });
    pending.into_iter().any(|mask| mask & 1 << 8 != 0)
}

/// Returns a process's parent.
pub fn parent(pid: i32) -> io::Result<i32> {
    Stat::read(pid)?.number(4)
}

/// Returns the caller's own oom_score_adj.
pub fn oom_score_adj() -> io::Result<i32> {
    score("self")
}

/// Returns a process's oom_score_adj.
pub fn oom_score_adj_of(pid: i32) -> io::Result<i32> {
    score(&pid.to_string())
}

fn score(process: &str) -> io::Result<i32> {
    let text = std::fs::read_to_string(format!("/proc/{process}/oom_score_adj"))?;
    text.trim()
        .parse()
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

/// Sets a process's oom_score_adj, as [`set_oom_score_adj`] does the caller's.
pub fn set_oom_score_adj_of(pid: i32, value: i32) -> io::Result<()> {
    std::fs::write(format!("/proc/{pid}/oom_score_adj"), value.to_string())
}

/// Sets the caller's own oom_score_adj. A value below the lowest since the last privileged write needs CAP_SYS_RESOURCE.
pub fn set_oom_score_adj(value: i32) -> io::Result<()> {
    std::fs::write("/proc/self/oom_score_adj", value.to_string())
}

/// Names the AppArmor or SELinux context that the next `execve` of this thread changes to. `module` is `apparmor` or
/// `selinux`; `proc` is an open `/proc`, absent the one in sight. What is no file of procfs is not written to.
pub fn set_exec_label(proc: Option<&OwnedFd>, module: &str, label: &str) -> io::Result<()> {
    // AppArmor has a directory of its own since 5.8; before, and for SELinux, there is one file for all.
    match set_attribute(proc, &format!("{module}/exec"), label) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => set_attribute(proc, "exec", label),
        done => done,
    }
}

/// Names the SELinux context of keyrings that this thread makes before its next `execve`; `proc` as above.
pub fn set_key_label(proc: Option<&OwnedFd>, label: &str) -> io::Result<()> {
    set_attribute(proc, "keycreate", label)
}

fn set_attribute(proc: Option<&OwnedFd>, name: &str, value: &str) -> io::Result<()> {
    let opened;
    let proc = match proc {
        Some(proc) => proc,
        None => {
            opened = open_proc()?;
            &opened
        }
    };
    let path = format!("thread-self/attr/{name}");
    let file = openat(proc, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    if fstatfs(&file)?.f_type != PROC_SUPER_MAGIC {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    write(&file, value.as_bytes())?;
    Ok(())
}

/// The AppArmor profile of the caller; `None` when it has none, as on a machine without AppArmor.
pub fn confinement() -> Option<String> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/self/attr/{file}"));
    let label = read("apparmor/current").or_else(|_| read("current")).ok()?;
    let label = label.trim_end();
    let name = label.rsplit_once(" (").map_or(label, |(name, _)| name);
    (!name.is_empty() && name != "unconfined").then(|| name.to_owned())
}

/// Opens `/proc`, to be used by descriptor where another may be mounted.
pub fn open_proc() -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, "/proc", flags, Mode::empty())?)
}

/// Writes one kernel setting, named with dots as in sysctl(8), in the namespaces of the caller.
/// A name that would lead elsewhere is `InvalidInput`.
pub fn set_sysctl(name: &str, value: &str) -> io::Result<()> {
    let path = sysctl_path(name).ok_or(io::ErrorKind::InvalidInput)?;
    std::fs::write(Path::new("/proc/sys").join(path), value)
}

/// The file of a setting below `/proc/sys`; none for what is no name. `net.ipv4.ip_forward` and `net/ipv4/ip_forward`
/// name the same file: the first separator tells which is meant, and the other stands for a dot.
pub fn sysctl_path(name: &str) -> Option<String> {
    let path = match name.find(['.', '/']).map(|i| name.as_bytes()[i]) {
        Some(b'.') => name
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect(),
        _ => name.to_owned(),
    };
    let odd = |part: &str| matches!(part, "" | "." | "..");
    match path.split('/').any(odd) || path.contains('\0') {
        true => None,
        false => Some(path),
    }
}

/// Returns the host's id for an id inside the user namespace of process `pid`; `map` is `uid_map` or `gid_map`.
/// An id that is not mapped is `InvalidInput`.
pub fn host_id(pid: i32, map: &str, inside: u32) -> io::Result<u32> {
    let table = std::fs::read_to_string(format!("/proc/{pid}/{map}"))?;
    mapped(&table, inside).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("id {inside} is not in the {map}"),
        )
    })
}

/// user_namespaces(7): lines of first id inside, first id outside, length.
fn mapped(table: &str, inside: u32) -> Option<u32> {
    let range = |line: &str| {
        let mut numbers = line.split_whitespace().map(|n| n.parse::<u64>().ok());
        Some((numbers.next()??, numbers.next()??, numbers.next()??))
    };
    let inside = u64::from(inside);
    let (first, outside, _) = table
        .lines()
        .filter_map(range)
        .find(|(first, _, size)| (*first..first + size).contains(&inside))?;
    u32::try_from(outside + inside - first).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_mapped_by_the_range_they_are_in() {
        let table = "         0     100000      65536\n     70000          5          1\n";
        assert_eq!(mapped(table, 0), Some(100_000));
        assert_eq!(mapped(table, 65_535), Some(165_535));
        assert_eq!(mapped(table, 65_536), None);
        assert_eq!(mapped(table, 70_000), Some(5));
        assert_eq!(mapped("0 0 4294967295", 7), Some(7));
    }

    #[test]
    fn start_time_of_a_process_is_stable_and_of_none_an_error() {
        let own = std::process::id() as i32;
        assert_eq!(start_time(own).unwrap(), start_time(own).unwrap());
        assert!(start_time(i32::MAX).is_err());
    }

    #[test]
    fn sysctl_names_with_dots_in_an_interface_are_understood() {
        let check = |name: &str, path: &str| assert_eq!(sysctl_path(name).as_deref(), Some(path));

        check("net.ipv4.ip_forward", "net/ipv4/ip_forward");
        check(
            "net/ipv4/conf/eth0.1/forwarding",
            "net/ipv4/conf/eth0.1/forwarding",
        );
        check(
            "net.ipv4.conf.eth0/1.forwarding",
            "net/ipv4/conf/eth0.1/forwarding",
        );
    }

    #[test]
    fn names_that_lead_elsewhere_are_no_settings() {
        for name in [
            "",
            "net.//.kernel.core_pattern",
            "net/../kernel/core_pattern",
            "net..core",
            "/kernel/core_pattern",
            "net./.x",
            "net.ipv4.",
            "net.a\0b",
        ] {
            assert_eq!(sysctl_path(name), None, "{name:?}");
            assert!(set_sysctl(name, "x").is_err());
        }
    }
}
