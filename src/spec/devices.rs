//! Device nodes of a container, and which devices its cgroup may use.

use std::path::PathBuf;

use oci_spec::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
};

use crate::model::Device;

use super::error::SpecError;

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
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Any of `r`, `w`, `m`.
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
        if device.permissions.is_empty() || device.permissions.chars().any(|c| !"rwm".contains(c)) {
            let problem = format!("{:?} is not made of r, w and m", device.permissions);
            return Err(SpecError::invalid(field("permissions"), problem));
        }
    }
    Ok(())
}

/// The nodes to make. libcontainer makes nodes below `/dev` only; others are bound, see [`bound`].
pub(super) fn nodes(devices: &[DeviceNode]) -> Vec<LinuxDevice> {
    devices
        .iter()
        .filter(|d| d.path.starts_with(DEV) && !OWN.iter().any(|own| d.path.starts_with(own)))
        .map(|d| {
            LinuxDeviceBuilder::default()
                .path(d.path.clone())
                .typ(d.kind)
                .major(d.major)
                .minor(d.minor)
                .file_mode(d.mode & 0o7777)
                .uid(d.uid)
                .gid(d.gid)
                .build()
                .expect("every field of the device is set")
        })
        .collect()
}

/// The nodes that have a place outside `/dev`.
pub(super) fn bound(devices: &[DeviceNode]) -> impl Iterator<Item = &DeviceNode> {
    devices.iter().filter(|d| !d.path.starts_with(DEV))
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
            .filter(|d| d.kind != DeviceKind::Fifo)
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
