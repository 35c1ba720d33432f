//! The fake's transitions: told under the lock that they happen under.

use std::sync::Arc;

use crate::model::{
    Change, ContainerFilter, ContainerState, ContainerStatus, Events, Observer, Tags, Transition,
};

use super::{Entry, Fake, State};

impl Events for Fake {
    fn observe(&self, observer: Arc<dyn Observer>) {
        self.lock().observer = Some(observer);
    }

    fn between<T>(&self, filter: &ContainerFilter, act: impl FnOnce(Vec<ContainerStatus>) -> T) -> T {
        act(self.lock().statuses(filter))
    }
}

impl State {
    fn statuses(&self, filter: &ContainerFilter) -> Vec<ContainerStatus> {
        let entries = self.matching(filter).into_iter();
        entries.map(|entry| entry.status.clone()).collect()
    }

    /// Tells of a change to a container that is there.
    pub(super) fn tell(&self, id: &str, change: Change) {
        if let Some(Entry { status, .. }) = self.containers.get(id) {
            self.tell_of(id, status.tags.clone(), change);
        }
    }

    fn tell_of(&self, id: &str, tags: Tags, change: Change) {
        let (id, at) = (id.to_owned(), self.clock);
        let transition = Transition { id, tags, change, at };
        if let Some(observer) = &self.observer {
            observer.observe(transition, &|filter| self.statuses(filter));
        }
    }

    /// Ends a container that has not ended.
    pub(super) fn end(&mut self, id: &str, code: i32) {
        let now = self.tick();
        let Some(Entry { status, .. }) = self.containers.get_mut(id) else {
            return;
        };
        if status.state != ContainerState::Exited {
            status.state = ContainerState::Exited;
            status.exit_code = code;
            status.finished_at = now;
            status.reason = if code == 0 { "Completed" } else { "Error" }.to_owned();
            status.pid = None;
            self.tell(id, Change::Stopped);
        }
    }

    /// Removes a container, after its end.
    pub(super) fn remove(&mut self, id: &str) {
        if self
            .containers
            .get(id)
            .is_some_and(|it| it.status.state == ContainerState::Running)
        {
            self.end(id, 137);
        }
        if let Some(Entry { status, .. }) = self.containers.remove(id) {
            self.tell_of(id, status.tags, Change::Deleted);
        }
    }
}
