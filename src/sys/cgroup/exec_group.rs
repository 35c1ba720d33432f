//! The group of one exec: enough to find, stop and kill every descendant of it, whatever session they moved to.
//!
//! On v1 it is a group in the freezer hierarchy only, so limits and usage go on counting in the container's groups.
//! On v2 it is a child group in which no controller is enabled, which a group with processes of its own may have.

use crate::sys::cgroup::{Cgroup, Version, freeze_and_kill, join_dirs, kill_v2, remove_below};
use std::fs;
use std::io;
use std::path::PathBuf;

/// A group below a container's, for one exec.
#[derive(Debug)]
pub struct ExecGroup {
    container: Cgroup,
    dir: PathBuf,
}

impl ExecGroup {
    /// Makes the group. `number` tells the execs of one container apart.
    pub fn create(container: &Cgroup, number: u64) -> io::Result<ExecGroup> {
        let dir = container.leading_dir().join(format!("exec-{number}"));
        fs::create_dir(&dir)?;
        Ok(ExecGroup {
            container: container.clone(),
            dir,
        })
    }

    /// Moves the calling process into the container's groups, and into this one where it differs.
    pub fn join(&self) -> io::Result<()> {
        let leading = self.container.leading_dir();
        let place = |dir: PathBuf| if dir == leading { self.dir.clone() } else { dir };
        join_dirs(self.container.dirs().into_iter().map(place).collect())
    }

    /// Kills everything in it.
    pub fn kill(&self) -> io::Result<()> {
        match self.container.version() {
            Version::V1 => freeze_and_kill(&self.dir),
            Version::V2 => kill_v2(&self.dir),
        }
    }

    /// Tells whether any process is left in it.
    pub fn is_empty(&self) -> bool {
        let mut found = vec![];
        super::collect(&self.dir, &mut found);
        found.is_empty()
    }

    /// Removes it; false: still busy, try again after the next death.
    pub fn try_remove(&self) -> bool {
        remove_below(&self.dir);
        match fs::remove_dir(&self.dir) {
            Err(e) => e.raw_os_error() != Some(libc::EBUSY),
            Ok(()) => true,
        }
    }
}
