//! Versions of the specification, and what of a file came with which. A file says the version that it needs at least,
//! and one that says less than it uses is refused, as by every other reader.

use super::{CdiError, Edits, Written};

/// The versions there are, each as it is written.
const VERSIONS: [&str; 8] = [
    "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0",
];

/// Checks that the version is known and is not below what the file uses.
pub(super) fn check(file: &Written) -> Result<(), CdiError> {
    let said = file.cdi_version.strip_prefix('v').unwrap_or(&file.cdi_version);
    let Some(version) = VERSIONS.iter().position(|known| *known == said) else {
        let problem = format!("{:?} is none of {}", file.cdi_version, VERSIONS.join(", "));
        return Err(CdiError::field("cdiVersion", problem));
    };
    let (needed, what) = needed(file);
    let needed = VERSIONS.iter().position(|v| *v == needed).unwrap_or_default();
    if version < needed {
        let problem = format!("{said} has no {what}, which came with {}", VERSIONS[needed]);
        return Err(CdiError::field("cdiVersion", problem));
    }
    Ok(())
}

/// The lowest version that has all that a file uses, and the newest thing it uses.
fn needed(file: &Written) -> (&'static str, &'static str) {
    let of_devices = file.devices.iter().map(|device| &device.container_edits);
    let edits: Vec<&Edits> = of_devices.chain([&file.container_edits]).collect();
    let any = |uses: fn(&Edits) -> bool| edits.iter().any(|edits| uses(edits));
    let dotted = file
        .kind
        .split_once('/')
        .is_some_and(|(_, class)| class.contains('.'));
    let annotated = !file.annotations.is_empty() || file.devices.iter().any(|d| !d.annotations.is_empty());
    let digit = |name: &str| name.starts_with(|c: char| c.is_ascii_digit());
    let newest_first = [
        (any(|e| !e.net_devices.is_empty()), "1.1.0", "netDevices"),
        (
            any(|e| {
                e.intel_rdt
                    .as_ref()
                    .is_some_and(|rdt| !rdt.schemata.is_empty() || rdt.enable_monitoring)
            }),
            "1.1.0",
            "intelRdt.schemata or intelRdt.enableMonitoring",
        ),
        (any(|e| e.intel_rdt.is_some()), "0.7.0", "intelRdt"),
        (any(|e| !e.additional_gids.is_empty()), "0.7.0", "additionalGids"),
        (annotated, "0.6.0", "annotations"),
        (dotted, "0.6.0", "dot in a class"),
        (
            file.devices.iter().any(|device| digit(&device.name)),
            "0.5.0",
            "device whose name begins with a digit",
        ),
        (
            any(|e| e.device_nodes.iter().any(|node| !node.host_path.is_empty())),
            "0.5.0",
            "deviceNodes.hostPath",
        ),
        (
            any(|e| e.mounts.iter().any(|mount| !mount.kind.is_empty())),
            "0.4.0",
            "mounts.type",
        ),
    ];
    let newest = newest_first.into_iter().find(|(used, ..)| *used);
    newest.map_or((VERSIONS[0], ""), |(_, version, what)| (version, what))
}
