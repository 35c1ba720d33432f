//! Control groups with a limit that tests put processes of Coracle's own into.

use std::fs;
use std::path::PathBuf;

use crate::harness::node::node;

/// A group of a test's own. The node takes it down.
pub(crate) struct Group {
    path: PathBuf,
}

impl Group {
    /// A new group in the hierarchy that has this controller.
    pub(crate) fn new(controller: &str) -> Group {
        let parent = node().cgroup_parent();
        let path = hierarchy(controller)
            .join(parent.trim_start_matches('/'))
            .join(format!("limited-{}", node().number()));
        fs::create_dir_all(&path).unwrap();
        Group { path }
    }

    /// The group of this path in the hierarchy that has this controller.
    pub(crate) fn at(controller: &str, path: &str) -> Group {
        Group {
            path: hierarchy(controller).join(path.trim_start_matches('/')),
        }
    }

    /// Puts a process with all its threads into it.
    pub(crate) fn take(&self, pid: i32) {
        fs::write(self.path.join("cgroup.procs"), pid.to_string()).unwrap();
    }

    /// Most processes and threads: a number, or "max".
    pub(crate) fn limit_processes(&self, most: &str) {
        fs::write(self.path.join("pids.max"), most).unwrap();
    }

    /// Whether a process or thread was ever refused.
    pub(crate) fn has_refused(&self) -> bool {
        let events = fs::read_to_string(self.path.join("pids.events")).unwrap();
        let refused = events.lines().find_map(|line| line.strip_prefix("max "));
        refused.is_some_and(|count| count != "0")
    }

    /// Most bytes of memory: a number, or "max". What its processes had before they came does not count.
    pub(crate) fn limit_memory(&self, most: &str) {
        let (name, none) = match self.path.join("memory.max").exists() {
            true => ("memory.max", "max"),
            false => ("memory.limit_in_bytes", "-1"),
        };
        let most = if most == "max" { none } else { most };
        fs::write(self.path.join(name), most).unwrap();
    }

    /// Whether memory was ever refused.
    pub(crate) fn has_met_its_limit(&self) -> bool {
        let v1 = fs::read_to_string(self.path.join("memory.failcnt"));
        v1.map_or_else(
            |_| {
                let events = fs::read_to_string(self.path.join("memory.events")).unwrap();
                let met = events.lines().find_map(|line| line.strip_prefix("max "));
                met.is_some_and(|count| count != "0")
            },
            |count| count.trim() != "0",
        )
    }
}

fn hierarchy(controller: &str) -> PathBuf {
    let root = PathBuf::from("/sys/fs/cgroup");
    match root.join("cgroup.procs").exists() {
        true => root,
        false => root.join(controller),
    }
}
