//! A dump of a running daemon for a report of a bug: versions, configuration, state, locks, tasks and metrics, as one
//! JSON text. What may hold secrets is left out where it is known: by the layers, and here of the configuration.

use std::sync::Arc;

use serde_json::{Value, json};

use super::node::Adapter;
use super::readings::readings;
use crate::config::Config;
use crate::core::Core;
use crate::sys::zygote::Zygote;
use crate::telemetry::{self, traces};

/// What a dump is made of.
#[derive(Clone, Debug)]
pub(super) struct Dump {
    pub(super) config: Config,
    pub(super) core: Core,
    pub(super) adapter: Adapter,
    pub(super) zygote: Arc<Zygote>,
}

impl Dump {
    /// The text.
    pub(super) fn text(&self) -> String {
        let metrics = telemetry::text(&readings(self.core.census(), self.adapter.standing()));
        let told = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "process": process(),
            "zygote": self.zygote.pid(),
            "configuration": configuration(&self.config),
            "adapter": self.adapter.dump(),
            "core": self.core.dump(),
            "traces": traces::state().map(|state| json!({
                "sent": state.sent,
                "dropped": state.dropped,
                "failing": state.failing,
            })),
            "metrics": metrics.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>(),
        });
        format!("{told:#}\n")
    }
}

/// What the daemon was started with, less the values of annotations.
fn configuration(config: &Config) -> Value {
    let mut config = config.clone();
    for handler in config.runtimes.values_mut() {
        for value in handler.default_annotations.values_mut() {
            "(left out)".clone_into(value);
        }
    }
    json!(config)
}

fn process() -> Value {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        let mut lines = status.lines();
        lines
            .find_map(|line| line.strip_prefix(name))
            .map(|value| value.trim().to_owned())
    };
    json!({
        "pid": std::process::id(),
        "threads": of("Threads:"),
        "memory": of("VmRSS:"),
        "descriptors": std::fs::read_dir("/proc/self/fd").map(Iterator::count).ok(),
        "kernel": std::fs::read_to_string("/proc/version").ok(),
    })
}
