//! Hearing of kills for want of memory.

use crate::sys::cgroup::{Cgroup, Version};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;

/// A descriptor to poll, readable after an OOM event, and the count of kills.
#[derive(Debug)]
pub struct OomWatch {
    source: Source,
    counter: PathBuf,
    seen: u64,
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
        let (source, counter) = match cgroup.version() {
            Version::V1 if !dir.join("memory.oom_control").exists() => return Ok(None),
            Version::V2 if !dir.join("memory.events").exists() => return Ok(None),
            Version::V1 => (v1_event(&dir)?, dir.join("memory.oom_control")),
            Version::V2 => {
                let notify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
                notify.add_watch(&dir.join("memory.events"), AddWatchFlags::IN_MODIFY)?;
                (Source::Notify(notify), dir.join("memory.events"))
            }
        };
        let mut watch = OomWatch {
            source,
            counter,
            seen: 0,
        };
        watch.seen = watch.count();
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
        let count = self.count();
        let new = count.saturating_sub(self.seen);
        self.seen = self.seen.max(count);
        new
    }

    /// Both files have a line `oom_kill N`.
    fn count(&self) -> u64 {
        let text = fs::read_to_string(&self.counter).unwrap_or_default();
        text.lines()
            .find_map(|l| l.strip_prefix("oom_kill "))
            .and_then(|n| n.trim().parse().ok())
            .unwrap_or(0)
    }
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
fn v1_event(dir: &std::path::Path) -> io::Result<Source> {
    let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
    let event = rustix::event::eventfd(0, flags)?;
    let control = File::open(dir.join("memory.oom_control"))?;
    let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
    fs::write(dir.join("cgroup.event_control"), line)?;
    Ok(Source::Event(event, control))
}
