//! What a report of a bug has of the core: each container's state and locks, and the tasks there are. Nothing of what
//! containers were given: environment, arguments, annotations and mounts may hold secrets.

use serde_json::{Value, json};

use super::Core;
use super::entry::{Entry, Phase};

impl Core {
    /// Tells of containers, locks and tasks, from memory: waits for nobody.
    pub fn dump(&self) -> Value {
        let containers = self.inner.registry.all();
        let containers: Vec<Value> = containers.iter().map(|entry| container(entry)).collect();
        json!({
            "containers": containers,
            "tasks": {
                "callsAndObservers": self.inner.tasks.len(),
                "commands": self.inner.execs.len(),
                "closing": self.inner.closing.is_cancelled(),
            },
        })
    }
}

fn container(entry: &Entry) -> Value {
    let (phase, live) = match entry.phase() {
        Phase::Creating => ("creating", None),
        Phase::Created(live) => ("created", Some(live)),
        Phase::Running(live) => ("running", Some(live)),
        Phase::Ended(_) => ("ended", None),
    };
    let config = &entry.record.config;
    json!({
        "id": entry.id,
        "name": config.metadata.as_ref().map(|metadata| &metadata.name),
        "attempt": config.metadata.as_ref().map(|metadata| metadata.attempt),
        "tags": config.tags,
        "image": entry.record.image_id,
        "cgroup": entry.record.cgroup,
        "createdAt": entry.record.created_at,
        "phase": phase,
        "pid": live.as_ref().map(|live| live.pid),
        "startedAt": live.as_ref().map(|live| live.started_at),
        "status": entry.status().reason,
        "locks": {
            "operation": entry.operation.try_lock().is_err(),
            "storing": entry.storing.try_lock().is_err(),
        },
    })
}
