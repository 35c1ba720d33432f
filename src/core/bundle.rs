//! A container's bundle: what libcontainer reads, and where the root file system and the staged trees are mounted.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxPids, Spec};

use super::recover::PROCESS;
use super::{Core, failed, files};
use crate::image::Snapshot;
use crate::model::{ContainerConfig, Result, UserNamespace};
use crate::monitor::protocol::{Overlay, Process};

/// Where the create worker mounts, in a mount namespace of its own.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// The root file system.
    pub(super) rootfs: PathBuf,
    /// Staged trees.
    pub(super) staging: PathBuf,
    /// Both are everybody's: they are there, and hold nothing on the host.
    shared: bool,
}

impl Core {
    /// Below the container's own directory, which nobody but root may pass; the root of a user namespace, who opens these
    /// paths, may pass those above the shared one. See [`Core::mounts_dir`].
    pub(super) fn places(&self, id: &str, config: &ContainerConfig) -> Places {
        let shared = user_of(config).is_some();
        let above = match shared {
            true => self.mounts_dir(),
            false => self.directory(id),
        };
        Places {
            rootfs: above.join("rootfs"),
            staging: match shared {
                true => above,
                false => above.join("staging"),
            },
            shared,
        }
    }
}

/// The user namespace that a configuration joins.
pub(super) fn user_of(config: &ContainerConfig) -> Option<&UserNamespace> {
    config.linux.as_ref()?.user.as_ref()
}

/// Writes the bundle and makes its directories below `dir`.
pub(super) fn write(dir: &Path, places: &Places, spec: &Spec, process: &Process) -> Result<()> {
    let write = || -> std::io::Result<()> {
        files::private_dir(&dir.join("bundle"))?;
        if !places.shared {
            files::private_dir(&places.rootfs)?;
            files::private_dir(&places.staging)?;
        }
        std::fs::write(dir.join("bundle/config.json"), serde_json::to_vec(spec)?)?;
        std::fs::write(dir.join(PROCESS), serde_json::to_vec(process)?)
    };
    write().map_err(|e| failed("write below", dir, e))
}

/// The runtime's own limit of processes, which CRI does not ask for.
pub(super) fn limit_processes(spec: &mut Spec, limit: i64) {
    if limit <= 0 {
        return;
    }
    let mut linux = spec.linux().clone().unwrap_or_default();
    let mut resources = linux.resources().clone().unwrap_or_default();
    let mut pids = LinuxPids::default();
    pids.set_limit(limit);
    resources.set_pids(Some(pids));
    linux.set_resources(Some(resources));
    spec.set_linux(Some(linux));
}

/// A snapshot in the monitor's terms, mounted with further options of overlay's.
pub(super) fn overlay(snapshot: &Snapshot, target: &Path, options: Vec<String>) -> Overlay {
    Overlay {
        lower: snapshot.lower.clone(),
        upper: Some(snapshot.upper.clone()),
        work: Some(snapshot.work.clone()),
        target: target.to_owned(),
        options,
    }
}
