//! Control groups of both versions: where they are, making, joining, killing and removing them.
//!
//! A [`Cgroup`] is a path inside the hierarchies, such as `/kubepods/burstable/x`. On a hybrid machine the controllers
//! are in v1 hierarchies and the unified one has none: that counts as v1. Reading usage is in [`stats`] and [`detail`], changing
//! limits in [`update`], hearing of OOM kills in [`oom`].

mod ancestors;
mod announce;
pub mod detail;
pub mod devices;
mod exec_group;
mod held;
mod hierarchy;
mod list;
pub mod oom;
mod reader;
pub mod stats;
pub mod update;

use ancestors::{make_v1, make_v2, mark, missing_above, remove_above};
pub use announce::announce_move;
pub use exec_group::ExecGroup;
pub use hierarchy::{Driver, Version, controllers, version};
pub use list::ranges;
pub use reader::Reader;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where the hierarchies are mounted.
pub const ROOT: &str = "/sys/fs/cgroup";

/// A control group in every hierarchy that containers use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    path: String,
    version: Version,
}

impl Cgroup {
    /// Names a group by its path inside the hierarchies; nothing is made. `..` in it is refused.
    pub fn new(path: &str) -> io::Result<Cgroup> {
        let plain = Path::new(path)
            .components()
            .all(|c| matches!(c, std::path::Component::RootDir | std::path::Component::Normal(_)));
        if !path.starts_with('/') || !plain {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("not a cgroup path: {path}"),
            ));
        }
        Ok(Cgroup {
            path: path.trim_end_matches('/').to_owned(),
            version: version(),
        })
    }

    /// Path inside the hierarchies.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Version of the hierarchies.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Directory in one controller's hierarchy (v2: the same for all).
    pub fn dir(&self, controller: &str) -> PathBuf {
        match self.version {
            Version::V1 => PathBuf::from(format!("{ROOT}/{controller}{}", self.path)),
            Version::V2 => PathBuf::from(format!("{ROOT}{}", self.path)),
        }
    }

    /// The group's directories, one per hierarchy.
    pub fn dirs(&self) -> Vec<PathBuf> {
        match self.version {
            Version::V1 => controllers().iter().map(|c| self.dir(c)).collect(),
            Version::V2 => vec![self.dir("")],
        }
    }

    /// Makes the group and its ancestors; on v2 the controllers are enabled on the way down.
    pub fn create(&self) -> io::Result<()> {
        match self.version {
            Version::V1 => controllers().iter().try_for_each(|c| make_v1(&self.dir(c), c)),
            Version::V2 => make_v2(&self.path),
        }
    }

    /// What [`Cgroup::create`] will make above the group, to be noted before: who is killed in the middle may leave a
    /// directory without its mark.
    pub fn missing_above(&self) -> Vec<PathBuf> {
        let dirs = self.dirs();
        dirs.iter()
            .flat_map(|dir| missing_above(dir))
            .map(Path::to_owned)
            .collect()
    }

    /// Marks directories of [`Cgroup::missing_above`] after a [`Cgroup::create`] that was cut short, so that
    /// [`Cgroup::remove`] takes them along.
    pub fn claim_above(noted: &[PathBuf]) {
        noted.iter().for_each(|dir| mark(dir));
    }

    /// Tells whether the group exists in any hierarchy.
    pub fn exists(&self) -> bool {
        self.dirs().iter().any(|d| d.exists())
    }

    /// Moves the calling process in. All files are opened first, so that a half-done move is as unlikely as can be.
    pub fn join(&self) -> io::Result<()> {
        join_dirs(self.dirs())
    }

    /// Processes of this group and of every group below.
    pub fn processes(&self) -> Vec<i32> {
        let mut found = vec![];
        collect(&self.leading_dir(), &mut found);
        found
    }

    /// Every group below this one, in any hierarchy, parents first.
    pub fn below(&self) -> Vec<Cgroup> {
        let mut paths = std::collections::BTreeSet::new();
        for dir in self.dirs() {
            let mut todo = vec![dir.clone()];
            while let Some(next) = todo.pop() {
                for child in children(&next) {
                    let inner = child.strip_prefix(&dir).unwrap_or(&child);
                    paths.insert(format!("{}/{}", self.path, inner.display()));
                    todo.push(child);
                }
            }
        }
        let group = |path| Cgroup {
            path,
            version: self.version,
        };
        paths.into_iter().map(group).collect()
    }

    /// Kills every process of this group and below it. Processes in the middle of an exit may remain for a moment.
    pub fn kill(&self) -> io::Result<()> {
        match self.version {
            Version::V1 => freeze_and_kill(&self.dir("freezer")),
            Version::V2 => kill_v2(&self.dir("")),
        }
    }

    /// Removes the groups below this one, in every hierarchy. What is busy stays.
    pub fn remove_children(&self) {
        for dir in self.dirs() {
            remove_below(&dir);
        }
    }

    /// Removes the group, what is below it, and what [`Cgroup::create`] had to make above it once nothing is left there; a
    /// group that is not there is fine. Waits up to `patience` for dying processes to leave.
    pub fn remove(&self, patience: Duration) -> io::Result<()> {
        let until = Instant::now() + patience;
        for dir in self.dirs() {
            loop {
                remove_below(&dir);
                match fs::remove_dir(&dir) {
                    Err(e) if e.raw_os_error() == Some(libc::EBUSY) && Instant::now() < until => {
                        // The kernel tells nobody when a dying process has left its v1 group.
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                    _ => break,
                }
            }
            remove_above(&dir);
        }
        Ok(())
    }

    /// The hierarchy that tells where processes are.
    fn leading_dir(&self) -> PathBuf {
        self.dir(leading(self.version))
    }
}

/// The controller of that hierarchy.
fn leading(version: Version) -> &'static str {
    match version {
        Version::V1 => "freezer",
        Version::V2 => "",
    }
}

/// Moves the calling process into each of the directories.
fn join_dirs(dirs: Vec<PathBuf>) -> io::Result<()> {
    let open = |dir: &PathBuf| OpenOptions::new().write(true).open(dir.join("cgroup.procs"));
    let files = dirs.iter().map(open).collect::<io::Result<Vec<File>>>()?;
    files.iter().try_for_each(|mut file| file.write_all(b"0"))
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .map(|e| e.path())
        .collect()
}

fn remove_below(dir: &Path) {
    for child in children(dir) {
        remove_below(&child);
        let _ = fs::remove_dir(&child);
    }
}

fn collect(dir: &Path, found: &mut Vec<i32>) {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    found.extend(text.lines().filter_map(|l| l.parse::<i32>().ok()));
    children(dir).iter().for_each(|child| collect(child, found));
}

/// Freezes first, so that a fork bomb cannot outrun the loop. A frozen process cannot end, so its number is its own.
fn freeze_and_kill(dir: &Path) -> io::Result<()> {
    let state = dir.join("freezer.state");
    if !dir.exists() {
        return Ok(());
    }
    fs::write(&state, "FROZEN")?;
    let until = Instant::now() + Duration::from_millis(100);
    // No event tells when the last one is frozen; it takes microseconds unless a process is in the disk's hands.
    while Instant::now() < until && fs::read_to_string(&state).is_ok_and(|s| s.trim() == "FREEZING") {
        std::thread::sleep(Duration::from_micros(500));
    }
    let mut found = vec![];
    collect(dir, &mut found);
    for pid in found {
        // Signals wait for the thaw. A process that is in another PID namespace entirely reads as 0 there.
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    thaw_below(dir)?;
    leave_frozen_ancestors(dir)
}

/// Undoes whatever freeze there is in a v1 group, this one's and others', and in those below it.
fn thaw_below(dir: &Path) -> io::Result<()> {
    match fs::write(dir.join("freezer.state"), "THAWED") {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    children(dir).iter().try_for_each(|child| thaw_below(child))
}

/// Below a frozen v1 group nobody dies. The freeze is somebody else's, and goes on; killed processes leave it for the root,
/// where all that they still do is to end.
fn leave_frozen_ancestors(dir: &Path) -> io::Result<()> {
    let read = |name| fs::read_to_string(dir.join(name)).unwrap_or_default();
    // While the state is FREEZING some process is not stopped yet: it runs into the freeze or its death by itself.
    if read("freezer.parent_freezing").trim() != "1" || read("freezer.state").trim() != "FROZEN" {
        return Ok(());
    }
    let mut found = vec![];
    collect(dir, &mut found);
    let root = Path::new(ROOT).join("freezer/cgroup.procs");
    for pid in found.into_iter().filter(|pid| crate::sys::proc::is_ending(*pid)) {
        match fs::write(&root, pid.to_string()) {
            // It has ended meanwhile.
            Err(e) if e.raw_os_error() != Some(libc::ESRCH) => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// `cgroup.kill` since 5.14; before, one by one until nobody is left.
fn kill_v2(dir: &Path) -> io::Result<()> {
    match fs::write(dir.join("cgroup.kill"), "1") {
        Err(e) if e.kind() == io::ErrorKind::NotFound && dir.exists() => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        done => return done,
    }
    let _ = fs::write(dir.join("cgroup.freeze"), "1");
    let mut found = vec![];
    collect(dir, &mut found);
    for pid in found.into_iter().filter_map(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    fs::write(dir.join("cgroup.freeze"), "0")
}
