//! A mount namespace with the few mounts that containers need.
//!
//! libcontainer parses the mount table a dozen times per create, so a host with hundreds of volumes makes every create
//! slow; and a copy of the host's table in each container's ancestry would keep those volumes busy. What lives on other
//! host mounts reaches a create worker as a descriptor instead.

use crate::sys::namespace::Kinds;
use crate::sys::{mount, namespace};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The host's mount namespace and ours.
#[derive(Debug)]
pub(super) struct Mounts {
    host: OwnedFd,
    lean: OwnedFd,
}

impl Mounts {
    /// Moves the caller to a copy of the host's mounts without those that containers do not need. The mounts that hold
    /// `keep` stay.
    pub(super) fn leave_host(keep: &[PathBuf]) -> io::Result<Mounts> {
        let host = own()?;
        namespace::leave(Kinds::CLONE_NEWNS)?;
        mount::make_all_private()?;
        let points = mount::points()?;
        let holding: Vec<&Path> = keep.iter().filter_map(|path| holder(&points, path)).collect();
        // With a mount goes all that is mounted on it, so those above a kept one stay too.
        let is_kept = |point: &Path| is_needed(point) || holding.iter().any(|held| held.starts_with(point));
        let (kept, others): (Vec<&Path>, Vec<&Path>) = points
            .iter()
            .map(PathBuf::as_path)
            .partition(|point| is_kept(point));
        let kept = BTreeSet::from_iter(kept);
        if reduce_to(&kept).is_err() {
            for point in others.iter().rev() {
                // What cannot be detached costs time and nothing else.
                let _ = mount::detach(point);
            }
        }
        Ok(Mounts { host, lean: own()? })
    }

    /// Moves the caller back to the host's mounts, where logs and pins belong. Returns the lean namespace.
    pub(super) fn enter_host(&self) -> io::Result<OwnedFd> {
        namespace::enter_one(&self.host)?;
        self.lean.try_clone()
    }
}

/// Makes copies of the root and of some mounts on it all that this mount namespace has. The others go with the old root,
/// in one call, where the kernel has the caller wait for each that is detached by itself.
///
/// # Errors
/// Nothing has changed. The root in memory that a machine was started from, say, cannot be left.
fn reduce_to(kept: &BTreeSet<&Path>) -> io::Result<()> {
    let root = Path::new("/");
    // A directory that every root has. What covers it is the next root.
    let place = Path::new("/proc");
    let next = mount::clone_mount(root)?;
    // Parents come before what is on them.
    let below = kept.iter().filter_map(|point| point.strip_prefix(root).ok());
    let below: Vec<_> = below
        .filter(|below| !below.as_os_str().is_empty())
        .map(|below| Ok((mount::clone_mount(&root.join(below))?, place.join(below))))
        .collect::<io::Result<_>>()?;
    mount::attach(next, place)?;
    let moved = below
        .iter()
        .try_for_each(|(copy, target)| mount::attach(copy, target))
        .and_then(|()| mount::pivot_into(place));
    if moved.is_err() {
        rustix::process::chdir(root)?;
        mount::detach(place)?;
    }
    moved
}

fn own() -> io::Result<OwnedFd> {
    namespace::open(Path::new("/proc/self/ns/mnt"))
}

fn is_needed(point: &Path) -> bool {
    ["/", "/proc", "/dev", "/sys"]
        .iter()
        .any(|p| point == Path::new(p))
        || point.starts_with("/sys/fs/cgroup")
}

/// The mount point that a path is on: the longest that it starts with.
fn holder<'a>(points: &'a [PathBuf], path: &Path) -> Option<&'a Path> {
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let above = points.iter().filter(|p| real.starts_with(p));
    above.max_by_key(|p| p.components().count()).map(PathBuf::as_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_that_holds_a_path_is_the_nearest_above_it() {
        let points = ["/", "/run", "/run/user", "/var"].map(PathBuf::from);
        assert_eq!(
            holder(&points, Path::new("/run/coracle")),
            Some(Path::new("/run"))
        );
        assert_eq!(holder(&points, Path::new("/opt/x")), Some(Path::new("/")));
        assert_eq!(holder(&points, Path::new("/variable")), Some(Path::new("/")));
    }
}
