//! The calls about what containers and sandboxes use.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cri::adapter::Runtime;
use crate::cri::containers::container_id;
use crate::cri::convert;
use crate::cri::runtime::Messages;
use crate::cri::sandbox::{Mode, Network, Pinner, Record, Sandbox, TAG};
use crate::cri::streams::{batched, fitting};
use crate::cri::wire::v1;
use crate::model::{
    self, Container, ContainerFilter, ContainerStats, CpuUsage, Error, GroupStats, ListContainersRequest,
    Result,
};
use crate::sys::clock::now;
use crate::sys::systemd;
use crate::sys::traffic::{self, Interface};

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
        let measured = self.containers_where(filter).await?.into_iter();
        let stats = measured.map(|(of, stats)| convert::container_stats(of, stats));
        Ok(stats.collect())
    }

    /// The running containers of sandboxes that match, measured.
    async fn containers_where(&self, filter: ContainerFilter) -> Result<Vec<(Container, ContainerStats)>> {
        let measured = self.containers.list_container_stats(filter.clone()).await?;
        self.paired(filter, measured, |stats| &stats.id).await
    }

    /// What was measured of containers that match, each with its container. One that was removed in between, or is in no
    /// sandbox, is left out.
    pub(super) async fn paired<T>(
        &self,
        filter: ContainerFilter,
        measured: Vec<T>,
        id: impl Fn(&T) -> &str,
    ) -> Result<Vec<(Container, T)>> {
        let request = ListContainersRequest { filter: Some(filter) };
        let listed = self.containers.list_containers(request).await?.containers;
        let mut listed: HashMap<_, _> = listed
            .into_iter()
            .filter(|container| container.tags.contains_key(TAG))
            .map(|container| (container.id.clone(), container))
            .collect();
        let pairs = measured
            .into_iter()
            .filter_map(|found| Some((listed.remove(id(&found))?, found)));
        Ok(pairs.collect())
    }

    pub(super) async fn measure_sandbox(
        &self,
        request: v1::PodSandboxStatsRequest,
    ) -> Result<v1::PodSandboxStatsResponse> {
        let sandbox = self.sandboxes.get(&request.pod_sandbox_id)?;
        let stats = self.sandboxes_measured(vec![sandbox]).await?.pop();
        Ok(v1::PodSandboxStatsResponse { stats })
    }

    pub(super) async fn measure_sandboxes(
        &self,
        request: v1::ListPodSandboxStatsRequest,
    ) -> Result<v1::ListPodSandboxStatsResponse> {
        let stats = self.sandboxes_measured(self.ready_where(request.filter)).await?;
        fitting(v1::ListPodSandboxStatsResponse { stats })
    }

    pub(super) async fn measure_sandboxes_stream(
        &self,
        request: v1::StreamPodSandboxStatsRequest,
    ) -> Result<Messages<v1::StreamPodSandboxStatsResponse>> {
        let stats = self.sandboxes_measured(self.ready_where(request.filter)).await?;
        Ok(batched(stats.into_iter(), |pod_sandbox_stats| {
            v1::StreamPodSandboxStatsResponse { pod_sandbox_stats }
        }))
    }

    /// The sandboxes that are ready and match: what was stopped uses nothing.
    fn ready_where(&self, filter: Option<v1::PodSandboxStatsFilter>) -> Vec<Sandbox> {
        let filter = filter.unwrap_or_default();
        let mut found = self.sandboxes.candidates(&filter.id);
        let ready = Some(v1::PodSandboxState::SandboxReady);
        found.retain(|found| convert::sandbox_matches(&found.record, ready, &filter.label_selector));
        found
    }

    async fn sandboxes_measured(&self, sandboxes: Vec<Sandbox>) -> Result<Vec<v1::PodSandboxStats>> {
        let records: Vec<_> = sandboxes.iter().map(|found| Arc::clone(&found.record)).collect();
        // Each waits for the kernel, in a thread of its own.
        let (mut containers, read, networks) = tokio::try_join!(
            self.containers_of(&records),
            self.own_groups(&sandboxes),
            self.traffic(&sandboxes)
        )?;
        let groups = groups(&sandboxes, read, &containers);
        let timestamp = now();
        let measured = records.iter().zip(groups).zip(networks);
        let stats = measured.map(|((record, group), interfaces)| {
            let network = interfaces.map(|found| convert::network(timestamp, found));
            let own = containers.remove(&record.id).unwrap_or_default().into_iter();
            let own = own.map(|(of, stats)| convert::container_stats(of, stats));
            convert::sandbox_stats(record, group, network, own.collect())
        });
        Ok(stats.collect())
    }

    /// The running containers of sandboxes, by the sandbox's id.
    async fn containers_of(
        &self,
        records: &[Arc<Record>],
    ) -> Result<HashMap<String, Vec<(Container, ContainerStats)>>> {
        let filter = match records {
            [] => return Ok(HashMap::new()),
            [one] => ContainerFilter {
                tag_selector: [(TAG.to_owned(), one.id.clone())].into(),
                ..ContainerFilter::default()
            },
            _ => ContainerFilter::default(),
        };
        Ok(by_sandbox(self.containers_where(filter).await?))
    }

    /// What the sandboxes use that have a cgroup of their own, in their order.
    async fn own_groups(&self, sandboxes: &[Sandbox]) -> Result<Vec<GroupStats>> {
        let own = sandboxes.iter().filter(|sandbox| has_group(&sandbox.record));
        let groups = own.map(|Sandbox { record, meter, .. }| {
            meter.group(|| {
                self.containers
                    .group(&systemd::expand(&record.config.cgroup_parent))
            })
        });
        self.containers.group_stats(groups.collect()).await
    }

    /// The interfaces of each sandbox that has a network of its own. The host's are not a sandbox's.
    pub(super) async fn traffic(&self, sandboxes: &[Sandbox]) -> Result<Vec<Option<Vec<Interface>>>> {
        let own = sandboxes.iter().map(|Sandbox { record, meter, .. }| {
            let has_own = record.config.namespaces.network == Mode::Pod;
            has_own.then(|| (Arc::clone(meter), self.sandboxes.dir(&record.id).join("net")))
        });
        let own: Vec<_> = own.collect();
        let read = tokio::task::spawn_blocking(move || {
            let unopened = own
                .iter()
                .flatten()
                .filter(|(meter, _)| meter.traffic().is_none());
            let (meters, pins): (Vec<_>, Vec<_>) = unopened.cloned().unzip();
            for (meter, counters) in meters.iter().zip(traffic::open(pins)) {
                if let Some(counters) = counters {
                    meter.keep_traffic(counters);
                }
            }
            let read = own.iter().map(|own| own.as_ref()?.0.traffic()?.read().ok());
            read.collect()
        });
        read.await
            .map_err(|error| Error::internal("reading of traffic ended badly").because(error))
    }
}

/// What each sandbox uses as a whole: its cgroup, or where it has none of its own, its containers together.
fn groups(
    sandboxes: &[Sandbox],
    read: Vec<GroupStats>,
    containers: &HashMap<String, Vec<(Container, ContainerStats)>>,
) -> Vec<Option<GroupStats>> {
    let mut read = read.into_iter();
    let groups = sandboxes.iter().map(|Sandbox { record, meter, .. }| {
        let mut group = match has_group(record) {
            true => read.next(),
            false => {
                let own = containers.get(&record.id).into_iter().flatten();
                let groups: Vec<_> = own.filter_map(|(_, stats)| stats.group.as_ref()).collect();
                convert::together(&groups)
            }
        };
        if let Some((timestamp, cpu)) = group.as_mut().and_then(|g| Some((g.timestamp, g.cpu.as_mut()?))) {
            let reading = (timestamp, cpu.usage_core_nano_seconds);
            let before = meter.exchange(reading);
            cpu.usage_nano_cores = before.and_then(|before| CpuUsage::rate(before, reading));
        }
        group
    });
    groups.collect()
}

/// Whether a sandbox has a cgroup of its own.
fn has_group(record: &Record) -> bool {
    !record.config.cgroup_parent.is_empty()
}

/// Containers and what was measured of them, by the id of their sandbox.
pub(super) fn by_sandbox<T>(pairs: Vec<(Container, T)>) -> HashMap<String, Vec<(Container, T)>> {
    let mut found: HashMap<String, Vec<_>> = HashMap::new();
    for (of, measured) in pairs {
        let sandbox = of.tags.get(TAG).cloned().unwrap_or_default();
        found.entry(sandbox).or_default().push((of, measured));
    }
    found
}
