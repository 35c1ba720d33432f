//! The server on its socket: who is let in, for how long, and the orderly end.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Service;
use crate::model;
use crate::streaming::Direct;

/// Clients at a time; further ones wait.
const CLIENTS: usize = 256;
/// How long a client may take over the head of its request, and how long a connection that asks nothing is kept.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to leave the listener alone when a connection cannot be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A server at work. Dropping it leaves it serving.
#[derive(Debug)]
pub struct Serving {
    stop: CancellationToken,
    cut: CancellationToken,
    tasks: TaskTracker,
}

/// Serves from now on, in tasks that end with [`Serving::stop`].
pub fn serve<R, I>(listener: UnixListener, service: Service<R, I>) -> Serving
where
    R: model::RuntimeService + model::Stats,
    I: model::ImageService + model::Filesystem,
{
    let serving = Serving {
        stop: CancellationToken::new(),
        cut: CancellationToken::new(),
        tasks: TaskTracker::new(),
    };
    let (stop, cut, tasks) = (serving.stop.clone(), serving.cut.clone(), serving.tasks.clone());
    let direct = Direct::new(stop.clone(), tasks.clone());
    serving
        .tasks
        .spawn(accept(listener, service, direct, (stop, cut, tasks)));
    serving
}

impl Serving {
    /// Takes no more calls; those under way go on.
    pub fn hang_up(&self) {
        self.stop.cancel();
        self.tasks.close();
    }

    /// Returns when the calls under way are done. After `drain` those that remain are cut off.
    pub async fn stop(self, drain: Duration) {
        self.hang_up();
        if tokio::time::timeout(drain, self.tasks.wait()).await.is_err() {
            tracing::warn!(?drain, "calls outlast the drain, cutting their connections");
            self.cut.cancel();
            self.tasks.wait().await;
        }
    }
}

async fn accept<R, I>(
    listener: UnixListener,
    service: Service<R, I>,
    direct: Direct,
    (stop, cut, tasks): (CancellationToken, CancellationToken, TaskTracker),
) where
    R: model::RuntimeService + model::Stats,
    I: model::ImageService + model::Filesystem,
{
    let room = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let next = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            next = next => next,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let client = client(stream, service.clone(), direct.clone(), stop.clone());
                let cut = cut.clone();
                tasks.spawn(async move {
                    let _permit = permit;
                    cut.run_until_cancelled(client).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a client");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection: requests one after the other.
async fn client<R, I>(stream: UnixStream, service: Service<R, I>, direct: Direct, stop: CancellationToken)
where
    R: model::RuntimeService + model::Stats,
    I: model::ImageService + model::Filesystem,
{
    let service = service_fn(move |request| {
        let (service, direct) = (service.clone(), direct.clone());
        async move { Ok::<_, Infallible>(service.answer(request, &direct).await) }
    });
    let mut serving = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
    );
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a client has gone");
    }
}
