//! The calls about what containers and sandboxes use.

use std::collections::HashMap;

use crate::cri::adapter::Runtime;
use crate::cri::containers::container_id;
use crate::cri::convert;
use crate::cri::runtime::Messages;
use crate::cri::sandbox::{Network, Pinner, TAG};
use crate::cri::streams::{batched, fitting};
use crate::cri::wire::v1;
use crate::model::{self, ContainerFilter, Error, ListContainersRequest, Result};

impl<R, I, P, N> Runtime<R, I, P, N>
where
    R: model::RuntimeService + model::Stats + model::Events,
    I: model::ImageService + model::Filesystem,
    P: Pinner,
    N: Network,
{
    pub(super) async fn measure(
        &self,
        request: v1::ContainerStatsRequest,
    ) -> Result<v1::ContainerStatsResponse> {
        let id = container_id(request.container_id)?;
        let stats = self.containers.container_stats(&id).await?;
        let filter = ContainerFilter {
            id: stats.id.clone(),
            ..ContainerFilter::default()
        };
        let request = ListContainersRequest { filter: Some(filter) };
        let of = self.containers.list_containers(request).await?.containers.pop();
        let of = of.ok_or_else(|| Error::not_found(format!("no container {id}")))?;
        Ok(v1::ContainerStatsResponse {
            stats: Some(convert::container_stats(of, stats)),
        })
    }

    pub(super) async fn measure_all(
        &self,
        request: v1::ListContainerStatsRequest,
    ) -> Result<v1::ListContainerStatsResponse> {
        let stats = self.measured(request.filter).await?;
        fitting(v1::ListContainerStatsResponse { stats })
    }

    pub(super) async fn measure_stream(
        &self,
        request: v1::StreamContainerStatsRequest,
    ) -> Result<Messages<v1::StreamContainerStatsResponse>> {
        let stats = self.measured(request.filter).await?;
        Ok(batched(stats.into_iter(), |container_stats| {
            v1::StreamContainerStatsResponse { container_stats }
        }))
    }

    async fn measured(&self, filter: Option<v1::ContainerStatsFilter>) -> Result<Vec<v1::ContainerStats>> {
        let filter = filter.unwrap_or_default();
        let Some(sandbox) = self.named_sandbox(&filter.pod_sandbox_id) else {
            return Ok(vec![]);
        };
        self.measured_where(convert::stats_filter(filter, sandbox.as_deref()))
            .await
    }

    async fn measured_where(&self, filter: ContainerFilter) -> Result<Vec<v1::ContainerStats>> {
        let request = ListContainersRequest {
            filter: Some(filter.clone()),
        };
        let measured = self.containers.list_container_stats(filter).await?;
        let listed = self.containers.list_containers(request).await?.containers;
        let mut listed: HashMap<_, _> = listed
            .into_iter()
            .filter(|container| container.tags.contains_key(TAG))
            .map(|container| (container.id.clone(), container))
            .collect();
        // One that was removed in between is left out.
        let stats = measured.into_iter().filter_map(|stats| {
            let of = listed.remove(&stats.id)?;
            Some(convert::container_stats(of, stats))
        });
        Ok(stats.collect())
    }
}
