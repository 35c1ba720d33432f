//! The metric calls: what cAdvisor would tell of sandboxes and containers, for `/metrics/cadvisor` of the kubelet.

mod table;

use std::sync::Arc;

use crate::cri::adapter::Runtime;
use crate::cri::convert::NAME_TAG;
use crate::cri::runtime::Messages;
use crate::cri::sandbox::{Network, Phase, Pinner, Record};
use crate::cri::stats::by_sandbox;
use crate::cri::streams::{batched, fitting};
use crate::cri::wire::v1;
use crate::model::{self, Container, ContainerFilter, ContainerMetrics, ImageSpec, Result};
use crate::sys::clock::now;
use crate::sys::systemd;
use crate::sys::traffic::Interface;
use table::{BASE, CONTAINER, NETWORK, Row};

/// The metrics there are on this machine.
pub(super) fn descriptors() -> v1::ListMetricDescriptorsResponse {
    let containers = CONTAINER.iter().filter(|row| (row.there)()).map(descriptor);
    let interfaces = NETWORK.iter().map(descriptor);
    v1::ListMetricDescriptorsResponse {
        descriptors: containers.chain(interfaces).collect(),
    }
}

fn descriptor<T>(row: &Row<T>) -> v1::MetricDescriptor {
    let keys = BASE.iter().chain(row.labels);
    v1::MetricDescriptor {
        name: row.name.to_owned(),
        help: row.help.to_owned(),
        label_keys: keys.map(|key| (*key).to_owned()).collect(),
    }
}

/// The values of a table's metrics of one thing. `base` are the values of the labels in [`BASE`].
fn values<T>(rows: &[Row<T>], of: &T, base: &[String; 6], timestamp: i64, metrics: &mut Vec<v1::Metric>) {
    for row in rows.iter().filter(|row| (row.there)()) {
        for (labels, value) in (row.values)(of) {
            metrics.push(v1::Metric {
                name: row.name.to_owned(),
                timestamp,
                metric_type: row.kind.into(),
                label_values: base.iter().cloned().chain(labels).collect(),
                value: Some(v1::UInt64Value { value }),
            });
        }
    }
}

impl<R, I, P, N> Runtime<R, I, P, N>
where
    R: model::RuntimeService + model::Stats + model::Events,
    I: model::ImageService + model::Filesystem,
    P: Pinner,
    N: Network,
{
    pub(super) async fn metrics(&self) -> Result<v1::ListPodSandboxMetricsResponse> {
        let pod_metrics = self.sandboxes_metrics().await?;
        fitting(v1::ListPodSandboxMetricsResponse { pod_metrics })
    }

    pub(super) async fn metrics_stream(&self) -> Result<Messages<v1::StreamPodSandboxMetricsResponse>> {
        let all = self.sandboxes_metrics().await?;
        Ok(batched(all.into_iter(), |pod_sandbox_metrics| {
            v1::StreamPodSandboxMetricsResponse { pod_sandbox_metrics }
        }))
    }

    async fn sandboxes_metrics(&self) -> Result<Vec<v1::PodSandboxMetrics>> {
        let mut sandboxes = self.sandboxes.everything();
        sandboxes.retain(|sandbox| sandbox.record.phase == Phase::Ready);
        let networks = self.traffic(&sandboxes).await?;
        let all = ContainerFilter::default();
        let measured = self.containers.list_container_metrics(all.clone()).await?;
        let mut containers = by_sandbox(self.paired(all, measured, |found| &found.stats.id).await?);
        let records = sandboxes.iter().map(|sandbox| &sandbox.record);
        let each = records.zip(networks).map(|(record, interfaces)| {
            let own = containers.remove(&record.id).unwrap_or_default().into_iter();
            v1::PodSandboxMetrics {
                pod_sandbox_id: record.id.clone(),
                metrics: of_network(record, &interfaces.unwrap_or_default()),
                container_metrics: own.map(|(of, found)| of_container(record, of, &found)).collect(),
            }
        });
        Ok(each.collect())
    }
}

fn of_network(record: &Arc<Record>, interfaces: &[Interface]) -> Vec<v1::Metric> {
    let key = &record.config.key;
    let base = [
        String::new(),
        systemd::expand(&record.config.cgroup_parent),
        String::new(),
        record.id.clone(),
        key.namespace.clone(),
        key.name.clone(),
    ];
    let mut metrics = vec![];
    let timestamp = now();
    for interface in interfaces {
        values(NETWORK, interface, &base, timestamp, &mut metrics);
    }
    metrics
}

fn of_container(record: &Record, of: Container, found: &ContainerMetrics) -> v1::ContainerMetrics {
    let key = &record.config.key;
    let image = of.image.map(|ImageSpec { image, .. }| image);
    let base = [
        of.tags.get(NAME_TAG).cloned().unwrap_or_default(),
        found.cgroup.clone(),
        image.unwrap_or_default(),
        of.id.clone(),
        key.namespace.clone(),
        key.name.clone(),
    ];
    let timestamp = found
        .stats
        .group
        .as_ref()
        .map_or_else(now, |group| group.timestamp);
    let mut metrics = vec![];
    values(CONTAINER, found, &base, timestamp, &mut metrics);
    v1::ContainerMetrics {
        container_id: of.id,
        metrics,
    }
}

#[cfg(test)]
mod tests;
