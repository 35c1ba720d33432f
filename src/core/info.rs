//! What is told of containers beside their status: the `info` of a verbose one, for a person who debugs a container, and
//! how many there are.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Core;
use super::entry::{Entry, Phase};

/// How many containers there are, by how far they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Made, and waiting for their start.
    pub created: usize,
    /// Running.
    pub running: usize,
    /// Ended, and not removed.
    pub ended: usize,
    /// The records are whole and can be written.
    pub store_healthy: bool,
}

impl Core {
    /// Counts the containers, from memory.
    pub fn census(&self) -> Census {
        let mut census = Census {
            store_healthy: self.store_condition().status,
            ..Census::default()
        };
        for entry in self.inner.registry.all() {
            match entry.phase() {
                Phase::Creating => {}
                Phase::Created(_) => census.created += 1,
                Phase::Running(_) => census.running += 1,
                Phase::Ended(_) => census.ended += 1,
            }
        }
        census
    }

    /// One JSON text under `info`, as `crictl inspect` shows it: pid, effective specification, image configuration.
    pub(super) fn info(&self, entry: &Entry) -> BTreeMap<String, String> {
        let pid = match entry.phase() {
            Phase::Created(live) | Phase::Running(live) => live.pid,
            Phase::Creating | Phase::Ended(_) => 0,
        };
        let image = self.inner.images.resolve(&entry.record.image_id);
        let info = json!({
            "pid": pid,
            "cgroup": entry.record.cgroup,
            "config": entry.record.config,
            "runtimeSpec": self.read_json(entry, "bundle/config.json"),
            "process": self.read_json(entry, super::recover::PROCESS),
            "imageConfig": image.map(|i| i.config.clone()),
        });
        BTreeMap::from([("info".to_owned(), info.to_string())])
    }

    /// Null for a container whose bundle a reboot has taken.
    fn read_json(&self, entry: &Entry, file: &str) -> Value {
        let text = std::fs::read(self.directory(&entry.id).join(file)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or(Value::Null)
    }
}
