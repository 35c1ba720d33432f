//! The file systems that make a container a Linux machine: `/proc`, `/dev`, `/sys` and the cgroups.

use std::path::PathBuf;

use oci_spec::runtime::{Mount as OciMount, MountBuilder};

use crate::model::Namespace;

use super::Input;
use super::host::{Cgroups, Hierarchy};
use super::mounts::Source;

/// Device nodes.
pub(super) const DEV: &str = "/dev";
/// Shared memory.
pub(super) const SHM: &str = "/dev/shm";
/// Devices and drivers, and the network namespace's part of them.
pub(super) const SYS: &str = "/sys";
/// The group of terminals in every distribution.
const TTY: u32 = 5;
/// The cgroups.
pub(super) const CGROUP: &str = "/sys/fs/cgroup";
/// The kind of file system that is there.
pub(super) const CGROUPS: &str = "cgroup";
/// What no file system needs that is not for programs.
pub(super) const QUIET: [&str; 3] = ["nosuid", "noexec", "nodev"];

/// Those of a container, in the order they are mounted.
pub(super) fn filesystems(input: &Input<'_>) -> Vec<OciMount> {
    let linux = input.linux();
    let privileged = linux.security.privileged;
    let has_tty = linux.user.as_ref().is_none_or(|u| u.gids.to_host(TTY).is_some());
    let mut mounts = system(privileged, has_tty);
    mounts.push(cgroups(privileged));
    if let Some(labels) = input.labels {
        mounts
            .iter_mut()
            .for_each(|mount| label(mount, &labels.mount_option()));
    }
    mounts
}

/// The label for the directory of message queues. They are a namespace's: those of the host stay as they are.
pub(super) fn queues(input: &Input<'_>, mounts: &[OciMount]) -> Option<String> {
    let own = input.linux().namespaces.ipc != Namespace::Host;
    let there = mounts
        .iter()
        .any(|mount| mount.typ().as_deref() == Some("mqueue"));
    input
        .labels
        .filter(|_| own && there)
        .map(|labels| labels.files.clone())
}

/// Gives a file system that is the container's own a label as a whole. The others there are once for many, and of
/// libcontainer's `mountLabel` they would get it too, which the kernel refuses.
fn label(mount: &mut OciMount, option: &str) {
    let own = matches!(mount.typ().as_deref(), Some("tmpfs" | "devpts"));
    if let Some(options) = mount.options_mut().as_mut().filter(|_| own) {
        options.push(option.to_owned());
    }
}

/// What is to be read-only in the end, and cannot be mounted so. On v1 that is the directory of the hierarchies: their
/// mount points have to be made in it first.
pub(super) fn readonly(cgroups: &Cgroups) -> Option<String> {
    matches!(cgroups, Cgroups::V1(_)).then(|| CGROUP.to_owned())
}

/// A mount in the OCI's terms.
pub(super) fn mount(destination: &str, kind: &str, source: impl Into<PathBuf>, options: &[&str]) -> OciMount {
    MountBuilder::default()
        .destination(destination)
        .typ(kind)
        .source(source)
        .options(options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>())
        .build()
        .expect("a mount with a destination is complete")
}

/// The file systems every container has.
fn system(privileged: bool, has_tty: bool) -> Vec<OciMount> {
    let with = |more: &[&'static str]| [&QUIET, more].concat();
    // Without its group a terminal's owner could not be written to.
    let group = format!("gid={TTY}");
    let mut terminals = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    terminals.extend(has_tty.then_some(group.as_str()));
    let sysfs = if privileged { with(&["rw"]) } else { with(&["ro"]) };
    vec![
        mount("/proc", "proc", "proc", &QUIET),
        mount(
            DEV,
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount("/dev/pts", "devpts", "devpts", &terminals),
        mount(SHM, "tmpfs", "shm", &with(&["mode=1777", "size=65536k"])),
        mount("/dev/mqueue", "mqueue", "mqueue", &QUIET),
        mount(SYS, "sysfs", "sysfs", &sysfs),
    ]
}

/// On v1 [`hierarchies`] are staged in its place.
fn cgroups(privileged: bool) -> OciMount {
    let access = if privileged { "rw" } else { "ro" };
    mount(
        CGROUP,
        CGROUPS,
        CGROUPS,
        &["nosuid", "noexec", "nodev", "relatime", access],
    )
}

/// What is shown at [`CGROUP`] on v1: the container's own directory of each hierarchy, read-only. Never a mount of type
/// `cgroup`: there libcontainer ignores `ro`, and binds the host's root of a hierarchy that it does not manage.
pub(super) fn hierarchies(input: &Input<'_>, cgroup: &str) -> Option<Source> {
    let Cgroups::V1(hierarchies) = &input.host.cgroups else {
        return None;
    };
    let one = |hierarchy: &Hierarchy| {
        let own = hierarchy.mountpoint.join(cgroup.trim_start_matches('/'));
        names(hierarchy).into_iter().map(move |name| (name, own.clone()))
    };
    Some(Source::Hierarchies {
        directories: hierarchies.iter().flat_map(one).collect(),
        writable: input.linux().security.privileged,
    })
}

/// The names a hierarchy is looked for under: its mount point's, and each controller's of a joint one.
fn names(hierarchy: &Hierarchy) -> Vec<String> {
    let own = hierarchy
        .mountpoint
        .file_name()
        .map(|n| n.to_string_lossy().into_owned());
    let mut names: Vec<String> = own.into_iter().collect();
    if hierarchy.controllers.len() > 1 {
        let missing: Vec<_> = hierarchy
            .controllers
            .iter()
            .filter(|c| !names.contains(c))
            .cloned()
            .collect();
        names.extend(missing);
    }
    names
}
