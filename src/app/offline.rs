//! The store without a daemon: serves the admin service to the command line itself, in memory.

use std::future::ready;

use futures_util::{StreamExt, stream};
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Server};

use super::admin::AdminService;
use super::error::AppError;
use super::images::{image_root, open_images, open_records};
use super::lock::StateLock;
use crate::config::Config;
use crate::image::Images;
use crate::state::Store;

/// Bytes on their way between the two ends.
const BUFFER: usize = 1 << 20;

/// A store that this process holds. [`Offline::close`] ends its tasks and gives the store back.
#[derive(Debug)]
pub struct Offline {
    lock: StateLock,
    records: Store,
    images: Images,
    stop: CancellationToken,
    server: JoinSet<Result<(), tonic::transport::Error>>,
}

impl Offline {
    /// Opens the store of `config.state_dir`, and answers with the way to its admin service.
    ///
    /// # Errors
    /// [`super::lock::LockError::Held`] while a daemon has it, or why it cannot be opened.
    pub async fn open(config: &Config) -> Result<(Offline, Channel), AppError> {
        let lock = StateLock::take(&config.state_dir)?;
        let records = open_records(config)?;
        let images = open_images(config, &records).await?;
        let service = AdminService::new(images.clone(), image_root(&config.state_dir)).into_server();
        let (near, far) = tokio::io::duplex(BUFFER);
        let stop = CancellationToken::new();
        let incoming = stream::once(ready(Ok::<_, std::io::Error>(far))).chain(stream::pending());
        let mut server = JoinSet::new();
        server.spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned()),
        );
        let channel = connect(near).await?;
        let offline = Offline {
            lock,
            records,
            images,
            stop,
            server,
        };
        Ok((offline, channel))
    }

    pub(super) fn images(&self) -> &Images {
        &self.images
    }

    pub(super) fn records(&self) -> &Store {
        &self.records
    }

    /// Lets the calls under way end, writes what is to be written, and unlocks the directory.
    pub async fn close(mut self) {
        self.stop.cancel();
        while self.server.join_next().await.is_some() {}
        self.records.close().await;
        drop(self.lock);
    }
}

/// A channel over `stream`. It lives as long as both ends, so no second connection is ever asked for.
async fn connect(stream: DuplexStream) -> Result<Channel, AppError> {
    let mut stream = Some(stream);
    Endpoint::from_static("http://localhost")
        .connect_with_connector(tower::service_fn(move |_| {
            let gone = std::io::Error::from(std::io::ErrorKind::NotConnected);
            ready(stream.take().map(TokioIo::new).ok_or(gone))
        }))
        .await
        .map_err(AppError::Loopback)
}
