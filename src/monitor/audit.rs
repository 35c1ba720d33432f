//! The processes of ours that exist: found by their cgroup and name, and a monitor's directory by who answers on the
//! socket in it. Whose they should be is the owners' business.

use std::io;
use std::path::{Path, PathBuf};

use crate::monitor::client::SOCKET;
use crate::sys::cgroup::Cgroup;
use crate::sys::{proc, socket};

/// A process, told apart from a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its start, in clock ticks since boot.
    pub start_time: u64,
}

/// What runs in the cgroup of monitors.
#[derive(Clone, Debug, Default)]
pub struct Processes {
    /// Monitors.
    pub monitors: Vec<Process>,
    /// First processes of shared PID namespaces.
    pub reapers: Vec<Process>,
    /// Zygotes.
    pub zygotes: Vec<Process>,
}

/// Looks at the processes of the cgroup of monitors. Those that end meanwhile are left out, and so are forks that do one
/// piece of work for another of ours.
///
/// # Errors
/// `cgroup` is no path of a group.
pub fn processes(cgroup: &str) -> io::Result<Processes> {
    let mut found = Processes::default();
    for pid in Cgroup::new(cgroup)?.processes() {
        let (Ok(start_time), Ok(name), Ok(parent)) =
            (proc::start_time(pid), proc::name(pid), proc::parent(pid))
        else {
            continue;
        };
        if proc::is_ending(pid) {
            continue;
        }
        let process = Process { pid, start_time };
        let is_worker = || proc::name(parent).is_ok_and(|of| of == name);
        match name.as_str() {
            "coracle-monitor" if !is_worker() => found.monitors.push(process),
            "coracle-reaper" => found.reapers.push(process),
            "coracle-zygote" if !is_worker() => found.zygotes.push(process),
            _ => {}
        }
    }
    Ok(found)
}

/// Who answers on the monitor's socket in a container's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// There is no socket.
    None,
    /// Nobody: its listener has gone without removing it.
    Dead(PathBuf),
    /// This process.
    Open(i32),
}

/// Asks who answers in a container's directory.
pub fn door(dir: &Path) -> Door {
    let path = dir.join(SOCKET);
    match socket::listener(&path) {
        Ok(pid) => Door::Open(pid),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Door::Dead(path),
        Err(_) => Door::None,
    }
}
