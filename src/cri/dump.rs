//! What a report of a bug has of the adapter: each pod's state and locks, work in flight, debts. Labels and annotations
//! are left out: they may hold secrets.

use serde_json::{Value, json};

use crate::cri::adapter::Runtime;
use crate::cri::sandbox::{Network, Pinner, Sandbox};
use crate::model;

impl<R, I, P, N> Runtime<R, I, P, N>
where
    R: model::RuntimeService + model::Stats + model::Events,
    I: model::ImageService + model::Filesystem,
    P: Pinner,
    N: Network,
{
    /// Tells of pods, locks and work in flight, from memory: waits for nobody.
    pub fn dump(&self) -> Value {
        let pods = self.sandboxes.everything();
        let pods: Vec<Value> = pods.iter().map(pod).collect();
        let (running, stopping, removing) = self.sandboxes.in_flight();
        json!({
            "pods": pods,
            "inFlight": {
                "run": running,
                "stop": stopping,
                "remove": removing,
                "create": self.creating.len(),
            },
            "tasks": self.tasks(),
            "networkDebts": self.sandboxes.debts(),
            "networkDebtCounts": self.sandboxes.debts_told(),
            "networkReady": self.sandboxes.network().ready(None).err(),
        })
    }
}

fn pod(sandbox: &Sandbox) -> Value {
    let record = &sandbox.record;
    json!({
        "id": record.id,
        "key": record.config.key,
        "phase": record.phase,
        "createdAt": record.created_at,
        "attachment": record.network,
        "addresses": record.ips,
        "namespaces": record.config.namespaces,
        "cgroupParent": record.config.cgroup_parent,
        "runtimeHandler": record.config.runtime_handler,
        "locks": {
            "gate": sandbox.gate.try_write().is_err(),
            "writing": sandbox.is_being_written(),
        },
    })
}
