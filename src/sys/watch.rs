//! Directories watched through inotify, whether they exist or not: one that is missing is waited for at its nearest
//! parent, one that is removed or replaced is taken up again. What its files mean is not known here.

mod file;

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, Event, ReadFlags, Reader, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

pub use file::FileWatch;

/// How long a directory must be quiet before its change is told, and how long it may stay unquiet: what writes a file
/// in pieces is done by then.
const QUIET: Duration = Duration::from_millis(50);
const UNQUIET: Duration = Duration::from_millis(500);

/// The pause before the directories are taken up again when the kernel refused to watch them.
const PAUSE: Duration = Duration::from_secs(10);

/// How many symbolic links are followed on the way to a directory, as the kernel does.
const LINKS_MAX: usize = 40;

/// Watches some directories for any change of their entries.
#[derive(Debug)]
pub struct DirWatch {
    dirs: Vec<PathBuf>,
    /// `None` until the kernel lends what is needed.
    armed: Option<Armed>,
    /// When the kernel is asked again after it refused.
    not_before: Instant,
}

/// One inotify instance and what its watches are there for. Replaced as a whole when a directory comes or goes.
#[derive(Debug)]
struct Armed {
    inotify: AsyncFd<OwnedFd>,
    watches: HashMap<i32, Interest>,
}

/// Which entries of a directory matter.
#[derive(Debug, Default)]
struct Interest {
    /// All: it is one of those watched for.
    all: bool,
    /// Those on the way to one watched for.
    names: HashSet<OsString>,
}

/// What the events read so far amount to.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// A directory watched for has other contents.
    changed: bool,
    /// A directory on the way to one has come, gone or been replaced: the watches are out of date.
    moved: bool,
}

impl DirWatch {
    /// Begins to watch. Where the kernel lends no inotify instance or watches, the first `changed` says so.
    pub fn new(dirs: Vec<PathBuf>) -> Self {
        Self {
            armed: Armed::new(&dirs).ok(),
            not_before: Instant::now(),
            dirs,
        }
    }

    /// Returns once something has changed, and everything up to this moment counts as told.
    ///
    /// Cancel safety: a change whose telling was cancelled may be lost.
    ///
    /// # Errors
    ///
    /// What the kernel refuses; the next call takes the directories up anew, after a pause: what was short may be there.
    pub async fn changed(&mut self) -> io::Result<()> {
        let Some(armed) = &self.armed else {
            tokio::time::sleep_until(self.not_before).await;
            // What happened while nothing was watched is not known.
            return self.arm();
        };
        match armed.settled().await {
            Ok(Seen { moved: false, .. }) => Ok(()),
            Ok(_) => self.arm(),
            Err(error) => {
                self.armed = None;
                self.not_before = Instant::now() + PAUSE;
                Err(error)
            }
        }
    }

    fn arm(&mut self) -> io::Result<()> {
        // The old one first: instances are few.
        self.armed = None;
        match Armed::new(&self.dirs) {
            Ok(armed) => self.armed = Some(armed),
            Err(error) => {
                self.not_before = Instant::now() + PAUSE;
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Armed {
    fn new(dirs: &[PathBuf]) -> io::Result<Self> {
        let mut armed = Self {
            inotify: instance()?,
            watches: HashMap::new(),
        };
        for dir in dirs {
            armed.approach(dir, LINKS_MAX)?;
        }
        Ok(armed)
    }

    /// Watches `dir`, or the nearest parent that exists for the next step towards it; and the parent of that, where a
    /// removal or a replacement shows even while something keeps the directory itself open.
    fn approach(&mut self, dir: &Path, links: usize) -> io::Result<()> {
        // From the top down: a step that appears after its parent is watched is told, one before is found.
        let mut steps: Vec<&Path> = dir
            .ancestors()
            .filter(|path| !path.as_os_str().is_empty())
            .collect();
        steps.reverse();
        let existing = steps.iter().take_while(|path| path.is_dir()).count();
        for (index, path) in steps.iter().enumerate() {
            if let Ok(target) = std::fs::read_link(path)
                && links > 0
            {
                // Where a link leads can come and go on a way of its own.
                let rest = dir.strip_prefix(path).expect("a path begins with its ancestors");
                self.approach(&path.parent().unwrap_or(path).join(target).join(rest), links - 1)?;
            }
            let next = steps.get(index + 1).map(|next| next.file_name());
            if index + 2 >= existing && !self.add(path, next)? {
                break;
            }
        }
        Ok(())
    }

    /// Watches one directory, for its entry `next` or, when it is the last step, for all; returns whether it exists.
    fn add(&mut self, path: &Path, next: Option<Option<&OsStr>>) -> io::Result<bool> {
        let flags = WatchFlags::CREATE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        match inotify::add_watch(self.inotify.get_ref(), path, flags) {
            Ok(watch) => {
                // Two paths may be one directory, and then share its watch.
                let interest = self.watches.entry(watch).or_default();
                match next {
                    Some(name) => interest.names.extend(name.map(OsStr::to_owned)),
                    None => interest.all = true,
                }
                Ok(true)
            }
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for a change and for the quiet after it.
    async fn settled(&self) -> io::Result<Seen> {
        let mut seen = Seen::default();
        while !seen.any() {
            seen = self.read().await?;
        }
        let end = Instant::now() + UNQUIET;
        while let Ok(more) = tokio::time::timeout_at(end.min(Instant::now() + QUIET), self.read()).await {
            seen = seen.and(more?);
        }
        Ok(seen)
    }

    /// Waits for events and returns what they amount to, which may be nothing.
    async fn read(&self) -> io::Result<Seen> {
        let mut seen = Seen::default();
        events(&self.inotify, |event| {
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
            seen = seen.and(self.judge(event.wd(), event.events(), name));
        })
        .await?;
        Ok(seen)
    }

    fn judge(&self, watch: i32, events: ReadFlags, name: Option<&OsStr>) -> Seen {
        let gone = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED | ReadFlags::UNMOUNT;
        if events.intersects(gone | ReadFlags::QUEUE_OVERFLOW) {
            return Seen {
                changed: true,
                moved: true,
            };
        }
        let (Some(interest), Some(name)) = (self.watches.get(&watch), name) else {
            return Seen::default();
        };
        let step = interest.names.contains(name);
        Seen {
            changed: interest.all,
            moved: step,
        }
    }
}

/// An inotify instance that watches nothing yet.
fn instance() -> io::Result<AsyncFd<OwnedFd>> {
    let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    #[expect(
        deprecated,
        reason = "an owned descriptor keeps what its unsafe successor has promised"
    )]
    AsyncFd::new(inotify)
}

/// Waits for events and takes all that are there.
async fn events(inotify: &AsyncFd<OwnedFd>, mut take: impl FnMut(&Event<'_>)) -> io::Result<()> {
    loop {
        let mut ready = inotify.readable().await?;
        match ready.try_io(|inotify| drain(inotify.get_ref(), &mut take)) {
            Ok(drained) => return drained,
            Err(_would_block) => {}
        }
    }
}

fn drain(inotify: &OwnedFd, take: &mut impl FnMut(&Event<'_>)) -> io::Result<()> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = Reader::new(inotify, &mut buffer);
    let mut some = false;
    loop {
        match reader.next() {
            Ok(event) => {
                take(&event);
                some = true;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) if some => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

impl Seen {
    fn any(self) -> bool {
        self.changed || self.moved
    }

    fn and(self, more: Self) -> Self {
        Self {
            changed: self.changed || more.changed,
            moved: self.moved || more.moved,
        }
    }
}

#[cfg(test)]
mod tests;
