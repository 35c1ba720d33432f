//! What metrics tell that is not counted where it happens, but read at the moment somebody asks.

use crate::core::Census;
use crate::cri::Standing;
use crate::telemetry::Reading;

/// The readings, those of one name together.
pub(super) fn readings(containers: Census, pods: Standing) -> Vec<Reading> {
    let reading = |name, help, state: Option<&'static str>, value: usize| Reading {
        name,
        help,
        label: state.map(|state| ("state", state)),
        value: i64::try_from(value).unwrap_or(i64::MAX),
    };
    let of_containers = |state, value| {
        reading(
            "coracle_containers",
            "Containers by their state",
            Some(state),
            value,
        )
    };
    let of_pods = |state, value| {
        reading(
            "coracle_pod_sandboxes",
            "Pod sandboxes by their state",
            Some(state),
            value,
        )
    };
    let of_conditions = |condition, holds: bool| Reading {
        name: "coracle_condition",
        help: "Whether a condition of CRI's Status holds (1) or not (0)",
        label: Some(("condition", condition)),
        value: holds.into(),
    };
    vec![
        of_containers("created", containers.created),
        of_containers("running", containers.running),
        of_containers("exited", containers.ended),
        reading(
            "coracle_monitors",
            "Monitors of living containers",
            None,
            containers.created + containers.running,
        ),
        of_pods("ready", pods.ready),
        of_pods("not_ready", pods.not_ready),
        reading(
            "coracle_network_debts",
            "Network attachments of deleted pods that plugins have not let go of",
            None,
            pods.network_debts,
        ),
        of_conditions("NetworkReady", pods.network_ready),
        of_conditions("NetworkReleased", pods.network_released),
        of_conditions("StoreHealthy", containers.store_healthy),
    ]
}
