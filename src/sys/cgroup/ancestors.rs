//! Making a group's directories with those above it, and removing again the ones above that nobody else has made.
//!
//! A directory above a group that was missing carries a mark, an extended attribute, so that whoever removes the last
//! group below it, today or after a restart, knows that nobody else looks after it. One that others have made for us is
//! never removed.

use super::ROOT;
use crate::sys::step;
use rustix::fs::{XattrFlags, getxattr, setxattr};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The mark of a directory that was made only because a group below it needed it.
const MARK: &str = "trusted.coracle.made";
/// An ancestor may be removed by another group's end just before a group is made in it.
const TRIES: u32 = 100;

/// A v1 directory with its ancestors, in one controller's hierarchy.
pub(super) fn make_v1(dir: &Path, controller: &str) -> io::Result<()> {
    persist(|| make_one_v1(dir, false, controller == "cpuset"))
}

fn make_one_v1(dir: &Path, above: bool, cpuset: bool) -> io::Result<()> {
    match (make(dir, above), dir.parent()) {
        (Err(e), Some(parent)) if e.kind() == io::ErrorKind::NotFound => {
            make_one_v1(parent, true, cpuset)?;
            make(dir, above)?;
        }
        (made, _) => made?,
    }
    if cpuset { fill_cpuset(dir) } else { Ok(()) }
}

/// A cpuset group is born empty and takes nobody until its two sets are filled from its parent's. One that is there may be
/// empty still: who made it was killed, or is about to fill it.
fn fill_cpuset(dir: &Path) -> io::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = dir.join(file);
        match fs::read_to_string(&own) {
            Ok(set) if set.trim().is_empty() => {}
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            // Filled, or gone: who joins it will tell.
            _ => continue,
        }
        if let Some(parent) = dir.parent() {
            fill_cpuset(parent)?;
        }
        step("cgroup.cpuset");
        fs::write(own, fs::read(dir.with_file_name(file))?)?;
    }
    Ok(())
}

/// A v2 directory with its ancestors; the controllers are enabled on the way down.
pub(super) fn make_v2(path: &str) -> io::Result<()> {
    persist(|| {
        let available = fs::read_to_string(format!("{ROOT}/cgroup.controllers"))?;
        let mut dir = PathBuf::from(ROOT);
        let mut names = path.split('/').filter(|n| !n.is_empty()).peekable();
        while let Some(name) = names.next() {
            for controller in available.split_whitespace() {
                // One that this ancestor does not offer is not ours to ask for.
                let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
            }
            dir.push(name);
            make(&dir, names.peek().is_some())?;
        }
        Ok(())
    })
}

fn persist(make: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let mut tries = 0;
    loop {
        tries += 1;
        match make() {
            Err(e) if is_going(&e) && tries < TRIES => {}
            done => return done,
        }
    }
}

/// Whether a directory is gone, or on its way: of one that is being removed the kernel says that there is no such device.
fn is_going(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

fn make(dir: &Path, above: bool) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
        Ok(()) => {
            if above {
                step("cgroup.above");
                mark(dir);
            }
            Ok(())
        }
    }
}

/// Without the mark a directory stays, as it does on a kernel that knows no attributes here.
pub(super) fn mark(dir: &Path) {
    let _ = setxattr(dir, MARK, b"1", XattrFlags::empty());
}

/// The directories above a group's that are not there.
pub(super) fn missing_above(dir: &Path) -> impl Iterator<Item = &Path> {
    dir.ancestors().skip(1).take_while(|above| !above.exists())
}

/// Removes the marked directories above a removed group, up to the first that is in use or somebody else's.
pub(super) fn remove_above(dir: &Path) {
    for above in dir
        .ancestors()
        .skip(1)
        .take_while(|above| *above != Path::new(ROOT))
    {
        match getxattr(above, MARK, &mut [0u8; 8][..]) {
            Ok(_) => {}
            // Gone already, by another's hand or in an earlier try.
            Err(Errno::NOENT) => continue,
            Err(_) => return,
        }
        if fs::remove_dir(above).is_err_and(|e| e.kind() != io::ErrorKind::NotFound) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::sys::cgroup::Cgroup;
    use std::time::Duration;

    /// Root alone may make cgroups; elsewhere there is nothing to see.
    fn top(purpose: &str) -> Option<(Cgroup, String)> {
        let name = format!("/coracle-unit-{purpose}-{}", std::process::id());
        let top = Cgroup::new(&name).unwrap();
        top.create().ok().map(|()| (top, name))
    }

    #[test]
    fn what_was_made_on_the_way_goes_with_the_last_group_below_it() {
        let Some((top, name)) = top("way") else { return };
        let groups = ["a/one", "a/two"].map(|g| Cgroup::new(&format!("{name}/{g}")).unwrap());
        let above = Cgroup::new(&format!("{name}/a")).unwrap();
        groups.iter().for_each(|group| group.create().unwrap());

        groups[0].remove(Duration::ZERO).unwrap();
        let between = above.exists();
        groups[1].remove(Duration::ZERO).unwrap();

        assert_eq!((between, above.exists(), top.exists()), (true, false, true));
        top.remove(Duration::ZERO).unwrap();
    }

    #[test]
    fn groups_are_made_while_what_is_above_them_goes_with_others() {
        let Some((top, name)) = top("race") else { return };
        let ends = |own: &str| {
            let group = Cgroup::new(&format!("{name}/a/{own}")).unwrap();
            for _ in 0..300 {
                group.create().unwrap();
                group.remove(Duration::ZERO).unwrap();
            }
        };

        std::thread::scope(|threads| {
            for own in ["one", "two", "three"] {
                threads.spawn(move || ends(own));
            }
        });

        assert_eq!(top.below(), []);
        top.remove(Duration::ZERO).unwrap();
    }

    #[test]
    fn what_was_noted_before_a_making_that_was_cut_short_is_claimed_and_goes_too() {
        let Some((top, name)) = top("cut") else { return };
        let group = Cgroup::new(&format!("{name}/a/b/one")).unwrap();
        let missing = group.missing_above();
        // Killed before the mark: the first hierarchy has a directory that nobody owns.
        let first = &group.dirs()[0];
        std::fs::create_dir_all(first.parent().unwrap()).unwrap();

        Cgroup::claim_above(&missing);
        group.remove(Duration::ZERO).unwrap();

        let left = top.below();
        top.remove(Duration::ZERO).unwrap();
        assert_eq!(left, []);
    }

    #[test]
    fn a_group_left_without_processors_gets_those_above_it() {
        let Some((top, name)) = top("empty") else { return };
        let group = Cgroup::new(&format!("{name}/a/b")).unwrap();
        // Killed between the making and the filling; on v2 there is no such moment.
        group
            .dirs()
            .iter()
            .for_each(|dir| std::fs::create_dir_all(dir).unwrap());

        group.create().unwrap();

        let sets = ["cpuset.cpus", "cpuset.mems"].map(|file| group.dir("cpuset").join(file));
        for set in sets.iter().filter(|set| set.exists()) {
            assert_ne!(
                std::fs::read_to_string(set).unwrap().trim(),
                "",
                "{}",
                set.display()
            );
        }
        Cgroup::new(&format!("{name}/a"))
            .unwrap()
            .remove(Duration::ZERO)
            .unwrap();
        top.remove(Duration::ZERO).unwrap();
    }

    #[test]
    fn what_others_have_made_stays() {
        let Some((top, name)) = top("others") else { return };
        let theirs = Cgroup::new(&format!("{name}/theirs")).unwrap();
        theirs.create().unwrap();
        let group = Cgroup::new(&format!("{name}/theirs/group")).unwrap();
        group.create().unwrap();

        group.remove(Duration::ZERO).unwrap();

        assert!(theirs.exists());
        theirs.remove(Duration::ZERO).unwrap();
        top.remove(Duration::ZERO).unwrap();
    }
}
