//! What is kept of a sandbox: what was asked for, and how far it came.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::cri::handlers::Handler;
use crate::model::{IdMapping, LinuxContainerResources, SelinuxLabel};
use crate::state;

/// A sandbox on disk. Written before the first side effect, at ready, at stop; removed with the sandbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::cri) struct Record {
    /// 64 hexadecimal digits.
    pub(in crate::cri) id: String,
    /// What was asked for.
    pub(in crate::cri) config: Config,
    /// When it was made, in nanoseconds since the epoch.
    pub(in crate::cri) created_at: i64,
    /// How far it came.
    pub(in crate::cri) phase: Phase,
    /// What the network plugins may hold for it.
    pub(in crate::cri) network: Attachment,
    /// Its addresses, while it is attached.
    pub(in crate::cri) ips: Vec<IpAddr>,
}

impl state::Record for Record {
    const TABLE: &'static str = "sandboxes-v1";
}

/// How far a sandbox came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cri) enum Phase {
    /// It is being made. Nobody knows its id yet, so it is not listed.
    Making,
    /// Containers can be made in it.
    Ready,
    /// It was stopped, or is not whole. It waits for its removal.
    NotReady,
}

/// What the network plugins may hold for a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cri) enum Attachment {
    /// Nothing: it is in the host's network, or was detached.
    None,
    /// Something: they were about to be asked, or were asked.
    Held,
}

/// The identity of a sandbox. A request that repeats it means the same sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(in crate::cri) struct Key {
    /// Name of the pod.
    pub(in crate::cri) name: String,
    /// Namespace of the pod.
    pub(in crate::cri) namespace: String,
    /// Unique id of the pod.
    pub(in crate::cri) uid: String,
    /// How often a sandbox was made for the pod before.
    pub(in crate::cri) attempt: u32,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}/{} ({}, attempt {})",
            self.namespace, self.name, self.uid, self.attempt
        )
    }
}

/// What a sandbox was asked to be, checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::cri) struct Config {
    /// Its identity.
    pub(in crate::cri) key: Key,
    /// Host name inside; empty takes the node's.
    pub(in crate::cri) hostname: String,
    /// Directory below which the containers' log files lie; empty keeps no logs.
    pub(in crate::cri) log_directory: String,
    /// Resolver settings; absent takes the node's.
    pub(in crate::cri) dns: Option<Dns>,
    /// Ports of the node that lead into it.
    pub(in crate::cri) ports: Vec<Port>,
    /// Labels, as given.
    pub(in crate::cri) labels: BTreeMap<String, String>,
    /// Annotations, as given.
    pub(in crate::cri) annotations: BTreeMap<String, String>,
    /// Cgroup below which the containers' are made; empty takes the configured default.
    pub(in crate::cri) cgroup_parent: String,
    /// Kernel parameters of its namespaces.
    pub(in crate::cri) sysctls: BTreeMap<String, String>,
    /// Its namespaces.
    pub(in crate::cri) namespaces: Modes,
    /// Whether it may have privileged containers.
    pub(in crate::cri) privileged: bool,
    /// The handler that was named, empty or not.
    pub(in crate::cri) runtime_handler: String,
    /// What that handler said when the sandbox was run. Records of earlier versions have none: then there was one
    /// handler, which said nothing.
    #[serde(default)]
    pub(in crate::cri) handler: Handler,
    /// SELinux label of its containers, with the level that it has of its own if none was asked for. Records of earlier
    /// versions have none.
    #[serde(default)]
    pub(in crate::cri) selinux: SelinuxLabel,
    /// What the pod as a whole may use. Records of earlier versions have none.
    #[serde(default)]
    pub(in crate::cri) resources: Resources,
}

/// What a pod as a whole may use, as its caller tells it. The limits themselves are those of a cgroup that is the caller's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cri) struct Resources {
    /// Of the sandbox itself.
    pub(in crate::cri) overhead: Option<LinuxContainerResources>,
    /// Of all its containers together.
    pub(in crate::cri) containers: Option<LinuxContainerResources>,
}

/// Which namespaces a sandbox has of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cri) struct Modes {
    /// Network, and with it UTS: the host's network goes with the host's name.
    pub(in crate::cri) network: Mode,
    /// System V IPC and POSIX message queues.
    pub(in crate::cri) ipc: Mode,
    /// Process numbers.
    pub(in crate::cri) pid: PidMode,
    /// Users, and with them the right over the other namespaces; absent is the host's.
    #[serde(default)]
    pub(in crate::cri) user: Option<Mappings>,
}

/// Which ids of the host are those of a user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cri) struct Mappings {
    /// Its users.
    pub(in crate::cri) uids: IdMapping,
    /// Its groups.
    pub(in crate::cri) gids: IdMapping,
}

impl Mappings {
    /// User and group of the host that are root there.
    pub(in crate::cri) fn root(self) -> (u32, u32) {
        (self.uids.host_id, self.gids.host_id)
    }
}

/// Where a namespace that containers always share comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cri) enum Mode {
    /// The sandbox's own.
    Pod,
    /// The host's.
    Node,
}

/// Where the containers' PID namespace comes from, unless a container asks for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cri) enum PidMode {
    /// One for all of them.
    Pod,
    /// One for each.
    Container,
    /// The host's.
    Node,
}

/// Resolver settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cri) struct Dns {
    /// Name servers.
    pub(in crate::cri) servers: Vec<String>,
    /// Search domains.
    pub(in crate::cri) searches: Vec<String>,
    /// Options, as in `ndots:5`.
    pub(in crate::cri) options: Vec<String>,
}

/// A port of the node that leads into the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cri) struct Port {
    /// Port of the node, not 0.
    pub(in crate::cri) host: u16,
    /// Port inside.
    pub(in crate::cri) container: u16,
    /// Transport.
    pub(in crate::cri) protocol: Protocol,
    /// Address of the node to listen on; absent is every one.
    pub(in crate::cri) host_ip: Option<IpAddr>,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each names itself")]
pub(in crate::cri) enum Protocol {
    Tcp,
    Udp,
    Sctp,
}
