//! How much writable layers take, counted in the background.
//!
//! Nothing accounts for a directory (project quotas would, on file systems that have them), so someone has to walk it.
//! Nobody waits for that: whoever asks gets the last count with its time, and has a new one begun when that is older
//! than the interval. One walk at a time on the whole machine, each container at most once an interval, and none more
//! than a twentieth of the time.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FileType, OFlags, Stat, fstat, statat};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::model::FilesystemUsage;
use crate::sys::clock::now;

use super::layers::lock;
use super::unpack::Tree;

/// A walk may take this part of the time.
const SHARE: u32 = 20;
/// Entries that one walk looks at; what is beyond is not counted.
const MAX_ENTRIES: u64 = 2_000_000;

/// The counts of all writable layers.
#[derive(Clone, Debug)]
pub(super) struct Usages {
    /// What is told as the mountpoint: a directory of a container may be gone when whoever asked looks at it.
    root: Arc<Path>,
    known: Arc<Mutex<HashMap<String, Count>>>,
    turn: Arc<Semaphore>,
    tasks: TaskTracker,
    interval: Duration,
}

#[derive(Clone, Debug, Default)]
struct Count {
    usage: Option<FilesystemUsage>,
    /// Not before then.
    next: Option<Instant>,
    under_way: bool,
}

impl Usages {
    pub(super) fn new(root: &Path, tasks: TaskTracker, interval: Duration) -> Usages {
        Usages {
            root: root.into(),
            known: Arc::default(),
            turn: Arc::new(Semaphore::new(1)),
            tasks,
            interval,
        }
    }

    /// Remembers that a layer was made, empty.
    pub(super) fn begin(&self, id: &str) {
        let usage = self.usage(4096, 1);
        let count = Count {
            usage: Some(usage),
            ..Count::default()
        };
        lock(&self.known).entry(id.to_owned()).or_insert(count);
    }

    /// Forgets a layer.
    pub(super) fn end(&self, id: &str) {
        lock(&self.known).remove(id);
    }

    /// The last count; begins another when it is old.
    pub(super) fn get(&self, id: &str, upper: &Path) -> Option<FilesystemUsage> {
        let mut known = lock(&self.known);
        let count = known.entry(id.to_owned()).or_default();
        let due = count.next.is_none_or(|next| next <= Instant::now());
        if due && !count.under_way {
            count.under_way = true;
            self.count(id.to_owned(), upper.to_owned());
        }
        count.usage.clone()
    }

    /// So much, on the store's file system, now.
    pub(super) fn usage(&self, used_bytes: u64, inodes_used: u64) -> FilesystemUsage {
        FilesystemUsage {
            timestamp: now(),
            mountpoint: self.root.to_path_buf(),
            used_bytes,
            inodes_used,
        }
    }

    fn count(&self, id: String, upper: PathBuf) {
        let usages = self.clone();
        self.tasks.spawn(async move {
            let _turn = usages.turn.acquire().await;
            let begun = Instant::now();
            let mut usage = usages.usage(0, 0);
            let walk = move || {
                walk(&upper, &mut usage);
                usage
            };
            let walked = tokio::task::spawn_blocking(walk).await.ok();
            let rest = usages.interval.max(begun.elapsed() * SHARE);
            // Absent: it was removed meanwhile.
            if let Some(count) = lock(&usages.known).get_mut(&id) {
                count.under_way = false;
                count.next = Some(Instant::now() + rest);
                count.usage = walked.or(count.usage.take());
            }
        });
    }
}

/// Adds up a directory. What goes away meanwhile, or lies deeper than a path is long, is not counted. The container may
/// change it under way: every directory is opened beneath the layer, and no link is followed.
fn walk(upper: &Path, usage: &mut FilesystemUsage) {
    let Ok(tree) = Tree::open(upper) else {
        return;
    };
    let mut linked = HashSet::new();
    let mut add = |stat: &Stat| {
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if directory || stat.st_nlink < 2 || linked.insert(stat.st_ino) {
            usage.used_bytes += stat.st_blocks as u64 * 512;
            usage.inodes_used += 1;
        }
        (directory, usage.inodes_used < MAX_ENTRIES)
    };
    if let Ok(stat) = fstat(tree.root()) {
        add(&stat);
    }
    let mut todo = vec![b".".to_vec()];
    while let Some(path) = todo.pop() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let Ok(directory) = tree.open_beneath(&path, flags) else {
            continue;
        };
        let Ok(entries) = Dir::read_from(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let Ok(stat) = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            let (below, more) = add(&stat);
            if !more {
                return;
            }
            if below {
                todo.push([path.as_slice(), b"/", name].concat());
            }
        }
    }
}
