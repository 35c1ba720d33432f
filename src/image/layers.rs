//! The store of unpacked layers.
//!
//! ```text
//! <root>/l/<n>            a layer's content: an overlay lower directory, never changed once it has this name
//! <root>/m/<n>/layer.json what is known of it
//! <root>/m/<n>/files      its regular files: xxh3, size, path
//! <root>/staging/<n>-…    whatever is not finished, or on its way out; emptied at start
//! ```
//!
//! `n` is a short number, since overlay's options have to fit one page. A layer is in the store when `l/<n>` exists:
//! everything else of it is on disk before that name is given. A layer lives as long as something holds its [`Layer`];
//! [`Layers::collect`] removes the others.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::commit::Commits;
use super::description::Description;
use super::error::ImageError;
use super::live::Live;
use super::number::{name_number, parse_number};
use super::staging::{Staging, make_private};
use super::unpack::LayerFacts;
use crate::sys::{planted, step};

/// A layer in the store. Holding it keeps it.
#[derive(Debug)]
pub(super) struct Layer {
    number: u64,
    key: LayerKey,
    facts: LayerFacts,
    path: PathBuf,
}

/// What makes a layer the same as another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LayerKey {
    /// The same whatever lies below it: its diff id.
    Free(String),
    /// Completed from what lies below it: its chain id.
    Based(String),
}

impl Layer {
    pub(super) fn new(number: u64, path: PathBuf, file: Description) -> Layer {
        Layer {
            number,
            key: file.key,
            facts: file.facts,
            path,
        }
    }

    /// Its content.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn key(&self) -> &LayerKey {
        &self.key
    }

    pub(super) fn facts(&self) -> &LayerFacts {
        &self.facts
    }
}

/// All layers below one root.
#[derive(Debug)]
pub(super) struct Layers {
    root: PathBuf,
    known: Mutex<HashMap<LayerKey, Arc<Layer>>>,
    claims: Mutex<HashMap<String, watch::Receiver<()>>>,
    next: AtomicU64,
    commits: Commits,
    live: Live,
    tasks: TaskTracker,
}

/// The right to bring one layer into the store, until it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    layers: Arc<Layers>,
    diff_id: String,
    _done: watch::Sender<()>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&self.layers.claims).remove(&self.diff_id);
    }
}

/// Either the right to bring a layer in, or the end of somebody else's attempt to wait for.
#[derive(Debug)]
pub(super) enum Turn {
    Mine(Claim),
    Theirs(watch::Receiver<()>),
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Layers {
    /// Opens the store, and removes what an interrupted run left. `tasks` owns the work in the background.
    pub(super) fn open(root: &Path, tasks: TaskTracker) -> Result<Layers, ImageError> {
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| ImageError::Disk {
                what: "open image store",
                path,
                source,
            }
        };
        for name in ["l", "m", "staging"] {
            make_private(&root.join(name)).map_err(fail(root))?;
        }
        let layers = Layers::at(root, tasks);
        for leftover in fs::read_dir(root.join("staging")).map_err(fail(root))? {
            let path = leftover.map_err(fail(root))?.path();
            let hold = layers.live.hold(&path);
            drop(Staging::new(hold, layers.tasks.clone()));
        }
        for half in layers.scan().map_err(fail(root))? {
            tracing::warn!(path = %half.display(), "half of a layer is removed");
            layers.discard(&half).map_err(fail(root))?;
        }
        Ok(layers)
    }

    /// The store as it lies on disk, for a look: nothing is made or removed. The second value is halves of layers.
    pub(super) fn look(root: &Path) -> io::Result<(Layers, Vec<PathBuf>)> {
        let layers = Layers::at(root, TaskTracker::new());
        let halves = layers.scan()?;
        Ok((layers, halves))
    }

    fn at(root: &Path, tasks: TaskTracker) -> Layers {
        Layers {
            root: root.to_owned(),
            known: Mutex::default(),
            claims: Mutex::default(),
            next: AtomicU64::new(1),
            commits: Commits::default(),
            live: Live::default(),
            tasks,
        }
    }

    /// Finds the layers on disk, and returns what is half of one.
    fn scan(&self) -> io::Result<Vec<PathBuf>> {
        let (mut whole, mut halves) = (HashSet::new(), Vec::new());
        for entry in fs::read_dir(self.root.join("l"))? {
            let entry = entry?;
            let number = parse_number(&entry.file_name().to_string_lossy());
            let file = number.and_then(|n| Some((n, self.read_meta(n)?)));
            let Some((number, file)) = file else {
                halves.push(entry.path());
                continue;
            };
            self.next.fetch_max(number + 1, Ordering::Relaxed);
            whole.insert(number);
            self.insert(Layer::new(number, entry.path(), file));
        }
        for entry in fs::read_dir(self.root.join("m"))? {
            let entry = entry?;
            let number = parse_number(&entry.file_name().to_string_lossy());
            if !number.is_some_and(|n| whole.contains(&n)) {
                halves.push(entry.path());
            }
        }
        Ok(halves)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn commits(&self) -> &Commits {
        &self.commits
    }

    /// The number of the next directory.
    pub(super) fn next(&self) -> &AtomicU64 {
        &self.next
    }

    /// What is in work.
    pub(super) fn live(&self) -> &Live {
        &self.live
    }

    /// All layers.
    pub(super) fn all(&self) -> Vec<Arc<Layer>> {
        lock(&self.known).values().cloned().collect()
    }

    /// Where everything that is known of a layer lies.
    pub(super) fn meta(&self, layer: &Layer) -> PathBuf {
        self.meta_path(layer.number)
    }

    fn read_meta(&self, number: u64) -> Option<Description> {
        Description::read(&self.meta_path(number))
    }

    pub(super) fn insert(&self, layer: Layer) -> Arc<Layer> {
        let layer = Arc::new(layer);
        lock(&self.known).insert(layer.key.clone(), Arc::clone(&layer));
        layer
    }

    /// Finds the layer at a position of an image.
    pub(super) fn find(&self, diff_id: &str, chain_id: &str, bottom: bool) -> Option<Arc<Layer>> {
        let known = lock(&self.known);
        let fits = |layer: &&Arc<Layer>| match bottom {
            true => !layer.facts.whiteouts,
            false => !layer.facts.bottom_only,
        };
        known
            .get(&LayerKey::Based(chain_id.to_owned()))
            .or_else(|| known.get(&LayerKey::Free(diff_id.to_owned())).filter(fits))
            .cloned()
    }

    /// Finds a layer by its key.
    pub(super) fn get(&self, key: &LayerKey) -> Option<Arc<Layer>> {
        lock(&self.known).get(key).cloned()
    }

    /// Asks for the right to bring a layer in: one at a time does.
    pub(super) fn claim(self: &Arc<Layers>, diff_id: &str) -> Turn {
        let mut claims = lock(&self.claims);
        if let Some(theirs) = claims.get(diff_id) {
            return Turn::Theirs(theirs.clone());
        }
        let (done, theirs) = watch::channel(());
        claims.insert(diff_id.to_owned(), theirs);
        Turn::Mine(Claim {
            layers: Arc::clone(self),
            diff_id: diff_id.to_owned(),
            _done: done,
        })
    }

    /// Makes a directory for unfinished work.
    pub(super) fn stage(&self) -> Result<Staging, ImageError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self
            .root
            .join("staging")
            .join(format!("{}-new", name_number(number)));
        let hold = self.live.hold(&path);
        step("image.stage");
        make_private(&path).map_err(|source| ImageError::Disk {
            what: "make staging directory",
            path: path.clone(),
            source,
        })?;
        Ok(Staging::new(hold, self.tasks.clone()))
    }

    /// Removes every layer that nobody holds. Disk space follows in the background.
    pub(super) fn collect(&self) {
        let mut unused = Vec::new();
        let mut holds = Vec::new();
        {
            let mut known = lock(&self.known);
            // Nobody can come to hold one meanwhile: all clones are made below this lock, or of a held one.
            let keys: Vec<LayerKey> = known
                .iter()
                .filter(|(_, layer)| Arc::strong_count(layer) == 1 || planted("held-layers"))
                .map(|(key, _)| key.clone())
                .collect();
            unused.extend(keys.iter().filter_map(|key| known.remove(key)));
            let paths = unused
                .iter()
                .flat_map(|layer| [layer.path.clone(), self.meta_path(layer.number)]);
            holds.extend(paths.map(|path| self.live.hold(&path)));
        }
        for layer in unused {
            tracing::debug!(
                layer = layer.number,
                diff_id = layer.facts.diff_id,
                "layer is removed"
            );
            // Content first: a description alone is no layer.
            for path in [&layer.path, &self.meta_path(layer.number)] {
                if let Err(error) = self.discard(path) {
                    tracing::warn!(path = %path.display(), %error, "cannot remove layer, next start tries again");
                    break;
                }
            }
        }
        drop(holds);
    }

    /// Moves something out of the way at once and removes it in the background.
    pub(super) fn discard(&self, path: &Path) -> io::Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let trash = self
            .root
            .join("staging")
            .join(format!("{}-old", name_number(number)));
        let hold = self.live.hold(&trash);
        step("image.discard");
        fs::rename(path, &trash)?;
        step("image.discarded");
        drop(Staging::new(hold, self.tasks.clone()));
        Ok(())
    }

    /// Bytes and inodes of all layers.
    pub(super) fn usage(&self) -> (u64, u64) {
        lock(&self.known).values().fold((0, 0), |(bytes, inodes), layer| {
            (bytes + layer.facts.bytes, inodes + layer.facts.inodes)
        })
    }

    pub(super) fn meta_path(&self, number: u64) -> PathBuf {
        self.root.join("m").join(name_number(number))
    }
}
