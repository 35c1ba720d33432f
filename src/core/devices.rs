//! The host's device nodes: those a configuration asks for, and all of them for a privileged container.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::model::{Device, Error, Result};
use crate::spec::{DeviceKind, DeviceNode};

/// Directories of `/dev` that hold no devices of the host's own, or are file systems of every container.
const LEFT_OUT: [&str; 6] = [
    "/dev/pts",
    "/dev/shm",
    "/dev/fd",
    "/dev/mqueue",
    "/dev/console",
    "/dev/.lxc",
];

/// Looks up the nodes of a configuration; a directory stands for every device below it (as `/dev/snd`).
///
/// # Errors
/// `InvalidArgument`, naming the device.
pub(super) fn asked(devices: &[Device]) -> Result<Vec<DeviceNode>> {
    let mut found = vec![];
    for (n, device) in devices.iter().enumerate() {
        let refused =
            |why: &str| Error::invalid(format!("devices[{n}].host_path {:?} {why}", device.host_path));
        // What the path names, also behind links; whether it is absolute, the specification checks.
        let source = std::fs::canonicalize(&device.host_path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => refused("does not exist"),
            _ => refused("cannot be used").because(e),
        })?;
        let place = PathBuf::from(&device.container_path);
        let before = found.len();
        collect(&source, &place, &device.permissions, &[], &mut found)
            .map_err(|e| refused("cannot be used").because(e))?;
        if found.len() == before {
            return Err(refused("is no device"));
        }
    }
    Ok(found)
}

/// Looks up every device node of the host.
///
/// # Errors
/// When `/dev` cannot be read.
pub(super) fn all() -> io::Result<Vec<DeviceNode>> {
    let mut found = vec![];
    let left_out = LEFT_OUT.map(Path::new);
    collect(Path::new("/dev"), Path::new("/dev"), "rwm", &left_out, &mut found)?;
    Ok(found)
}

fn collect(
    source: &Path,
    place: &Path,
    access: &str,
    left_out: &[&Path],
    found: &mut Vec<DeviceNode>,
) -> io::Result<()> {
    if left_out.contains(&source) {
        return Ok(());
    }
    // Links within a directory lead to nodes that are found by themselves.
    let meta = std::fs::symlink_metadata(source)?;
    if meta.is_dir() {
        for entry in std::fs::read_dir(source)? {
            let entry = entry?;
            let (source, place) = (entry.path(), place.join(entry.file_name()));
            match collect(&source, &place, access, left_out, found) {
                // Hotplug: gone between the listing and the look.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        return Ok(());
    }
    let kind = match meta.file_type() {
        t if t.is_char_device() => DeviceKind::Char,
        t if t.is_block_device() => DeviceKind::Block,
        _ => return Ok(()),
    };
    found.push(DeviceNode {
        host_path: source.to_owned(),
        path: place.to_owned(),
        kind,
        major: i64::from(rustix::fs::major(meta.rdev())),
        minor: i64::from(rustix::fs::minor(meta.rdev())),
        mode: meta.mode() & 0o7777,
        uid: Some(meta.uid()),
        gid: Some(meta.gid()),
        access: access.to_owned(),
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(host_path: &str, container_path: &str) -> Device {
        Device {
            host_path: host_path.into(),
            container_path: container_path.into(),
            permissions: "rw".into(),
        }
    }

    #[test]
    fn a_node_is_found_by_its_numbers() {
        let found = asked(&[device("/dev/null", "/dev/nil")]).unwrap();

        assert_eq!(
            (found[0].major, found[0].minor, found[0].kind),
            (1, 3, DeviceKind::Char)
        );
        assert_eq!(found[0].path, Path::new("/dev/nil"));
    }

    #[test]
    fn what_is_no_device_is_refused_by_name() {
        for path in ["/dev/nope", "/etc/passwd"] {
            let error = asked(&[device(path, "/dev/x")]).unwrap_err();

            assert!(error.to_string().contains(path), "{error}");
        }
    }
}
