//! The containers that exist: a map that readers take a snapshot of.
//!
//! Reading takes no lock that a writer holds for longer than a pointer's copy; a list of ten thousand containers is
//! a walk over a persistent map.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::entry::Entry;
use super::index::Index;
use crate::model::{ContainerFilter, Error, Kind, Result};

/// All containers.
#[derive(Debug, Default)]
pub(super) struct Registry {
    index: ArcSwap<Index>,
}

impl Registry {
    /// Adds a container.
    ///
    /// # Errors
    /// `AlreadyExists`: the id is in use.
    pub(super) fn insert(&self, entry: Arc<Entry>) -> Result<()> {
        let previous = self.index.rcu(|index| match index.get(&entry.id) {
            Some(_) => Arc::clone(index),
            None => Arc::new(index.with(&entry)),
        });
        match previous.get(&entry.id) {
            None => Ok(()),
            Some(_) => {
                let text = format!("container {} exists", entry.id);
                Err(Error::new(Kind::AlreadyExists, text))
            }
        }
    }

    /// Takes a container out; false when there is none.
    pub(super) fn remove(&self, id: &str) -> bool {
        let before = self.index.rcu(|index| index.without(id));
        before.get(id).is_some()
    }

    /// Finds a container by its id, or by the unique beginning of it.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` when empty, or when several begin so.
    pub(super) fn find(&self, id: &str) -> Result<Arc<Entry>> {
        if id.is_empty() {
            return Err(Error::invalid("container_id is empty"));
        }
        let index = self.index.load();
        if let Some(entry) = index.get(id) {
            return Ok(Arc::clone(entry));
        }
        let mut begins = index.beginning(id);
        match (begins.next(), begins.next()) {
            (Some(entry), None) => Ok(Arc::clone(entry)),
            (Some(_), Some(_)) => Err(Error::invalid(format!(
                "container_id {id} is the beginning of several ids"
            ))),
            (None, _) => Err(Error::not_found(format!("container {id} does not exist"))),
        }
    }

    /// Takes those that match, without the ones still being made.
    pub(super) fn select(&self, filter: Option<&ContainerFilter>) -> Vec<Arc<Entry>> {
        let Some(filter) = filter else {
            let index = self.index.load();
            return index.all().filter(|e| e.listed()).cloned().collect();
        };
        if !filter.id.is_empty() {
            let found = self.find(&filter.id).ok();
            return found
                .into_iter()
                .filter(|e| e.listed() && e.matches(filter))
                .collect();
        }
        let index = self.index.load();
        index
            .candidates(filter)
            .into_iter()
            .filter(|e| e.listed() && e.matches(filter))
            .cloned()
            .collect()
    }

    /// Whether a container without tags uses an image, also one that is still being made.
    pub(super) fn uses_untagged(&self, image: &str) -> bool {
        self.index.load().untagged_uses(image) > 0
    }

    /// Everything, also what is still being made.
    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        self.index.load().all().cloned().collect()
    }
}
