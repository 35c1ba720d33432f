//! The calls about sandboxes, but for the work itself, which is in `sandbox`.

use bytes::Bytes;
use serde_json::json;

use crate::cri::adapter::Runtime;
use crate::cri::convert;
use crate::cri::runtime::Messages;
use crate::cri::sandbox::{Network, Pinner, Record, Sandbox, TAG};
use crate::cri::streams::{batched, fitting};
use crate::cri::wire::{Encoded, v1};
use crate::model::{self, ContainerFilter, ContainerStatusRequest, Kind, ListContainersRequest, Result};
use crate::sys::clock::now;

impl<R, I, P, N> Runtime<R, I, P, N>
where
    R: model::RuntimeService + model::Stats + model::Events,
    I: model::ImageService + model::Filesystem,
    P: Pinner,
    N: Network,
{
    pub(super) async fn run_sandbox(
        &self,
        request: v1::RunPodSandboxRequest,
    ) -> Result<v1::RunPodSandboxResponse> {
        let mut config = convert::sandbox(request)?;
        config.cgroup_parent = convert::cgroup_parent(config.cgroup_parent, self.settings.cgroup_driver)?;
        let pod_sandbox_id = self.sandboxes.run(config).await?;
        Ok(v1::RunPodSandboxResponse { pod_sandbox_id })
    }

    pub(super) async fn stop_sandbox(
        &self,
        request: v1::StopPodSandboxRequest,
    ) -> Result<v1::StopPodSandboxResponse> {
        self.sandboxes.stop(&request.pod_sandbox_id).await?;
        Ok(v1::StopPodSandboxResponse {})
    }

    pub(super) async fn remove_sandbox(
        &self,
        request: v1::RemovePodSandboxRequest,
    ) -> Result<v1::RemovePodSandboxResponse> {
        self.sandboxes.remove(&request.pod_sandbox_id).await?;
        Ok(v1::RemovePodSandboxResponse {})
    }

    pub(super) async fn sandbox_report(
        &self,
        request: v1::PodSandboxStatusRequest,
    ) -> Result<v1::PodSandboxStatusResponse> {
        let record = self.sandboxes.get(&request.pod_sandbox_id)?.record;
        let info = match request.verbose {
            true => [("info".to_owned(), self.info(&record))].into(),
            false => Default::default(),
        };
        Ok(v1::PodSandboxStatusResponse {
            status: Some(convert::sandbox_status(&record)),
            info,
            containers_statuses: self.statuses_in(&record.id).await?,
            timestamp: now(),
        })
    }

    pub(super) async fn update_sandbox(
        &self,
        request: v1::UpdatePodSandboxResourcesRequest,
    ) -> Result<v1::UpdatePodSandboxResourcesResponse> {
        let resources = convert::pod_resources(request.overhead, request.resources, "")?;
        self.sandboxes.update(&request.pod_sandbox_id, resources).await?;
        Ok(v1::UpdatePodSandboxResourcesResponse {})
    }

    fn info(&self, record: &Record) -> String {
        let debt = self.sandboxes.debts().remove(&record.id);
        json!({
            "sandbox": record,
            "directory": self.sandboxes.dir(&record.id),
            "networkDebt": debt,
        })
        .to_string()
    }

    /// The statuses of a sandbox's containers, so that the kubelet need not ask one by one.
    async fn statuses_in(&self, sandbox: &str) -> Result<Vec<v1::ContainerStatus>> {
        let filter = ContainerFilter {
            tag_selector: [(TAG.to_owned(), sandbox.to_owned())].into(),
            ..ContainerFilter::default()
        };
        let request = ListContainersRequest { filter: Some(filter) };
        let mut statuses = vec![];
        for container in self.containers.list_containers(request).await?.containers {
            let request = ContainerStatusRequest {
                container_id: container.id,
                verbose: false,
            };
            match self.containers.container_status(request).await {
                Ok(answer) => statuses.extend(answer.status.map(convert::container_status)),
                // Removed in between.
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(statuses)
    }

    pub(super) fn list_sandboxes(&self, request: v1::ListPodSandboxRequest) -> Result<Encoded> {
        let items = self.sandboxes_where(request.filter)?.collect();
        fitting(Encoded { items })
    }

    pub(super) fn sandboxes_stream(
        &self,
        request: v1::StreamPodSandboxesRequest,
    ) -> Result<Messages<Encoded>> {
        let chosen = self.sandboxes_where(request.filter)?;
        Ok(batched(chosen, |items| Encoded { items }))
    }

    fn sandboxes_where(
        &self,
        filter: Option<v1::PodSandboxFilter>,
    ) -> Result<impl Iterator<Item = Bytes> + Send + use<R, I, P, N>> {
        let filter = filter.unwrap_or_default();
        let candidates = self.sandboxes.candidates(&filter.id);
        let state = convert::sandbox_state_filter(&filter)?;
        let matches = move |candidate: &Sandbox| {
            convert::sandbox_matches(&candidate.record, state, &filter.label_selector)
        };
        let chosen = candidates.into_iter().filter(matches);
        Ok(chosen.map(|sandbox| sandbox.written(convert::sandbox_written)))
    }
}
