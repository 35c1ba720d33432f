//! What the kernel has in the files of a cgroup, on either version of them.

use std::fs;
use std::path::{Path, PathBuf};

use super::container::Made;
use super::endpoint::ours;
use super::node::hierarchies;

/// A number in a file of a cgroup, by the file's name in v1 and in v2, or by a key in it as `memory.stat:anon`.
pub(crate) fn number(cgroup: &str, controller: &str, v1: &str, v2: &str) -> u64 {
    let unified = hierarchies().len() == 1;
    let root = match unified {
        true => PathBuf::from("/sys/fs/cgroup"),
        false => Path::new("/sys/fs/cgroup").join(controller),
    };
    let file = if unified { v2 } else { v1 };
    let (file, key) = file.split_once(':').unwrap_or((file, ""));
    let path = root.join(cgroup.trim_start_matches('/')).join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let value = match key {
        "" => text.trim(),
        key => text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
            .unwrap(),
    };
    value.parse().unwrap()
}

/// Nanoseconds of processor time, as the kernel has it.
pub(crate) fn cpu(cgroup: &str) -> u64 {
    let value = number(cgroup, "cpuacct", "cpuacct.usage", "cpu.stat:usage_usec");
    value * if hierarchies().len() == 1 { 1000 } else { 1 }
}

pub(crate) fn memory(cgroup: &str) -> u64 {
    number(cgroup, "memory", "memory.usage_in_bytes", "memory.current")
}

/// The cgroup of a container.
pub(crate) async fn cgroup(container: &Made<'_>) -> String {
    ours("is told of a cgroup by our status");
    let info = container.verbose_status().await.info;
    let info: serde_json::Value = serde_json::from_str(&info["info"]).unwrap();
    info["cgroup"].as_str().unwrap().to_owned()
}
