//! The names of what is in work, or on its way in or out: an audit does not take them for leftovers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::layers::lock;

/// All names in work of one store. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Live {
    paths: Arc<Mutex<BTreeSet<PathBuf>>>,
}

/// Keeps a name in work until it is dropped.
#[derive(Debug)]
pub(super) struct Hold {
    live: Live,
    path: PathBuf,
}

impl Live {
    /// Called before something gets its name, or before what has a name is forgotten.
    pub(super) fn hold(&self, path: &Path) -> Hold {
        lock(&self.paths).insert(path.to_owned());
        Hold {
            live: self.clone(),
            path: path.to_owned(),
        }
    }

    /// What is in work at this moment.
    pub(super) fn all(&self) -> BTreeSet<PathBuf> {
        lock(&self.paths).clone()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        lock(&self.live.paths).remove(&self.path);
    }
}
