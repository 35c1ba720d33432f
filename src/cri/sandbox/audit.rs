//! What exists of sandboxes, compared with their records: directories, pinned namespaces, shared memory, reapers.
//!
//! As everywhere in an audit, what exists is looked at first and the records afterwards: a record is written before the
//! first thing of its sandbox and removed after the last.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::model::audit::{Class, Finding, Thing};
use crate::model::{Error, Result};
use crate::state::Store;
use crate::sys::zygote::Reaper;
use crate::sys::{fs, mount, pidfd, systemd};

use super::debts::Debt;
use super::namespaces::{Held, pins};
use super::pins::{KINDS, NETWORK, holds, noted};
use super::record::{Attachment, Phase, Record};
use super::run::remove_dir;

/// What sandboxes claim outside of their own directories.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims {
    /// Parents of control groups.
    pub(crate) cgroup_parents: BTreeSet<String>,
    /// Ids whose attachments the network may hold, debts included.
    pub(crate) attached: BTreeSet<String>,
}

/// Reads what sandboxes claim. Blocks.
///
/// # Errors
/// The store cannot be read.
pub(crate) fn claims(store: &Store) -> Result<Claims> {
    let mut claims = Claims::default();
    // Records first: one that becomes a debt meanwhile is in either.
    let records = store.peek::<Record>()?;
    for (id, record) in records.records {
        if !record.config.cgroup_parent.is_empty() {
            claims
                .cgroup_parents
                .insert(systemd::expand(&record.config.cgroup_parent));
        }
        if record.network == Attachment::Held {
            claims.attached.insert(id);
        }
    }
    let debts = store.peek::<Debt>()?;
    claims
        .attached
        .extend(debts.records.into_iter().map(|(id, _)| id));
    claims.attached.extend(records.unreadable);
    claims.attached.extend(debts.unreadable);
    Ok(claims)
}

/// Compares what exists of sandboxes with their records. `dir` has their directories; `reapers` are the processes that
/// hold PID namespaces. Blocks.
///
/// # Errors
/// What cannot be looked at.
pub(crate) fn audit(dir: &Path, store: &Store, reapers: &[Reaper]) -> Result<Vec<Finding>> {
    let ready_before = ready(&store.peek()?.records);
    let directories =
        fs::names(dir).map_err(|e| Error::internal(format!("cannot list {}", dir.display())).because(e))?;
    let points = mount::points().map_err(|e| Error::internal("cannot list mounts").because(e))?;
    let points: Vec<PathBuf> = points
        .into_iter()
        .filter(|point| point.starts_with(dir) && point != dir)
        .collect();
    let noted: Vec<Reaper> = directories
        .iter()
        .filter_map(|id| noted(&dir.join(id)).transpose())
        .collect::<io::Result<_>>()
        .map_err(|e| Error::internal("cannot read the notes of reapers").because(e))?;
    let broken: BTreeSet<&String> = ready_before
        .iter()
        .filter(|(id, pins)| {
            let held = Held {
                dir: dir.join(id),
                pins: pins.to_vec(),
            };
            !holds(&held)
        })
        .map(|(id, _)| id)
        .collect();

    let after = store.peek::<Record>()?;
    // Debts afterwards: a record goes when there is one.
    let debts = store.peek::<Debt>()?;
    let mut owed: BTreeSet<&str> = debts.records.iter().map(|(id, _)| id.as_str()).collect();
    owed.extend(debts.unreadable.iter().map(String::as_str));
    let mut owners: BTreeSet<&str> = after.records.iter().map(|(id, _)| id.as_str()).collect();
    owners.extend(after.unreadable.iter().map(String::as_str));
    let making = after
        .records
        .iter()
        .any(|(_, record)| record.phase == Phase::Making);
    let ready_after = ready(&after.records);

    let mut found = vec![];
    let is_owned = |id: &&String| owners.contains(id.as_str()) || owed.contains(id.as_str());
    for id in directories.iter().filter(|id| !is_owned(id)) {
        let expected = "nothing: no pod sandbox has this id";
        found.push(Finding::repairable(
            Class::Directory,
            Thing::Path(dir.join(id)),
            expected,
        ));
    }
    for point in points {
        let inner = point.strip_prefix(dir).unwrap_or(&point);
        let mut parts = inner.components().map(|part| part.as_os_str().to_string_lossy());
        let (id, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let owned = owners.contains(id.as_ref()) && (KINDS.contains(&name.as_ref()) || name == "shm");
        if owned || owed.contains(id.as_ref()) && name == NETWORK {
            continue;
        }
        let class = match KINDS.contains(&name.as_ref()) {
            true => Class::Namespace,
            false => Class::Mount,
        };
        let expected = "nothing is mounted here: no pod sandbox has it";
        found.push(Finding::repairable(class, Thing::Path(point), expected));
    }
    // The reaper of a sandbox in the making is not noted for an instant.
    if !making {
        for reaper in reapers.iter().filter(|reaper| !noted.contains(reaper)) {
            let Reaper { pid, start_time } = *reaper;
            let thing = Thing::Process { pid, start_time };
            found.push(match shares_namespace(pid) {
                false => Finding::repairable(Class::Process, thing, "no reaper: no pod sandbox has it"),
                true => Finding::for_a_person(
                    Class::Process,
                    thing,
                    "the reaper of a pod sandbox; others live in its PID namespace",
                ),
            });
        }
    }
    for id in broken.into_iter().filter(|id| ready_after.contains_key(*id)) {
        let expected = "all its namespaces, since it is ready; stopping and removing the pod settles it";
        found.push(Finding::for_a_person(
            Class::Namespace,
            Thing::Id(id.clone()),
            expected,
        ));
    }
    Ok(found)
}

/// The sandboxes that are ready, with the names of their pins.
fn ready(records: &[(String, Record)]) -> BTreeMap<String, Vec<&'static str>> {
    let ready = records.iter().filter(|(_, record)| record.phase == Phase::Ready);
    ready
        .map(|(id, record)| (id.clone(), pins(record.config.namespaces)))
        .collect()
}

/// Whether any other process is in the PID namespace of this one.
fn shares_namespace(pid: i32) -> bool {
    let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(own) = namespace(pid) else {
        return false;
    };
    let all = crate::sys::proc::processes().unwrap_or_default();
    all.into_iter()
        .any(|other| other != pid && namespace(other).as_ref() == Some(&own))
}

/// Puts a finding of [`audit`] right. Blocks.
///
/// # Errors
/// What could not be done. Doing so twice succeeds.
pub(crate) fn repair(finding: &Finding) -> Result<()> {
    let failed =
        |error: std::io::Error| Error::internal(format!("cannot put {} right", finding.thing)).because(error);
    match &finding.thing {
        Thing::Process { pid, start_time } => pidfd::kill_exact(*pid, *start_time).map_err(failed),
        Thing::Path(path) if finding.class == Class::Directory => {
            mount::detach_below(path).map_err(failed)?;
            remove_dir(path)
        }
        Thing::Path(path) => mount::detach_if_mounted(path).map_err(failed),
        other => Err(Error::internal(format!("{other} cannot be put right here"))),
    }
}
