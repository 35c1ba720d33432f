//! Which hierarchies this machine has.

use crate::sys::cgroup::ROOT;
use std::path::Path;
use std::sync::OnceLock;

/// Version of the hierarchies that have the controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy per controller; also a hybrid machine.
    V1,
    /// One for all.
    V2,
}

/// Who makes the groups of containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// We do, as directories.
    #[default]
    Cgroupfs,
    /// The service manager does, as scopes in slices.
    Systemd,
}

/// The v1 controllers that containers join, as libcontainer does. Named hierarchies are left alone.
const V1: [&str; 12] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "blkio",
    "pids",
    "hugetlb",
    "perf_event",
    "net_cls",
    "net_prio",
];

/// Tells which version holds the controllers. Looked up once: a running machine does not change it.
pub fn version() -> Version {
    static FOUND: OnceLock<Version> = OnceLock::new();
    *FOUND.get_or_init(|| {
        // Only a unified hierarchy has this file at the top; a hybrid one has it further down.
        match Path::new(ROOT).join("cgroup.controllers").exists() {
            true => Version::V2,
            false => Version::V1,
        }
    })
}

/// Names of the mounted v1 controllers; empty on v2.
pub fn controllers() -> &'static [&'static str] {
    static FOUND: OnceLock<Vec<&'static str>> = OnceLock::new();
    FOUND.get_or_init(|| match version() {
        Version::V2 => vec![],
        Version::V1 => V1
            .into_iter()
            .filter(|c| Path::new(ROOT).join(c).join("cgroup.procs").exists())
            .collect(),
    })
}
