//! Hearing of kills for want of memory. Where the kernel has no more watches to give, they are counted when asked for.

use crate::sys::cgroup::{Cgroup, Version};
use crate::sys::systemd;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// A descriptor to poll, readable after an OOM event, if there is one, and the count of kills.
#[derive(Debug)]
pub struct OomWatch {
    source: Source,
    counter: PathBuf,
    seen: u64,
    /// The same of the group above, and its count: a kill counts there too, and the file outlives ours.
    above: Option<(PathBuf, u64)>,
}

#[derive(Debug)]
enum Source {
    /// v1: an eventfd registered with `cgroup.event_control`; the control file must stay open.
    Event(std::os::fd::OwnedFd, #[allow(dead_code)] File),
    /// v2: `memory.events` is modified.
    Notify(Inotify),
    /// The user has all the watches that the kernel gives one (`fs.inotify.max_user_instances`), or there is no descriptor.
    Deaf,
}

impl OomWatch {
    /// Watches a group, from its present count on. `Ok(None)`: the machine has no memory controller.
    pub fn new(cgroup: &Cgroup) -> io::Result<Option<OomWatch>> {
        let dir = cgroup.dir("memory");
        let above = above(cgroup).map(|file| (file, 0));
        let (source, counter) = match cgroup.version() {
            Version::V1 if !dir.join("memory.oom_control").exists() => return Ok(None),
            Version::V2 if !dir.join("memory.events").exists() => return Ok(None),
            Version::V1 => (v1_event(&dir)?, dir.join("memory.oom_control")),
            Version::V2 => {
                let counter = dir.join("memory.events");
                let above = above.as_ref().map(|(file, _)| file.as_path());
                (v2_notice(Inotify::init(FLAGS), &counter, above)?, counter)
            }
        };
        let mut watch = OomWatch {
            source,
            counter,
            seen: 0,
            above,
        };
        watch.kills();
        Ok(Some(watch))
    }

    /// Clears the readiness and returns the number of kills since the last call.
    pub fn kills(&mut self) -> u64 {
        match &self.source {
            Source::Event(event, _) => {
                let _ = rustix::io::read(event, &mut [0u8; 8]);
            }
            Source::Notify(notify) => {
                let _ = notify.read_events();
            }
            Source::Deaf => {}
        }
        // First: what happens in between must not count here before it counts there.
        let new_above = self.above.as_mut().map_or(0, |(file, seen)| {
            let count = count(file).unwrap_or(*seen);
            count.saturating_sub(std::mem::replace(seen, count))
        });
        let Some(count) = count(&self.counter) else {
            return new_above.min(1);
        };
        let new = count.saturating_sub(self.seen);
        self.seen = self.seen.max(count);
        new
    }
}

/// The file that counts for the group above a scope; the root has none. The service manager removes a scope as soon as its
/// last process is dead, and may be there before us. What is new above then is as good as certainly the scope's, for it is
/// looked at whenever it changes.
fn above(cgroup: &Cgroup) -> Option<PathBuf> {
    systemd::unit_of(cgroup.path())?;
    let file = cgroup.dir("memory").parent()?.join("memory.events");
    (cgroup.version() == Version::V2 && file.exists()).then_some(file)
}

/// Both versions' files have a line `oom_kill N`. `None`: the group is gone.
fn count(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("oom_kill "));
    Some(line.and_then(|n| n.trim().parse().ok()).unwrap_or(0))
}

impl OomWatch {
    /// What to poll.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.source {
            Source::Event(event, _) => Some(event.as_fd()),
            Source::Notify(notify) => Some(notify.as_fd()),
            Source::Deaf => None,
        }
    }
}

const FLAGS: InitFlags = InitFlags::IN_CLOEXEC.union(InitFlags::IN_NONBLOCK);

/// Watches the counter, and that of the group above. `new` is the attempt to make a watch.
fn v2_notice(new: nix::Result<Inotify>, counter: &Path, above: Option<&Path>) -> io::Result<Source> {
    let notify = match new {
        Err(Errno::EMFILE | Errno::ENFILE) => return Ok(Source::Deaf),
        new => new?,
    };
    match notify.add_watch(counter, AddWatchFlags::IN_MODIFY) {
        Err(Errno::ENOSPC) => return Ok(Source::Deaf),
        added => added?,
    };
    if let Some(above) = above {
        // Without it the count above is only older.
        let _ = notify.add_watch(above, AddWatchFlags::IN_MODIFY);
    }
    Ok(Source::Notify(notify))
}

/// cgroup-v1/memory.rst, section 10: `EVENT_FD FD_OF_memory.oom_control` into cgroup.event_control.
fn v1_event(dir: &Path) -> io::Result<Source> {
    let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
    let event = rustix::event::eventfd(0, flags)?;
    let control = File::open(dir.join("memory.oom_control"))?;
    let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
    fs::write(dir.join("cgroup.event_control"), line)?;
    Ok(Source::Event(event, control))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted_without_a_watch_too() {
        let dir = tempfile::tempdir().unwrap();
        let counter = dir.path().join("memory.events");
        fs::write(&counter, "oom 0\noom_kill 1\n").unwrap();
        for short in [Errno::EMFILE, Errno::ENFILE] {
            let source = v2_notice(Err(short), &counter, None).unwrap();
            let mut watch = OomWatch {
                source,
                counter: counter.clone(),
                seen: 0,
                above: None,
            };

            assert!(watch.fd().is_none(), "{short}");
            assert_eq!((watch.kills(), watch.kills()), (1, 0), "{short}");
        }
    }

    #[test]
    fn a_change_of_the_count_is_heard_of() {
        let dir = tempfile::tempdir().unwrap();
        let counter = dir.path().join("memory.events");
        fs::write(&counter, "oom_kill 0\n").unwrap();

        let Source::Notify(notify) = v2_notice(Inotify::init(FLAGS), &counter, None).unwrap() else {
            panic!("there is a watch to be had");
        };
        fs::write(&counter, "oom_kill 1\n").unwrap();

        assert!(!notify.read_events().unwrap().is_empty());
    }
}
