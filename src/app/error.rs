//! Why the daemon, or what stands in for it, could not be put together.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::lock::LockError;
use crate::cni;
use crate::cri::server::{BindError, ServeError};
use crate::model;
use crate::state::StateError;
use crate::streaming::ServerError;
use crate::sys::systemd::SystemdError;
use crate::sys::zygote::ZygoteError;

/// Why a part could not be started.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The state directory is another's.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A group that the settings name.
    #[error("group {0} (socket_group) is not known")]
    UnknownGroup(String),
    /// The record store cannot be opened.
    #[error(transparent)]
    State(#[from] StateError),
    /// The image store cannot be opened. (The model's error tells its causes itself.)
    #[error("cannot open the image store: {0}")]
    Images(model::Error),
    /// The containers of the last run cannot be taken over.
    #[error("cannot open the runtime core: {0}")]
    Core(model::Error),
    /// The container was refused.
    #[error("{0}")]
    Container(model::Error),
    /// The pods of the last run cannot be taken over.
    #[error("cannot open the CRI adapter: {0}")]
    Adapter(model::Error),
    /// What the reduced API keeps cannot be used.
    #[error("cannot open the API: {0}")]
    Api(model::Error),
    /// The network's directories cannot be used.
    #[error("cannot open the network")]
    Network(#[source] cni::NetworkError),
    /// The machine cannot be compared with the records.
    #[error("cannot check: {0}")]
    Check(model::Error),
    /// `/proc`, `/sys` or the cgroup file system cannot be read.
    #[error("cannot tell what this machine has")]
    Host(#[source] io::Error),
    /// systemd cannot be talked to.
    #[error("cannot use systemd for cgroups (cgroup_driver)")]
    Driver(#[source] SystemdError),
    /// Its scopes are used on the unified hierarchy only.
    #[error(
        "cgroup_driver is systemd, and that takes cgroup v2: this machine has v1, where cgroupfs is the one to use"
    )]
    DriverNeedsV2,
    /// A path that is no slice's.
    #[error("cgroup_parent {} is not a slice, as the cgroup driver systemd needs one", .0.display())]
    NoSlice(PathBuf),
    /// No zygote, no containers.
    #[error(transparent)]
    Zygote(ZygoteError),
    /// The socket cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The server ended by itself.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The streaming server cannot be.
    #[error(transparent)]
    Streaming(#[from] ServerError),
    /// The address of metrics cannot be had.
    #[error("cannot listen for metrics on {address} (metrics.address)")]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Signals could not be listened to.
    #[error("cannot listen to signals")]
    Signals(#[source] io::Error),
    /// A second signal came while the first was obeyed.
    #[error("told to end at once: calls under way are cut off")]
    Aborted,
    /// A directory cannot be made.
    #[error("cannot make the directory {}", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The asynchronous runtime could not be started.
    #[error("cannot start threads")]
    Threads(#[source] io::Error),
    /// The connection within this process failed.
    #[error("cannot serve this command")]
    Loopback(#[source] tonic::transport::Error),
}
