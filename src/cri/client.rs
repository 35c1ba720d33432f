//! A channel to a CRI server on a unix socket, for the command line and for tests.
//!
//! Any generated client takes it, of our own wire or of `k8s_cri`, v1 or v1alpha2. Clients decode at most 4
//! MiB unless told otherwise, less than a long list takes:
//!
//! ```no_run
//! # async fn version() -> Result<(), Box<dyn std::error::Error>> {
//! use coracle::cri::{client, wire};
//! use k8s_cri::v1::{VersionRequest, runtime_service_client::RuntimeServiceClient};
//!
//! let channel = client::channel("/run/coracle/coracle.sock".as_ref()).await?;
//! let mut runtime = RuntimeServiceClient::new(channel).max_decoding_message_size(wire::MAX_MESSAGE_BYTES);
//! let answer = runtime.version(VersionRequest { version: "0.1.0".into() }).await?.into_inner();
//! # Ok(())
//! # }
//! ```

use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// Connects to the server on the unix socket at `path`. The channel connects anew when the server was
/// restarted.
///
/// # Errors
///
/// [`ConnectError`] when nothing answers at `path`.
pub async fn channel(path: &Path) -> Result<Channel, ConnectError> {
    let socket = path.to_owned();
    // The address only fills the requests' authority; the connector decides where to.
    Endpoint::from_static("http://localhost")
        .connect_with_connector(service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        }))
        .await
        .map_err(|source| ConnectError {
            path: path.to_owned(),
            source,
        })
}

/// Nothing answers on a socket.
#[derive(Debug, thiserror::Error)]
#[error("connect to the runtime at {}", path.display())]
pub struct ConnectError {
    path: PathBuf,
    source: tonic::transport::Error,
}
