//! Device rules on cgroup v2, which the engine (built without libbpf) leaves out: taken from `config.json`.

use crate::monitor::process::failure;
use crate::monitor::protocol::{Failure, FailureKind};
use crate::sys::cgroup::devices::{DeviceKind, DeviceRule, MKNOD, READ, WRITE};
use crate::sys::cgroup::{Cgroup, Version};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType, Spec};
use std::path::Path;

/// Character devices that every container may use, OCI runtime specification, "Default Devices": null, zero, full, random,
/// urandom, tty, console, ptmx, and all terminals.
const ALWAYS: [(u32, Option<u32>); 9] = [
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

/// Sets the rules for a created container, whose own code does not run yet.
pub(super) fn restrict(cgroup: &Cgroup, bundle: &Path) -> Result<(), Failure> {
    if cgroup.version() == Version::V1 {
        return Ok(());
    }
    let spec = Spec::load(bundle.join("config.json")).map_err(failure::at("read config.json"))?;
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let wanted = resources.and_then(|r| r.devices().as_deref()).unwrap_or_default();
    cgroup
        .set_device_rules(&rules(wanted)?)
        .map_err(failure::at("set the device rules"))
}

/// The specification's rules in order, then what is always allowed; none when there are none.
fn rules(wanted: &[LinuxDeviceCgroup]) -> Result<Vec<DeviceRule>, Failure> {
    if wanted.is_empty() {
        return Ok(vec![]);
    }
    let mut rules = wanted.iter().map(rule).collect::<Result<Vec<_>, _>>()?;
    let allow = |kind, major, minor, access| DeviceRule {
        allow: true,
        kind: Some(kind),
        major,
        minor,
        access,
    };
    // A node may be made of anything: opening it is what counts.
    rules.extend([DeviceKind::Character, DeviceKind::Block].map(|kind| allow(kind, None, None, MKNOD)));
    let all = MKNOD | READ | WRITE;
    rules.extend(ALWAYS.map(|(major, minor)| allow(DeviceKind::Character, Some(major), minor, all)));
    Ok(rules)
}

fn rule(wanted: &LinuxDeviceCgroup) -> Result<DeviceRule, Failure> {
    let kind = match wanted.typ() {
        None | Some(LinuxDeviceType::A) => None,
        Some(LinuxDeviceType::B) => Some(DeviceKind::Block),
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(DeviceKind::Character),
        Some(LinuxDeviceType::P) => {
            return Err(failure::of(FailureKind::Invalid, "device rule for a pipe"));
        }
    };
    // Absent or -1: any.
    let number = |n: Option<i64>| n.and_then(|n| u32::try_from(n).ok());
    let bit = |letter| match letter {
        'r' => READ,
        'w' => WRITE,
        'm' => MKNOD,
        _ => 0,
    };
    let access = wanted
        .access()
        .as_deref()
        .unwrap_or("rwm")
        .chars()
        .map(bit)
        .fold(0, |all, bit| all | bit);
    Ok(DeviceRule {
        allow: wanted.allow(),
        kind,
        major: number(wanted.major()),
        minor: number(wanted.minor()),
        access,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_keep_their_order_and_the_usual_devices_follow() {
        let wanted: Vec<LinuxDeviceCgroup> = serde_json::from_value(json!([
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "major": 10, "minor": -1, "access": "rw" },
        ]))
        .unwrap();

        let rules = rules(&wanted).unwrap();

        let deny = DeviceRule {
            allow: false,
            kind: None,
            major: None,
            minor: None,
            access: 7,
        };
        let allow = DeviceRule {
            allow: true,
            kind: Some(DeviceKind::Character),
            major: Some(10),
            minor: None,
            access: 6,
        };
        assert_eq!(rules[..2], [deny, allow]);
        assert_eq!(rules.len(), 2 + 2 + ALWAYS.len());
    }

    #[test]
    fn no_rules_stay_none() {
        assert_eq!(rules(&[]).unwrap(), []);
    }
}
