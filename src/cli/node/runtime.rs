//! A runtime of the node, over CRI: whether it is ready, and how it is emptied of pods.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use k8s_cri::v1 as wire;

use super::error::NodeError;
use crate::cli::CliError;
use crate::cli::client::{Cri, During};

/// The kubelet's note of the seconds that a pod has to end.
const GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";

fn failed<T>(what: impl Into<String>, result: Result<T, CliError>) -> Result<T, NodeError> {
    result.map_err(|source| NodeError::Runtime {
        what: what.into(),
        source: Box::new(source),
    })
}

/// Fails unless the runtime answers, with both of the conditions that a kubelet looks at.
pub(super) async fn ready(socket: &Path) -> Result<(), NodeError> {
    let what = || format!("the runtime at {} is not ready", socket.display());
    let mut cri = failed(what(), Cri::connect(socket).await)?;
    let status = cri.runtime.status(wire::StatusRequest::default()).await;
    let status = failed(what(), status.during("ask for the status"))?;
    let conditions = status.status.unwrap_or_default().conditions;
    match conditions
        .iter()
        .find(|it| !it.status && ["RuntimeReady", "NetworkReady"].contains(&it.r#type.as_str()))
    {
        None => Ok(()),
        Some(it) => Err(NodeError::Refused(format!(
            "{}: {}: {} {}",
            what(),
            it.r#type,
            it.reason,
            it.message
        ))),
    }
}

/// Stops and removes all pods of a runtime; each container has the time that its pod names, at most `longest`. Every pod
/// is tried before an error is told.
pub(super) async fn vacate(socket: &Path, longest: Duration) -> Result<usize, NodeError> {
    let what = format!("cannot remove the pods at {}", socket.display());
    let cri = failed(&*what, Cri::connect(socket).await)?;
    let pods = failed(&*what, list(&cri).await)?;
    let count = pods.len();
    let removals = pods.into_iter().map(|pod| remove(cri.clone(), pod.id, longest));
    for result in join_all(removals).await {
        failed(&*what, result)?;
    }
    Ok(count)
}

async fn list(cri: &Cri) -> Result<Vec<wire::PodSandbox>, CliError> {
    let request = wire::ListPodSandboxRequest::default();
    let answer = cri.clone().runtime.list_pod_sandbox(request).await;
    Ok(answer.during("list pods")?.items)
}

async fn remove(mut cri: Cri, pod: String, longest: Duration) -> Result<(), CliError> {
    let filter = wire::ContainerFilter {
        pod_sandbox_id: pod.clone(),
        state: Some(wire::ContainerStateValue {
            state: wire::ContainerState::ContainerRunning.into(),
        }),
        ..wire::ContainerFilter::default()
    };
    let request = wire::ListContainersRequest { filter: Some(filter) };
    let containers = cri.runtime.list_containers(request).await;
    let containers = containers.during("list containers")?.containers;
    let stops = containers.into_iter().map(|container| {
        let mut runtime = cri.runtime.clone();
        let request = wire::StopContainerRequest {
            timeout: grace(&container.annotations, longest),
            container_id: container.id,
        };
        async move { runtime.stop_container(request).await.map(drop) }
    });
    // What does not stop now is stopped with its pod, or tells why there.
    join_all(stops).await;
    let request = wire::StopPodSandboxRequest {
        pod_sandbox_id: pod.clone(),
    };
    let stopped = cri.runtime.stop_pod_sandbox(request).await;
    stopped.during(format!("stop the pod {pod}"))?;
    let request = wire::RemovePodSandboxRequest {
        pod_sandbox_id: pod.clone(),
    };
    let removed = cri.runtime.remove_pod_sandbox(request).await;
    removed.during(format!("remove the pod {pod}")).map(drop)
}

fn grace(annotations: &HashMap<String, String>, longest: Duration) -> i64 {
    let named = annotations.get(GRACE).and_then(|text| text.parse().ok());
    let longest = i64::try_from(longest.as_secs()).unwrap_or(i64::MAX);
    named.unwrap_or(longest).clamp(0, longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_has_the_time_that_it_names_up_to_a_limit() {
        for (named, expected) in [(Some("5"), 5), (Some("3600"), 60), (Some("x"), 60), (None, 60)] {
            let annotations = named.map(|text| (GRACE.to_owned(), text.to_owned()));

            let seconds = grace(&annotations.into_iter().collect(), Duration::from_secs(60));

            assert_eq!(seconds, expected, "{named:?}");
        }
    }
}
