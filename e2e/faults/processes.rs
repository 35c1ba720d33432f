//! The processes of a daemon under test, told by what the kernel says of them.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::daemon::Place;

/// A process, as `/proc` has it.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    parent: i32,
    name: String,
    cgroups: String,
    /// In a PID namespace below ours.
    contained: bool,
}

impl Process {
    /// Its parent: of a container's first process, the monitor.
    pub(crate) fn parent(&self) -> i32 {
        self.parent
    }

    /// Whether it is in this cgroup or below.
    pub(crate) fn is_in(&self, cgroup: &str) -> bool {
        !cgroup.is_empty() && self.cgroups.lines().any(|line| below(line, cgroup))
    }
}

/// What a process is to a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Role {
    Zygote,
    Monitor,
    /// A short-lived fork of the zygote or of a monitor.
    Worker,
    /// Holds the PID namespace that the containers of a pod share.
    Reaper,
    /// Anything in a container's cgroup.
    Container,
}

/// All processes that belong to the daemon in `place`, but itself and plugins.
pub(crate) fn of(place: &Place) -> Vec<(Role, Process)> {
    let all = all();
    let parent = place.cgroup_parent();
    let monitors = place.monitor_cgroup();
    let named = |pid: i32, name: &str| all.iter().any(|p| p.pid == pid && p.name == name);
    let role = |process: &Process| {
        if process.is_in(&parent) {
            return Some(Role::Container);
        }
        if !process.is_in(&monitors) {
            return None;
        }
        Some(match process.name.as_str() {
            "coracle-reaper" => Role::Reaper,
            "coracle-zygote" if !named(process.parent, "coracle-zygote") => Role::Zygote,
            "coracle-monitor" if !named(process.parent, "coracle-monitor") => Role::Monitor,
            _ => Role::Worker,
        })
    };
    all.iter().filter_map(|p| Some((role(p)?, p.clone()))).collect()
}

fn below(line: &str, cgroup: &str) -> bool {
    let path = line.splitn(3, ':').nth(2).unwrap_or_default();
    path.strip_prefix(cgroup)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Those of one role.
pub(crate) fn with_role(place: &Place, role: Role) -> Vec<Process> {
    let all = of(place).into_iter();
    all.filter(|(its, _)| *its == role)
        .map(|(_, process)| process)
        .collect()
}

/// The first processes of containers: children of monitors, below a PID namespace of their own or their pod's.
pub(crate) fn first_processes(place: &Place) -> Vec<Process> {
    let monitors: Vec<i32> = with_role(place, Role::Monitor).iter().map(|p| p.pid).collect();
    let mut found = with_role(place, Role::Container);
    found.retain(|process| process.contained && monitors.contains(&process.parent));
    found
}

/// Whether a daemon runs a plugin that attaches a pod.
pub(crate) fn has_plugin(daemon: i32) -> bool {
    all()
        .iter()
        .any(|process| process.parent == daemon && process.name == "bridge")
}

/// Kills a process; one that is gone is dead.
pub(crate) fn slay(pid: i32) {
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
}

fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(read).collect()
}

/// `None`: it is gone, or dead and only waits for its parent to notice.
fn read(pid: i32) -> Option<Process> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        Some(line[name.len()..].trim().to_owned())
    };
    if field("State:")?.starts_with(['Z', 'X']) {
        return None;
    }
    Some(Process {
        pid,
        parent: field("PPid:")?.parse().ok()?,
        name: field("Name:")?,
        cgroups: fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?,
        contained: field("NSpid:")?.split_whitespace().count() > 1,
    })
}

/// Tells whether a process is gone, or dead and not yet waited for.
pub(crate) fn is_dead(pid: i32) -> bool {
    read(pid).is_none()
}
