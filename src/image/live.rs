//! The names of what is in work, or on its way in or out: an audit does not take them for leftovers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::layers::lock;

/// All names in work of one store. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Live(Arc<Mutex<Names>>);

#[derive(Debug, Default)]
struct Names {
    paths: BTreeSet<PathBuf>,
    /// Those of what could not be removed for want of something.
    waiting: Vec<PathBuf>,
}

/// Keeps a name in work until it is dropped.
#[derive(Debug)]
pub(super) struct Hold {
    live: Live,
    path: PathBuf,
    waits: bool,
}

impl Live {
    /// Called before something gets its name, or before what has a name is forgotten.
    pub(super) fn hold(&self, path: &Path) -> Hold {
        lock(&self.0).paths.insert(path.to_owned());
        self.held(path.to_owned())
    }

    fn held(&self, path: PathBuf) -> Hold {
        Hold {
            live: self.clone(),
            path,
            waits: false,
        }
    }

    /// What waits for its removal. The caller tries again.
    pub(super) fn take_waiting(&self) -> Vec<Hold> {
        let waiting = std::mem::take(&mut lock(&self.0).waiting);
        waiting.into_iter().map(|path| self.held(path)).collect()
    }

    /// What is in work at this moment.
    pub(super) fn all(&self) -> BTreeSet<PathBuf> {
        lock(&self.0).paths.clone()
    }
}

impl Hold {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn live(&self) -> &Live {
        &self.live
    }

    /// Lets go of it until the next removal, of whatever, that succeeds. Until then it is in work.
    pub(super) fn wait(mut self) {
        self.waits = true;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut names = lock(&self.live.0);
        match self.waits {
            true => names.waiting.push(std::mem::take(&mut self.path)),
            false => drop(names.paths.remove(&self.path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_in_work_until_it_was_tried_again() {
        let live = Live::default();
        let (path, other) = (Path::new("/staging/1"), Path::new("/staging/2"));
        let (waiting, done) = (live.hold(path), live.hold(other));

        waiting.wait();
        drop(done);

        assert_eq!(live.all(), BTreeSet::from([path.to_owned()]));
        let again = live.take_waiting();
        assert_eq!(again.iter().map(Hold::path).collect::<Vec<_>>(), [path]);
        assert!(live.take_waiting().is_empty());
        drop(again);
        assert_eq!(live.all(), BTreeSet::new());
    }
}
