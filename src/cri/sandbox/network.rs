//! What a sandbox asks of the network, and the network's readiness.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::model::Result;

use super::bandwidth::Bandwidth;
use super::record::{Dns, Key, Port};

/// Attaches sandboxes to the network. The adapter's tests have one without plugins.
pub trait Network: Send + Sync + 'static {
    /// Attaches a namespace and returns its addresses, the preferred one first.
    ///
    /// Cancel safety: something may be held; [`Network::detach`] lets it go.
    fn attach(&self, request: AttachRequest) -> impl Future<Output = Result<Vec<IpAddr>>> + Send;

    /// Detaches a sandbox, whether its namespace is still there or not. Safe to repeat.
    fn detach(&self, id: &str, netns: Option<&Path>) -> impl Future<Output = Result<()>> + Send;

    /// The sandboxes that something is recorded of: attached, or begun and not undone.
    fn recorded(&self) -> impl Future<Output = Result<BTreeSet<String>>> + Send;

    /// Lets go of what no sandbox holds any more, where the network can tell. `valid` is called when nothing is being
    /// attached or detached, once for each network.
    ///
    /// # Errors
    /// `Unavailable`: that moment did not come.
    fn collect(
        &self,
        valid: impl Fn() -> BTreeSet<String> + Send + Sync,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Says why sandboxes cannot be attached, or that they can: by the network of a directory of configurations, or of the
    /// node. From memory: runs nothing.
    ///
    /// # Errors
    /// A text for a person.
    fn ready(&self, conf_dir: Option<&Path>) -> std::result::Result<(), String>;

    /// Waits, at the start of the daemon and two seconds at most, until what [`Network::ready`] says is known.
    fn settled(&self) -> impl Future<Output = ()> + Send;

    /// Takes the ranges that this node's addresses come from, as in `10.1.0.0/24`.
    ///
    /// # Errors
    /// `InvalidArgument`: one is no range.
    fn update_ranges(&self, ranges: Vec<String>) -> impl Future<Output = Result<()>> + Send;
}

/// What to attach.
#[derive(Clone, Debug)]
pub struct AttachRequest {
    /// The sandbox's id.
    pub id: String,
    /// Its pinned network namespace.
    pub netns: PathBuf,
    /// Its identity.
    pub(in crate::cri) key: Key,
    /// Ports of the node that lead into it.
    pub(in crate::cri) ports: Vec<Port>,
    /// Resolver settings.
    pub(in crate::cri) dns: Option<Dns>,
    /// How fast its traffic may be.
    pub(in crate::cri) bandwidth: Option<Bandwidth>,
    /// Its cgroup parent; may be empty.
    pub cgroup_parent: String,
    /// Its annotations, those of its handler among them.
    pub annotations: BTreeMap<String, String>,
    /// Directory of the network configurations to use; absent is the node's.
    pub conf_dir: Option<PathBuf>,
}
