//! The control group of a container: a directory, or with the systemd driver a scope of the service manager's.
//!
//! A scope needs a process to begin with, long before the container has one. That is a placeholder, which ends when the
//! container's first process is there, or when this daemon is not any more: then the scope is empty, and goes. Limits are
//! the scope's as well as the files', or the manager would undo them.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Core;
use super::entry::Entry;
use crate::model::{ContainerConfig, Error, Result};
use crate::sys::cgroup::update::{Journal, LimitError, Limits};
use crate::sys::cgroup::{Cgroup, Driver};
use crate::sys::step;
use crate::sys::systemd::{self, Scope, SystemdError};
use crate::sys::zygote::{Placeholder, Zygote};

/// Name of the file in a container's directory that says what is being made above its group.
const ABOVE: &str = "cgroups.json";

impl Core {
    /// The name of a container's group. With scopes, the parent in `config` becomes the path of the slice it names.
    ///
    /// # Errors
    /// `InvalidArgument`: it names none.
    pub(super) fn group_name(&self, id: &str, config: &mut ContainerConfig) -> Result<String> {
        if self.inner.settings.cgroup_driver == Driver::Cgroupfs {
            return Ok(id.to_owned());
        }
        if let Some(linux) = &mut config.linux
            && !linux.cgroup_parent.is_empty()
        {
            let slice = systemd::slice_of(&linux.cgroup_parent).ok_or_else(|| {
                let parent = &linux.cgroup_parent;
                Error::invalid(format!("linux.cgroup_parent {parent} is not a slice of systemd"))
            })?;
            linux.cgroup_parent = systemd::expand(slice);
        }
        Ok(systemd::unit_name(id))
    }

    /// The group, before libcontainer joins it: on version 1 its directories are bound into the container. What is
    /// returned keeps it until somebody else does.
    pub(super) async fn new_group(&self, entry: &Entry) -> Result<Option<Placeholder>> {
        let note = self.directory(&entry.id).join(ABOVE);
        let path = entry.record.cgroup.clone();
        let limits = self.limits(&entry.resources().unwrap_or_default())?;
        let zygote = match self.inner.settings.cgroup_driver {
            Driver::Cgroupfs => None,
            Driver::Systemd => Some(Arc::clone(&self.inner.zygote)),
        };
        let tasks = u64::try_from(self.pids_limit()).unwrap_or_default();
        let cannot = format!("cannot make cgroup {path}");
        let make = move || -> Result<Option<Placeholder>> {
            let failed = |e: io::Error| Error::internal(cannot.clone()).because(e);
            let place = zygote.map(|zygote| start(&zygote, &path, &limits, tasks));
            let place = place.transpose().map_err(|e| e.within(cannot.clone()))?;
            // A scope is there by now; controllers that the manager does not know are enabled on the way.
            create(&Cgroup::new(&path).map_err(failed)?, &note).map_err(failed)?;
            Ok(place)
        };
        let made = tokio::task::spawn_blocking(make).await;
        made.map_err(|e| Error::internal("cgroup").because(e))?
    }
}

/// Makes a group. What is missing above it is noted meanwhile, for [`claim`]: a daemon that is killed between a directory
/// and its mark leaves one that nobody would own.
fn create(group: &Cgroup, note: &Path) -> io::Result<()> {
    let missing = group.missing_above();
    if missing.is_empty() {
        return group.create();
    }
    fs::write(note, serde_json::to_vec(&missing)?)?;
    group.create()?;
    fs::remove_file(note)
}

fn start(zygote: &Zygote, path: &str, limits: &Limits, tasks: u64) -> Result<Placeholder> {
    let (parent, unit) = path.rsplit_once('/').unwrap_or_default();
    let (_, slice) = parent.rsplit_once('/').unwrap_or_default();
    let place = zygote
        .placeholder()
        .map_err(|e| Error::internal("placeholder").because(e))?;
    step("create.scope");
    let scope = Scope {
        unit,
        slice,
        description: "container of coracle",
        pid: place.pid(),
        limits: systemd::properties(limits, Some(tasks)),
    };
    systemd::start(scope).map_err(refused)?;
    Ok(place)
}

/// The scope that a group is, if there is one who knows it.
fn scope_of(group: &Cgroup) -> Option<&str> {
    systemd::unit_of(group.path()).filter(|_| systemd::is_here())
}

/// Sets the limits of a group's scope, all of them, and then again in the files what the manager rounds.
pub(super) fn set_limits(group: &Cgroup, limits: &Limits, journal: &mut Journal) -> Result<()> {
    let Some(unit) = scope_of(group) else {
        return Ok(());
    };
    step("update.scope");
    systemd::set(unit, &systemd::properties(limits, None)).map_err(refused)?;
    group
        .update(limits, journal)
        .map_err(|e: LimitError| Error::internal("limits").because(e))
}

/// Gives a group's scope back the limits that it had, when the files are about to get theirs.
pub(super) fn restore_limits(group: &Cgroup, limits: &Limits) {
    if let Some(unit) = scope_of(group)
        && let Err(error) = systemd::set(unit, &systemd::properties(limits, None))
    {
        tracing::error!(unit, %error, "limits of a scope not restored after an update that failed");
    }
}

/// Claims what a daemon that was killed has made above the group of the container with the directory `dir`.
pub(super) fn claim(dir: &Path) {
    // No note, or half of one: the making is done, or has not begun.
    let noted = fs::read(dir.join(ABOVE)).unwrap_or_default();
    Cgroup::claim_above(&serde_json::from_slice::<Vec<_>>(&noted).unwrap_or_default());
}

/// Ends and removes a group in which everything is killed. One that is not there is fine.
pub(super) fn remove(group: &Cgroup, dying: Duration) -> io::Result<()> {
    let stopped = match scope_of(group) {
        None => Ok(()),
        Some(unit) => {
            step("teardown.scope");
            systemd::stop(unit).map_err(|e| io::Error::other(text(&e)))
        }
    };
    let removed = group
        .remove(dying)
        .map_err(|e| io::Error::other(format!("cannot remove cgroup {}: {e}", group.path())));
    stopped.and(removed)
}

fn refused(error: SystemdError) -> Error {
    Error::internal("systemd").because(error)
}

fn text(error: &SystemdError) -> String {
    match error {
        SystemdError::Unreachable(cause) => format!("{error}: {cause}"),
        _ => error.to_string(),
    }
}
