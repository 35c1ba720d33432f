//! What the caller knows about the machine and passes in.

use std::path::PathBuf;

/// Facts of the machine and of the runtime's own process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The cgroup hierarchies that containers are put in.
    pub cgroups: Cgroups,
    /// Whether swap can be limited: v1 `memory.memsw.limit_in_bytes`, v2 `memory.swap.max`.
    pub swap_accounting: bool,
    /// Huge page sizes that can be limited, as in the control files' names: `2MB`, `1GB`.
    pub hugepage_sizes: Vec<String>,
    /// Capabilities the runtime can give, as a mask: its own bounding set.
    pub bounding: u64,
    /// The runtime has CAP_SYS_RESOURCE: it may raise hard limits and lower the OOM score.
    pub can_raise_limits: bool,
    /// The runtime's own `oom_score_adj`, below which it cannot go without that capability.
    pub own_oom_score_adj: i32,
    /// AppArmor is enabled.
    pub apparmor: bool,
    /// Kernel version, major and minor.
    pub kernel: (u32, u32),
    /// Limits that every container gets; empty inherits the runtime's.
    pub rlimits: Vec<Rlimit>,
    /// Parent of the cgroups of containers that name none.
    pub default_cgroup_parent: String,
}

/// Version of the cgroup hierarchies, and what they can control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cgroups {
    /// One hierarchy per controller, or per few.
    V1(Vec<Hierarchy>),
    /// One hierarchy with these controllers.
    V2 {
        /// Names as in `cgroup.controllers`.
        controllers: Vec<String>,
    },
}

impl Default for Cgroups {
    fn default() -> Cgroups {
        Cgroups::V2 { controllers: vec![] }
    }
}

impl Cgroups {
    /// Whether a controller, named as in `/proc/cgroups`, is there.
    pub fn has(&self, controller: &str) -> bool {
        match self {
            Cgroups::V1(hierarchies) => hierarchies
                .iter()
                .any(|h| h.controllers.iter().any(|c| c == controller)),
            Cgroups::V2 { controllers } => controllers.iter().any(|c| c == controller),
        }
    }

    /// Whether this is the unified hierarchy.
    pub fn is_v2(&self) -> bool {
        matches!(self, Cgroups::V2 { .. })
    }
}

/// A mounted v1 hierarchy. Only those that a container has a directory in by the time its mounts are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its controllers; none for a named hierarchy.
    pub controllers: Vec<String>,
    /// Where it is mounted on the host; the last part also names it in the container.
    pub mountpoint: PathBuf,
}

/// A limit of `setrlimit(2)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rlimit {
    /// The kernel's number, as in `RLIMIT_NOFILE`.
    pub resource: u32,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
    /// The runtime's own hard limit, above which it cannot go without CAP_SYS_RESOURCE.
    pub own_hard: u64,
}

/// A volume that the image declares, as a directory that the caller filled with the image's content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Where it appears in the container.
    pub container_path: String,
    /// The directory.
    pub source: PathBuf,
}
