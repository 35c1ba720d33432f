//! What metrics tell that is not counted where it happens, but read at the moment somebody asks.

use crate::core::Census;
use crate::cri::Standing;
use crate::telemetry::Reading;

/// The readings, those of one name together.
pub(super) fn readings(containers: Census, pods: Standing) -> Vec<Reading> {
    let state = |name, help, state, value: usize| Reading {
        name,
        help,
        label: Some(("state", state)),
        value: i64::try_from(value).unwrap_or(i64::MAX),
    };
    let plain = |name, help, value: usize| Reading {
        name,
        help,
        label: None,
        value: i64::try_from(value).unwrap_or(i64::MAX),
    };
    let (of_containers, of_pods) = ("Containers by their state", "Pod sandboxes by their state");
    vec![
        state("coracle_containers", of_containers, "created", containers.created),
        state("coracle_containers", of_containers, "running", containers.running),
        state("coracle_containers", of_containers, "exited", containers.ended),
        plain(
            "coracle_monitors",
            "Monitors of living containers",
            containers.created + containers.running,
        ),
        state("coracle_pod_sandboxes", of_pods, "ready", pods.ready),
        state("coracle_pod_sandboxes", of_pods, "not_ready", pods.not_ready),
        plain(
            "coracle_network_debts",
            "Network attachments of deleted pods that plugins have not let go of",
            pods.network_debts,
        ),
    ]
}
