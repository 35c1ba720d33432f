//! What exists of containers, compared with their records: directories, sockets, control groups, mounts, monitors and
//! writable layers.
//!
//! What exists is looked at first, the records afterwards. A record is written before the first thing of its container
//! and removed after the last, so what has no record *then* has no owner, unless it goes in the same moment: whoever
//! asks looks twice and takes what both looks found.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::record::{ContainerRecord, Observation};
use super::{Core, failed, scope};
use crate::model::audit::{Class, Finding, Thing};
use crate::model::{Error, Result};
use crate::monitor::audit::{Door, Process, door, processes};
use crate::monitor::client::read_exit_record;
use crate::state::Store;
use crate::sys::cgroup::Cgroup;
use crate::sys::{fs, mount, pidfd, systemd};

/// How long killed processes may take to leave their group.
const DYING: Duration = Duration::from_secs(5);

/// Where containers leave traces.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The runtime directory.
    pub run_dir: PathBuf,
    /// Root of the image store.
    pub image_root: PathBuf,
    /// Parent of the groups of containers that name none.
    pub cgroup_parent: String,
    /// The group of monitors.
    pub monitor_cgroup: String,
    /// Further parents, told by whoever made them.
    pub further_parents: BTreeSet<String>,
}

/// What is under way, as a daemon knows it.
#[derive(Clone, Debug, Default)]
pub struct UnderWay {
    /// Containers that a call works on.
    pub containers: BTreeSet<String>,
}

impl Core {
    /// The containers that calls work on now.
    pub fn under_way(&self) -> UnderWay {
        let entries = self.inner.registry.all();
        let busy = entries.iter().filter(|entry| entry.operation.try_lock().is_err());
        UnderWay {
            containers: busy.map(|entry| entry.id.clone()).collect(),
        }
    }
}

/// What was seen of containers.
#[derive(Debug)]
struct Seen {
    directories: BTreeSet<String>,
    doors: BTreeMap<String, Door>,
    engine: BTreeSet<String>,
    snapshots: BTreeSet<String>,
    groups: Vec<Cgroup>,
    mounts: Vec<PathBuf>,
    monitors: Vec<Process>,
}

/// Compares what exists of containers with their records. Blocks. `under_way` is asked after the look; without a daemon
/// there is no answer.
///
/// # Errors
/// What cannot be looked at.
pub fn audit(scope: &Scope, store: &Store, under_way: impl Fn() -> Option<UnderWay>) -> Result<Vec<Finding>> {
    let before = store.peek::<ContainerRecord>()?;
    let mut parents = scope.further_parents.clone();
    parents.insert(scope.cgroup_parent.clone());
    let named = before
        .records
        .iter()
        .filter_map(|(_, record)| parent(&record.cgroup));
    parents.extend(named);
    let seen = Seen::look(scope, &parents)?;
    let busy = under_way();
    let after = store.peek::<ContainerRecord>()?;
    let mut owners: BTreeMap<&str, Option<&ContainerRecord>> = after
        .records
        .iter()
        .map(|(id, record)| (id.as_str(), Some(record)))
        .collect();
    owners.extend(after.unreadable.iter().map(|id| (id.as_str(), None)));
    let judge = Judge {
        scope,
        seen: &seen,
        owners,
        at_rest: busy.is_none(),
        busy: busy.unwrap_or_default(),
    };
    Ok(judge.all())
}

impl Seen {
    fn look(scope: &Scope, parents: &BTreeSet<String>) -> Result<Seen> {
        let containers = scope.run_dir.join("containers");
        let directories = names(&containers)?;
        let monitors = processes(&scope.monitor_cgroup)
            .map_err(|e| Error::internal("cannot look at the processes of monitors").because(e))?;
        let doors = directories
            .iter()
            .map(|id| (id.clone(), door(&containers.join(id))))
            .collect();
        let mut groups = vec![];
        for parent in parents {
            let below = Cgroup::new(parent).map(|group| group.below());
            groups.extend(below.map_err(|e| failed("list cgroup", Path::new(parent), e))?);
        }
        let points = mount::points().map_err(|e| Error::internal("cannot list mounts").because(e))?;
        Ok(Seen {
            doors,
            directories,
            engine: names(&scope.run_dir.join("engine"))?,
            snapshots: names(&scope.image_root.join("c"))?,
            groups,
            mounts: points
                .into_iter()
                .filter(|point| point.starts_with(&containers))
                .collect(),
            monitors: monitors.monitors,
        })
    }
}

struct Judge<'a> {
    scope: &'a Scope,
    seen: &'a Seen,
    owners: BTreeMap<&'a str, Option<&'a ContainerRecord>>,
    /// No daemon is there: what one has left half done, the next goes on with.
    at_rest: bool,
    busy: UnderWay,
}

impl Judge<'_> {
    fn all(&self) -> Vec<Finding> {
        let mut found = vec![];
        found.extend(self.processes());
        found.extend(self.mounts());
        found.extend(self.sockets());
        found.extend(self.groups());
        found.extend(self.directories());
        found
    }

    fn is_owned(&self, id: &str) -> bool {
        self.owners.contains_key(id)
    }

    fn directory(&self, id: &str) -> PathBuf {
        self.scope.run_dir.join("containers").join(id)
    }

    /// A monitor belongs to a directory with a record that has no end yet.
    fn processes(&self) -> Vec<Finding> {
        let mut by_pid = BTreeMap::new();
        for (id, door) in &self.seen.doors {
            if let Door::Open(pid) = door {
                by_pid.insert(*pid, id.as_str());
            }
        }
        let stray = |process: &Process, expected: String| {
            let Process { pid, start_time } = *process;
            Finding::repairable(Class::Process, Thing::Process { pid, start_time }, expected)
        };
        let mut found = vec![];
        for monitor in &self.seen.monitors {
            match by_pid.get(&monitor.pid) {
                // One that begins, or ends, has no socket for a moment.
                None if self.busy.containers.is_empty() => {
                    found.push(stray(
                        monitor,
                        "a monitor serves the directory of a container".into(),
                    ));
                }
                None => {}
                Some(id) if self.busy.containers.contains(*id) => {}
                Some(id) => match self.owners.get(id) {
                    None => found.push(stray(
                        monitor,
                        format!("no monitor: container {id} has no record"),
                    )),
                    // A daemon that was killed may have stored the end and not let the monitor go.
                    Some(Some(record)) if record.end.is_some() && !self.at_rest => {
                        found.push(stray(monitor, format!("no monitor: container {id} has ended")));
                    }
                    Some(_) => {}
                },
            }
        }
        found.extend(self.unwatched());
        found
    }

    /// A container that was made and whose end nobody has recorded has a monitor.
    fn unwatched(&self) -> Vec<Finding> {
        let is_lost = |id: &str, record: &ContainerRecord| {
            let dir = self.directory(id);
            record.end.is_none()
                && !self.busy.containers.contains(id)
                && !matches!(self.seen.doors.get(id), Some(Door::Open(_)))
                && matches!(Observation::load(&dir), Ok(Some(_)))
                && !matches!(read_exit_record(&dir), Ok(Some(_)))
        };
        let living = self
            .owners
            .iter()
            .filter_map(|(id, record)| Some((*id, (*record)?)));
        living
            .filter(|(id, record)| is_lost(id, record))
            .map(|(id, _)| {
                let expected = "a monitor, or the record of its exit; the daemon's next start settles it";
                Finding::for_a_person(Class::Process, Thing::Id(id.to_owned()), expected)
            })
            .collect()
    }

    /// The daemon's namespace has a mount of a container for an instant of its creation only.
    fn mounts(&self) -> Vec<Finding> {
        let containers = self.scope.run_dir.join("containers");
        let id = |path: &Path| {
            let inner = path.strip_prefix(&containers).ok()?;
            inner.components().next()?.as_os_str().to_str().map(str::to_owned)
        };
        let stray = self
            .seen
            .mounts
            .iter()
            .filter(|path| id(path).is_none_or(|id| !self.busy.containers.contains(&id)));
        stray
            .map(|path| {
                let expected = "nothing is mounted in a container's directory";
                Finding::repairable(Class::Mount, Thing::Path(path.clone()), expected)
            })
            .collect()
    }

    fn sockets(&self) -> Vec<Finding> {
        let mut found = vec![];
        for (id, door) in &self.seen.doors {
            if let Door::Dead(path) = door
                && self.is_owned(id)
                && !self.busy.containers.contains(id)
            {
                let expected = "a socket that a monitor listens on, or none";
                found.push(Finding::repairable(
                    Class::Socket,
                    Thing::Path(path.clone()),
                    expected,
                ));
            }
        }
        found
    }

    /// Below the parents that are known, a group named as an id belongs to a container's record.
    fn groups(&self) -> Vec<Finding> {
        let owned: BTreeSet<&str> = self
            .owners
            .values()
            .flatten()
            .map(|record| record.cgroup.as_str())
            .collect();
        let mut found: BTreeSet<&str> = BTreeSet::new();
        for group in &self.seen.groups {
            let path = group.path();
            let name = path.rsplit('/').next().unwrap_or_default();
            let id = systemd::container_of(name).unwrap_or(name);
            let is_inside = |outer: &str| path.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
            let stray = is_id(id) && !owned.contains(path) && !self.is_owned(id);
            // What a container makes below its group is its own; of a stray group the outermost says enough.
            if stray
                && !owned.iter().any(|outer| is_inside(outer))
                && !found.iter().any(|outer| is_inside(outer))
            {
                found.insert(path);
            }
        }
        let finding = |path: &str| {
            let expected = "no control group: no container has it";
            Finding::repairable(Class::Cgroup, Thing::Group(path.to_owned()), expected)
        };
        found.into_iter().map(finding).collect()
    }

    fn directories(&self) -> Vec<Finding> {
        let stray = |class, base: PathBuf, seen: &BTreeSet<String>| -> Vec<Finding> {
            // The directory alone, the mark of this boot, is older than the record and outlives it for an instant.
            let strays = seen
                .iter()
                .filter(|id| !self.is_owned(id) && !self.busy.containers.contains(*id));
            strays
                .map(|id| {
                    let expected = "nothing: no container has this id";
                    Finding::repairable(class, Thing::Path(base.join(id)), expected)
                })
                .collect()
        };
        let run = &self.scope.run_dir;
        [
            stray(Class::Directory, run.join("containers"), &self.seen.directories),
            stray(Class::Directory, run.join("engine"), &self.seen.engine),
            stray(
                Class::Snapshot,
                self.scope.image_root.join("c"),
                &self.seen.snapshots,
            ),
        ]
        .concat()
    }
}

/// Puts a finding of [`audit`] right. Blocks. Writable layers are the image store's to remove.
///
/// # Errors
/// What could not be done. Doing so twice succeeds.
pub fn repair(finding: &Finding) -> Result<()> {
    let done = match &finding.thing {
        Thing::Process { pid, start_time } => pidfd::kill_exact(*pid, *start_time),
        Thing::Group(path) => Cgroup::new(path).and_then(|group| {
            group.kill()?;
            scope::remove(&group, DYING)
        }),
        Thing::Path(path) => match finding.class {
            Class::Mount => mount::detach_if_mounted(path),
            Class::Socket => absent_is_fine(std::fs::remove_file(path)),
            _ => clear(path),
        },
        _ => {
            return Err(Error::internal(format!(
                "{} cannot be put right here",
                finding.thing
            )));
        }
    };
    done.map_err(|e| Error::internal(format!("cannot put {} right", finding.thing)).because(e))
}

/// Removes a directory, and unmounts first what is mounted in it.
fn clear(path: &Path) -> io::Result<()> {
    mount::detach_below(path)?;
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_dir() => absent_is_fine(std::fs::remove_file(path)),
        _ => absent_is_fine(std::fs::remove_dir_all(path)),
    }
}

fn absent_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn names(dir: &Path) -> Result<BTreeSet<String>> {
    fs::names(dir).map_err(|e| failed("list", dir, e))
}

/// The parent of a group, unless that is the root.
fn parent(cgroup: &str) -> Option<String> {
    let (parent, _) = cgroup.rsplit_once('/')?;
    (!parent.is_empty()).then(|| parent.to_owned())
}

/// Whether a name has the form of the ids that containers get.
fn is_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
