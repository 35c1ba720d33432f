//! What to list. Fields that are set must all match; an id may be the unique beginning of one.

use std::collections::BTreeMap;

use crate::cri::sandbox::{Phase, Record, TAG};
use crate::cri::wire::v1;
use crate::model::{ContainerFilter, ContainerState, ContainerStateValue, Result};

use super::known;

/// The model's filter. `sandbox` is the full id of the sandbox that the request names, when it names one.
pub(in crate::cri) fn container_filter(
    from: v1::ContainerFilter,
    sandbox: Option<&str>,
) -> Result<ContainerFilter> {
    let state = match from.state {
        Some(value) => Some(ContainerStateValue {
            state: container_state(value.state)?,
        }),
        None => None,
    };
    Ok(ContainerFilter {
        id: from.id,
        state,
        label_selector: from.label_selector,
        tag_selector: tag(sandbox),
    })
}

/// The model's filter for measurements.
pub(in crate::cri) fn stats_filter(from: v1::ContainerStatsFilter, sandbox: Option<&str>) -> ContainerFilter {
    ContainerFilter {
        id: from.id,
        state: None,
        label_selector: from.label_selector,
        tag_selector: tag(sandbox),
    }
}

fn tag(sandbox: Option<&str>) -> BTreeMap<String, String> {
    sandbox
        .map(|id| (TAG.to_owned(), id.to_owned()))
        .into_iter()
        .collect()
}

fn container_state(value: i32) -> Result<ContainerState> {
    let known: v1::ContainerState = known(value, "filter.state")?;
    Ok(ContainerState::from(known as i32))
}

/// The state a filter names, if it names one.
///
/// # Errors
/// `InvalidArgument`: it is none.
pub(in crate::cri) fn sandbox_state_filter(
    filter: &v1::PodSandboxFilter,
) -> Result<Option<v1::PodSandboxState>> {
    let state = filter
        .state
        .as_ref()
        .map(|value| known(value.state, "filter.state"));
    state.transpose()
}

/// Says whether a sandbox is in a state, or in any, and has labels.
pub(in crate::cri) fn sandbox_matches(
    record: &Record,
    state: Option<v1::PodSandboxState>,
    labels: &BTreeMap<String, String>,
) -> bool {
    let own = &record.config.labels;
    let labelled = labels.iter().all(|(key, value)| own.get(key) == Some(value));
    labelled && state.is_none_or(|state| state == sandbox_state(record.phase))
}

/// The wire's state of a sandbox.
pub(super) fn sandbox_state(phase: Phase) -> v1::PodSandboxState {
    match phase {
        Phase::Ready => v1::PodSandboxState::SandboxReady,
        Phase::Making | Phase::NotReady => v1::PodSandboxState::SandboxNotready,
    }
}
