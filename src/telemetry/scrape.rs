//! The address that meters are scraped from: `GET /metrics` over HTTP/1, and nothing else. Sleeps while nobody asks.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::meters::{Reading, render};

/// The one path.
const PATH: &str = "/metrics";
/// What the text is, for those who ask.
const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Clients at a time; further ones wait.
const CLIENTS: usize = 16;
/// How long a client may take over its request, and how long a connection that asks nothing is kept.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pause after a client could not be accepted: descriptors may be short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What is read at the moment somebody asks.
type Source = dyn Fn() -> Vec<Reading> + Send + Sync;

/// A server that listens.
#[derive(Debug)]
pub struct Scrape {
    listener: TcpListener,
}

/// A server at work; it ends with the value.
#[derive(Debug)]
pub struct Scraping {
    tasks: JoinSet<()>,
}

impl Scrape {
    /// Listens.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn bind(address: SocketAddr) -> io::Result<Scrape> {
        let listener = TcpListener::bind(address).await?;
        tracing::info!(address = %listener.local_addr()?, "metrics");
        Ok(Scrape { listener })
    }

    /// Serves from now on, with what `source` reads.
    pub fn serve(self, source: impl Fn() -> Vec<Reading> + Send + Sync + 'static) -> Scraping {
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(self.listener, Arc::new(source)));
        Scraping { tasks }
    }
}

impl Scraping {
    /// Ends it, whoever is asking.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Owns the tasks of its clients: they end with it.
async fn accept(listener: TcpListener, source: Arc<Source>) {
    let room = Arc::new(Semaphore::new(CLIENTS));
    let mut clients = JoinSet::new();
    loop {
        let next = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (listener.accept().await, permit)
        };
        tokio::select! {
            (accepted, permit) = next => match accepted {
                Ok((stream, _)) => {
                    let source = Arc::clone(&source);
                    clients.spawn(async move {
                        let _permit = permit;
                        client(stream, source).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a client that asks for metrics");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = clients.join_next() => {}
        }
    }
}

async fn client(stream: TcpStream, source: Arc<Source>) {
    let service = service_fn(move |request| {
        let answer = answer(&request, source.as_ref());
        async move { Ok::<_, Infallible>(answer) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = serving.await {
        tracing::debug!(%error, "a client that asked for metrics has gone");
    }
}

fn answer(request: &Request<Incoming>, source: &Source) -> Response<String> {
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, PATH) => (StatusCode::OK, TEXT, render(&source())),
        (_, PATH) => (
            StatusCode::METHOD_NOT_ALLOWED,
            "text/plain",
            "only GET\n".to_owned(),
        ),
        _ => (
            StatusCode::NOT_FOUND,
            "text/plain",
            format!("only {PATH} is here\n"),
        ),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}
