//! Device nodes of a container, and which devices its cgroup may use.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
};

use crate::model::Device;

use super::Input;
use super::error::SpecError;
use super::user::Identity;

/// A device node of the host, as found by `stat(2)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceNode {
    /// Where the node is on the host.
    pub host_path: PathBuf,
    /// Where it appears in the container.
    pub path: PathBuf,
    /// Character, block or fifo.
    pub kind: DeviceKind,
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// Permission bits.
    pub mode: u32,
    /// Owner; absent is the first process's.
    pub uid: Option<u32>,
    /// Group; absent is the first process's.
    pub gid: Option<u32>,
    /// Any of `r`, `w`, `m`, or none.
    pub access: String,
}

/// What a device node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// Character device.
    Char,
    /// Block device.
    Block,
    /// Named pipe. No cgroup rule concerns it.
    Fifo,
}

/// Where libcontainer makes nodes.
const DEV: &str = "/dev";
/// Major and minor numbers every container may use: null, zero, full, random, urandom, tty, console, ptmx, and all
/// pseudo terminals.
const ALWAYS: [(i64, Option<i64>); 9] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
];
/// Paths that libcontainer or the kernel fills; a node of the host's there would break them.
const OWN: [&str; 5] = ["/dev/ptmx", "/dev/console", "/dev/pts", "/dev/shm", "/dev/mqueue"];

/// Checks what the configuration says of devices.
pub(super) fn check(devices: &[Device]) -> Result<(), SpecError> {
    for (n, device) in devices.iter().enumerate() {
        let field = |name: &str| format!("devices[{n}].{name}");
        if !device.host_path.starts_with('/') {
            return Err(SpecError::invalid(field("host_path"), "is not an absolute path"));
        }
        if !device.container_path.starts_with('/') {
            return Err(SpecError::invalid(
                field("container_path"),
                "is not an absolute path",
            ));
        }
        if let Some(problem) = place_problem(&device.container_path) {
            return Err(SpecError::invalid(field("container_path"), problem));
        }
        if device.permissions.is_empty() || device.permissions.chars().any(|c| !"rwm".contains(c)) {
            let problem = format!("{:?} is not made of r, w and m", device.permissions);
            return Err(SpecError::invalid(field("permissions"), problem));
        }
    }
    Ok(())
}

/// Why a node cannot be put at a path of the container, if it cannot.
pub fn place_problem(path: &str) -> Option<String> {
    if path.split('/').any(|part| part == "..") {
        return Some(format!("{path:?} contains .."));
    }
    // Compared by components: a slash more makes no other place.
    is_own(Path::new(path)).then(|| format!("{path:?} is where the runtime has something of its own"))
}

/// The nodes to make. Others are bound, see [`bound`].
pub(super) fn nodes(input: &Input<'_>, identity: &Identity) -> Vec<LinuxDevice> {
    let is_node = |d: &&DeviceNode| !is_bound(d, input) && !is_own(&d.path);
    input
        .devices
        .iter()
        .filter(is_node)
        .map(|d| {
            LinuxDeviceBuilder::default()
                .path(d.path.clone())
                .typ(d.kind)
                .major(d.major)
                .minor(d.minor)
                .file_mode(d.mode & 0o7777)
                .uid(d.uid.unwrap_or(identity.uid))
                .gid(d.gid.unwrap_or(identity.gid))
                .build()
                .expect("every field of the device is set")
        })
        .collect()
}

/// The nodes that the host's are bound for, because nobody can make them: libcontainer makes none outside `/dev`, and in
/// a user namespace the kernel lets it make none at all. There it binds what the host has at the same path, which is
/// another device when the container's path is another.
pub(super) fn bound<'a>(input: &Input<'a>) -> impl Iterator<Item = &'a DeviceNode> {
    input
        .devices
        .iter()
        .filter(|d| is_bound(d, input) && !is_own(&d.path))
}

fn is_bound(device: &DeviceNode, input: &Input<'_>) -> bool {
    let moved = device.path != device.host_path;
    !device.path.starts_with(DEV) || moved && input.linux().user.is_some()
}

fn is_own(path: &Path) -> bool {
    OWN.iter().any(|own| path.starts_with(own))
}

/// Access rules, in order: nothing, then what every container has, then the container's own. Anyone may make any
/// node, since that alone gives no access.
pub(super) fn rules(devices: &[DeviceNode], all: bool) -> Vec<LinuxDeviceCgroup> {
    if all {
        return vec![rule(true, LinuxDeviceType::A, None, None, "rwm")];
    }
    let mut rules = vec![
        rule(false, LinuxDeviceType::A, None, None, "rwm"),
        rule(true, LinuxDeviceType::C, None, None, "m"),
        rule(true, LinuxDeviceType::B, None, None, "m"),
    ];
    rules.extend(
        ALWAYS
            .iter()
            .map(|(major, minor)| rule(true, LinuxDeviceType::C, Some(*major), *minor, "rwm")),
    );
    rules.extend(
        devices
            .iter()
            // One that nothing is granted for is there to be seen.
            .filter(|d| d.kind != DeviceKind::Fifo && !d.access.is_empty())
            .map(|d| rule(true, d.kind.into(), Some(d.major), Some(d.minor), &d.access)),
    );
    rules
}

fn rule(
    allow: bool,
    kind: LinuxDeviceType,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroupBuilder::default()
        .allow(allow)
        .typ(kind)
        .access(access)
        .build()
        .expect("a rule has no required field");
    rule.set_major(major).set_minor(minor);
    rule
}

impl From<DeviceKind> for LinuxDeviceType {
    fn from(kind: DeviceKind) -> LinuxDeviceType {
        match kind {
            DeviceKind::Char => LinuxDeviceType::C,
            DeviceKind::Block => LinuxDeviceType::B,
            DeviceKind::Fifo => LinuxDeviceType::P,
        }
    }
}
