//! The `info` of a verbose ContainerStatus: what a person debugging a container asks for.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Core;
use super::registry::{Entry, Phase};

impl Core {
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
