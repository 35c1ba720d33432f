//! Transitions of containers, told while they happen.

use std::fmt::Debug;

use super::config::Tags;
use super::container::{ContainerFilter, ContainerStatus};

/// A step in a container's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was made.
    Created,
    /// Its command was executed.
    Started,
    /// It has ended, or could not be started.
    Stopped,
    /// It was removed.
    Deleted,
}

/// One container's step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The container's full id.
    pub id: String,
    /// The container's tags.
    pub tags: Tags,
    /// What happened.
    pub change: Change,
    /// When, in nanoseconds since the epoch.
    pub at: i64,
}

/// Hears of transitions.
pub trait Observer: Debug + Send + Sync + 'static {
    /// Takes note of a transition. Transitions come one after the other, each before the next one happens anywhere.
    /// `statuses` tells how all containers that match are right after this one. Must not wait, nor call back.
    fn observe(&self, transition: Transition, statuses: &dyn Fn(&ContainerFilter) -> Vec<ContainerStatus>);
}
