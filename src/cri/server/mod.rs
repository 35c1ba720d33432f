//! The gRPC server: which services, on which socket, for how long.
//!
//! Puts together the two CRI services, their v1alpha2 names, gRPC health and reflection, deadlines, one log line for each
//! call, and an orderly end. What the services do is none of its business.

mod authority;
mod connection;
mod deadline;
mod methods;
mod outcome;
mod reflection;
mod socket;

use std::{convert::Infallible, fmt, pin::pin, sync::Arc, time::Duration};

use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use tonic::{
    server::NamedService,
    service::Routes,
    transport::{self, Server},
};
use tonic_health::{ServingStatus, server::HealthReporter};

pub use socket::{BindError, bind};

use crate::cri::{
    v1alpha2::V1Alpha2Layer,
    wire::{
        FILE_DESCRIPTOR_SET, MAX_MESSAGE_BYTES,
        v1::{
            image_service_server::{ImageService, ImageServiceServer},
            runtime_service_server::{RuntimeService, RuntimeServiceServer},
        },
    },
};

/// What a server serves: the CRI services, gRPC health, what is added to them, and reflection, which tells of all these.
#[derive(Clone)]
pub struct Services {
    routes: Routes,
    health: HealthReporter,
    /// What health knows by name; "" is the server as a whole.
    names: Vec<&'static str>,
    /// What reflection tells of.
    descriptors: Vec<&'static [u8]>,
}

impl Services {
    /// Serves `runtime` and `images` as CRI v1 and v1alpha2. Messages have at most [`MAX_MESSAGE_BYTES`]
    /// either way.
    pub fn new<R: RuntimeService, I: ImageService>(runtime: Arc<R>, images: Arc<I>) -> Self {
        let (health, health_server) = tonic_health::server::health_reporter();
        let runtime = RuntimeServiceServer::from_arc(runtime)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let images = ImageServiceServer::from_arc(images)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Self {
            routes: Routes::new(health_server)
                .add_service(runtime)
                .add_service(images),
            health,
            names: vec!["", RuntimeServiceServer::<R>::NAME, ImageServiceServer::<I>::NAME],
            descriptors: vec![FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET],
        }
    }

    /// Serves more on the same socket: what `add` puts beside the routes, and an encoded descriptor set tells of.
    #[must_use]
    pub fn with(mut self, descriptor: &'static [u8], add: impl FnOnce(Routes) -> Routes) -> Self {
        self.descriptors.push(descriptor);
        let routes = add(self.routes);
        Self { routes, ..self }
    }

    async fn report(&self, status: ServingStatus) {
        for name in &self.names {
            self.health.set_service_status(name, status).await;
        }
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Services")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// Serves until `shutdown` is done, then takes no new connection or call, reports itself as not serving, and
/// lets the calls under way finish. After `drain` the connections that remain are cut, and their calls
/// dropped.
///
/// Returns when no connection is left. The socket's file stays: [`bind`] replaces it.
///
/// # Errors
///
/// [`ServeError`] when the server cannot run at all. Connections fail on their own and are only logged.
pub async fn serve(
    listener: UnixListener,
    services: Services,
    drain: Duration,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    services.report(ServingStatus::Serving).await;
    let (closing, cut) = (CancellationToken::new(), CancellationToken::new());
    let server = Server::builder()
        .layer(outcome::OutcomeLayer)
        .layer(deadline::DeadlineLayer)
        .layer(V1Alpha2Layer)
        .add_routes(reflection::with(services.routes.clone(), &services.descriptors))
        .serve_with_incoming_shutdown(connection::accepted(listener, cut.clone()), async {
            shutdown.await;
            services.report(ServingStatus::NotServing).await;
            closing.cancel();
        });
    let cutting = async {
        closing.cancelled().await;
        tokio::time::sleep(drain).await;
        tracing::warn!(?drain, "calls outlast the drain, cutting their connections");
        cut.cancel();
        std::future::pending::<Infallible>().await
    };
    let (mut server, mut cutting) = (pin!(server), pin!(cutting));
    tokio::select! {
        ended = &mut server => ended.map_err(ServeError),
        never = &mut cutting => match never {},
    }
}

/// The server could not run.
#[derive(Debug, thiserror::Error)]
#[error("serve gRPC")]
pub struct ServeError(#[source] transport::Error);

#[cfg(test)]
mod tests;
