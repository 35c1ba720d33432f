//! Hearing of kills for want of memory.

use crate::sys::cgroup::{Cgroup, Version};
use crate::sys::systemd;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// A descriptor to poll, readable after an OOM event, and the count of kills.
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
                let notify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
                notify.add_watch(&dir.join("memory.events"), AddWatchFlags::IN_MODIFY)?;
                if let Some((above, _)) = &above {
                    // Without it the count above is only older.
                    let _ = notify.add_watch(above, AddWatchFlags::IN_MODIFY);
                }
                (Source::Notify(notify), dir.join("memory.events"))
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

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.source {
            Source::Event(event, _) => event.as_fd(),
            Source::Notify(notify) => notify.as_fd(),
        }
    }
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
