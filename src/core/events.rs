//! The model's [`Events`]: every step in a container's life is taken and told under one short lock, so that what is
//! told is in order, and nothing else has happened meanwhile. Readers do not take it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Core;
use super::entry::Entry;
use super::registry::Registry;
use crate::model::{Change, ContainerFilter, ContainerStatus, Events, Observer, Transition};
use crate::sys::clock::now;

/// Who is told, and what there was to tell before anybody was.
#[derive(Debug, Default)]
pub(super) struct Transitions {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    observer: Option<Arc<dyn Observer>>,
    /// Ends that were found before there was an observer: at most one for each container of the last daemon.
    early: Vec<Transition>,
}

impl Transitions {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one assignment, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Takes a step in a container's life, and tells of it if `act` says that it was one.
    pub(super) fn transit(&self, entry: &Entry, change: Change, act: impl FnOnce() -> bool) -> bool {
        let mut state = self.inner.transitions.lock();
        if !act() {
            return false;
        }
        let transition = Transition {
            id: entry.id.clone(),
            tags: entry.record.config.tags.clone(),
            change,
            at: now(),
        };
        match &state.observer {
            Some(observer) => tell(observer.as_ref(), transition, &self.inner.registry),
            None if change == Change::Stopped => state.early.push(transition),
            None => {}
        }
        true
    }
}

fn tell(observer: &dyn Observer, transition: Transition, registry: &Registry) {
    observer.observe(transition, &|filter| statuses(registry, filter));
}

fn statuses(registry: &Registry, filter: &ContainerFilter) -> Vec<ContainerStatus> {
    let chosen = registry.select(Some(filter));
    chosen.iter().map(|entry| entry.status()).collect()
}

impl Events for Core {
    fn observe(&self, observer: Arc<dyn Observer>) {
        let mut state = self.inner.transitions.lock();
        for transition in std::mem::take(&mut state.early) {
            tell(observer.as_ref(), transition, &self.inner.registry);
        }
        state.observer = Some(observer);
    }

    fn between<T>(&self, filter: &ContainerFilter, act: impl FnOnce(Vec<ContainerStatus>) -> T) -> T {
        let _state = self.inner.transitions.lock();
        act(statuses(&self.inner.registry, filter))
    }
}
