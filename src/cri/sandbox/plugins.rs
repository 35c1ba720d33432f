//! The network of a node: CNI plugins, asked in the adapter's words.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::cni::{self, AddRequest, Attachment, Capabilities, Cidr, DelRequest, RequestError};
use crate::model::{Error, Kind, Result, is_shortage};

use super::bandwidth::Bandwidth;
use super::network::{AttachRequest, Network};
use super::record::{Dns, Port, Protocol};

/// The interface that a sandbox's addresses are on.
const INTERFACE: &str = "eth0";

/// The capability by which plugins ask for the annotations of a pod.
const ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";

/// How long a network may take to be known when the daemon starts.
const PATIENCE: Duration = Duration::from_secs(2);

impl Network for cni::Networks {
    async fn attach(&self, request: AttachRequest) -> Result<Vec<IpAddr>> {
        let attachment = attachment(&request.id)?;
        let add = AddRequest {
            attachment,
            args: args(&request),
            capabilities: Capabilities {
                port_mappings: request.ports.into_iter().map(port).collect(),
                dns: request.dns.map(dns),
                cgroup_path: Some(request.cgroup_parent).filter(|path| !path.is_empty()),
                others: others(&request.annotations),
                bandwidth: request.bandwidth.map(bandwidth),
            },
            netns: request.netns,
        };
        let dir = request.conf_dir.as_deref();
        let result = self
            .add(dir, &add)
            .await
            .map_err(|error| refused("attach", error))?;
        Ok(result.addresses(INTERFACE))
    }

    async fn detach(&self, id: &str, netns: Option<&Path>) -> Result<()> {
        let request = DelRequest {
            attachment: attachment(id)?,
            netns: netns.map(Path::to_owned),
        };
        self.del(&request).await.map_err(|error| refused("detach", error))
    }

    async fn recorded(&self) -> Result<BTreeSet<String>> {
        let recorded = self.main().attachments().await;
        let recorded = recorded.map_err(|error| refused("look through", error))?;
        Ok(recorded
            .iter()
            .map(|attachment| attachment.id().to_owned())
            .collect())
    }

    async fn collect(&self, valid: impl Fn() -> BTreeSet<String> + Send + Sync) -> Result<()> {
        // Ids of sandboxes are ours, and those of attachments too.
        let valid = || -> HashSet<Attachment> { valid().iter().flat_map(|id| attachment(id)).collect() };
        self.gc(valid).await.map_err(|error| refused("clean", error))
    }

    fn ready(&self, conf_dir: Option<&Path>) -> std::result::Result<(), String> {
        let network = self.of(conf_dir).map_err(|error| error.to_string())?;
        match network.status() {
            cni::Status::Ready { .. } => Ok(()),
            cni::Status::NotReady { message } => Err(message),
        }
    }

    async fn settled(&self) {
        self.main().settled(PATIENCE).await;
    }

    async fn update_ranges(&self, ranges: Vec<String>) -> Result<()> {
        let ranges: std::result::Result<Vec<Cidr>, RequestError> =
            ranges.iter().map(|range| range.parse()).collect();
        let ranges = ranges
            .map_err(|error| Error::invalid("runtime_config.network_config.pod_cidr").because(error))?;
        let outcome = self.main().update_cidrs(&ranges).await;
        let outcome = outcome
            .map_err(|error| Error::internal("cannot write the network configuration").because(error))?;
        tracing::info!(?outcome, "took this node's address ranges");
        Ok(())
    }
}

fn attachment(id: &str) -> Result<Attachment> {
    Attachment::new(id, INTERFACE).map_err(|error| refused("attach", error.into()))
}

/// What Kubernetes tells plugins by convention. Those that do not know a key must not refuse it.
fn args(request: &AttachRequest) -> Vec<(String, String)> {
    let key = &request.key;
    let args = [
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", &key.namespace),
        ("K8S_POD_NAME", &key.name),
        ("K8S_POD_INFRA_CONTAINER_ID", &request.id),
        ("K8S_POD_UID", &key.uid),
    ];
    args.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

fn others(annotations: &BTreeMap<String, String>) -> Map<String, Value> {
    let told = (!annotations.is_empty()).then(|| (ANNOTATIONS.to_owned(), json!(annotations)));
    told.into_iter().collect()
}

fn port(from: Port) -> cni::PortMapping {
    cni::PortMapping {
        host_port: from.host,
        container_port: from.container,
        protocol: match from.protocol {
            Protocol::Tcp => cni::Protocol::Tcp,
            Protocol::Udp => cni::Protocol::Udp,
            Protocol::Sctp => cni::Protocol::Sctp,
        },
        host_ip: from.host_ip,
    }
}

/// A burst has no limit of its own, as the field has it: the most that the convention's plugin takes from everyone.
const BURST: u64 = u32::MAX as u64;

fn bandwidth(from: Bandwidth) -> cni::Bandwidth {
    let burst = |rate: Option<u64>| rate.map_or(0, |_| BURST);
    cni::Bandwidth {
        ingress_rate: from.ingress.unwrap_or(0),
        ingress_burst: burst(from.ingress),
        egress_rate: from.egress.unwrap_or(0),
        egress_burst: burst(from.egress),
    }
}

fn dns(from: Dns) -> cni::DnsConfig {
    cni::DnsConfig {
        servers: from.servers,
        searches: from.searches,
        options: from.options,
    }
}

fn refused(verb: &str, error: cni::NetworkError) -> Error {
    Error::new(kind_of(&error), format!("cannot {verb} the network")).because(error)
}

fn kind_of(error: &cni::NetworkError) -> Kind {
    match error {
        cni::NetworkError::NotConfigured { .. }
        | cni::NetworkError::Busy
        | cni::NetworkError::Unsettled { .. } => Kind::Unavailable,
        cni::NetworkError::Request(_) => Kind::InvalidArgument,
        // The undoing has failed for the same reason, or is tried again.
        cni::NetworkError::Undo { add, .. } if is_shortage(&**add) => Kind::ResourceExhausted,
        _ => Kind::Internal,
    }
}
