//! Who a container's process is and what it may do. Further to the reduced API, which has none of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::json::is_zero;

/// The identity and the rights of a container's processes (CRI `LinuxContainerSecurityContext`, less namespaces).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Security {
    /// All capabilities, all devices, no masked paths, no seccomp filter, writable /sys.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub privileged: bool,
    /// A privileged container has no more devices than another.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub without_host_devices: bool,
    /// Changes to the default capabilities.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub capabilities: Capabilities,
    /// The user; absent takes the image's.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub user: Option<User>,
    /// Primary group. Needs `user`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub group: Option<u32>,
    /// Groups beside the primary one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub supplemental_groups: Vec<u32>,
    /// Whether the image's own group file adds to them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub supplemental_groups_policy: GroupsPolicy,
    /// No process may gain rights by execve.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub no_new_privileges: bool,
    /// The root file system is mounted read-only.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub readonly_rootfs: bool,
    /// Paths hidden from the container.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub masked_paths: Vec<String>,
    /// Paths made read-only in the container.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub readonly_paths: Vec<String>,
    /// System call filter.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub seccomp: Profile,
    /// AppArmor profile.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub apparmor: Profile,
    /// SELinux label; ignored where SELinux is off.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub selinux: SelinuxLabel,
}

/// An SELinux label. What is empty is the policy's for containers; the level is then one of the container's own. A container
/// that is privileged or shares the host's processes or IPC runs as `spc_t`, with the level for its files alone, unless
/// a type is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SelinuxLabel {
    /// User.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub user: String,
    /// Role.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub role: String,
    /// Type of the processes.
    #[serde(rename = "type", default, skip_serializing_if = "is_zero")]
    pub kind: String,
    /// Level of the processes, and of the files that are theirs.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub level: String,
}

impl Security {
    /// Files of the kernel that tell or do more than a container should: every engine hides them.
    pub const MASKED_PATHS: [&str; 9] = [
        "/proc/acpi",
        "/proc/asound",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/scsi",
        "/sys/firmware",
    ];
    /// Files of the kernel that a container may read only.
    pub const READONLY_PATHS: [&str; 5] = [
        "/proc/bus",
        "/proc/fs",
        "/proc/irq",
        "/proc/sys",
        "/proc/sysrq-trigger",
    ];
}

/// Capabilities by name, with or without `CAP_`; `ALL` is every one the runtime has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// The default set, in place of the runtime's own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub default: Option<Vec<String>>,
    /// Added to the default set.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub add: Vec<String>,
    /// Taken from it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub drop: Vec<String>,
    /// Added, and kept by a process of any user.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub add_ambient: Vec<String>,
}

/// The user of a container's first process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum User {
    /// By number; need not be in the image's passwd file.
    Id(u32),
    /// By name; must be in the image's passwd file.
    Name(String),
}

/// Whether groups that the image's group file gives to the user are added to the asked-for ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum GroupsPolicy {
    /// They are.
    #[default]
    Merge,
    /// They are not.
    Strict,
}

/// Which profile of a security module applies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Profile {
    /// None.
    #[default]
    Unconfined,
    /// The runtime's own.
    RuntimeDefault,
    /// One of this node: a file for seccomp, a loaded profile's name for AppArmor.
    Localhost(String),
}
