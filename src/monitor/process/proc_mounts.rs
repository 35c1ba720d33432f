//! What lies on the `/proc` of a created container: nothing but what its specification puts there.
//!
//! The specification names places by their letters; libcontainer follows links of the image and of volumes from there.
//! A volume that is led upon `/proc` so could take the place of what the last stage and the container's own privileged
//! programs write to. The container's code does not run yet, so that what is found here is final.

use crate::monitor::process::failure;
use crate::monitor::protocol::{Failure, FailureKind};
use crate::sys::mount::{self, Mounted};
use oci_spec::runtime::Spec;
use std::path::Path;

const PROC: &str = "/proc";
const DRIVERS: &str = "/proc/driver";

/// Refuses a container of which any other mount lies on `/proc`.
pub(super) fn check(pid: i32, bundle: &Path) -> Result<(), Failure> {
    let spec = Spec::load(bundle.join("config.json")).map_err(failure::at("read config.json"))?;
    let table = mount::table(&pid.to_string()).map_err(failure::at("read the container's mounts"))?;
    match stranger(&table, &spec) {
        None => Ok(()),
        Some(found) => {
            let text = format!("a mount is led upon {}, by a link", found.point.display());
            Err(failure::of(FailureKind::Invalid, text))
        }
    }
}

/// The first mount on `/proc` that the specification does not put there.
fn stranger<'a>(table: &'a [Mounted], spec: &Spec) -> Option<&'a Mounted> {
    let linux = spec.linux().as_ref();
    let listed = |paths: Option<&Vec<String>>, point: &Path| {
        paths.is_some_and(|paths| paths.iter().any(|path| Path::new(path) == point))
    };
    let masked = |point: &Path| listed(linux.and_then(|l| l.masked_paths().as_ref()), point);
    let closed = |point: &Path| listed(linux.and_then(|l| l.readonly_paths().as_ref()), point);
    // A driver's own figures, which hooks of its devices replace; nothing of ours is read or written there.
    let hooked = |point: &Path| spec.hooks().is_some() && point.starts_with(DRIVERS);
    let asked = |point: &Path| spec.mounts().iter().flatten().any(|m| m.destination() == point);
    let mut roots = 0;
    table.iter().filter(|m| m.point.starts_with(PROC)).find(|m| {
        let is_proc = m.kind == "proc";
        if m.point == Path::new(PROC) {
            roots += 1;
            return !is_proc || roots > 1;
        }
        // A read-only path is a copy of what was there, a masked one is covered whatever was there.
        !(masked(&m.point) || closed(&m.point) && is_proc || asked(&m.point) || hooked(&m.point))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{LinuxBuilder, MountBuilder, SpecBuilder};

    fn mounted(point: &str, kind: &str) -> Mounted {
        Mounted {
            root: "/".into(),
            point: point.into(),
            kind: kind.into(),
        }
    }

    #[test]
    fn only_what_the_specification_names_lies_on_proc() {
        let linux = LinuxBuilder::default()
            .masked_paths(["/proc/kcore".to_owned()])
            .readonly_paths(["/proc/sys".to_owned()])
            .build()
            .unwrap();
        let stat = MountBuilder::default().destination("/proc/stat").build().unwrap();
        let spec = SpecBuilder::default()
            .linux(linux)
            .mounts([stat])
            .build()
            .unwrap();
        let good = [
            mounted("/", "overlay"),
            mounted("/proc", "proc"),
            mounted("/procession", "ext4"),
            mounted("/proc/kcore", "tmpfs"),
            mounted("/proc/sys", "proc"),
            mounted("/proc/stat", "fuse"),
        ];
        assert_eq!(stranger(&good, &spec), None);

        for bad in [
            mounted("/proc", "ext4"),
            mounted("/proc", "proc"),
            mounted("/proc/1/attr", "ext4"),
            mounted("/proc/sys", "ext4"),
            mounted("/proc/sys/kernel", "proc"),
        ] {
            let table = [&good[..], std::slice::from_ref(&bad)].concat();
            assert_eq!(stranger(&table, &spec), Some(&bad));
        }
    }
}
