//! The HTTP server that clients of sessions come to: who holds a good URL gets the connection for a session.
//!
//! Bound to loopback unless it is told otherwise. What a client says before it has shown a URL is bounded in time and in
//! the number of those who do so at once, since on a node anybody may connect.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::channels::{self, Encoding};
use super::command::{self, Work};
use super::spdy::{self, Connection};
use super::tls::{Certificate, Tls, TlsError};
use super::transport::Transport;
use super::upgrade::{Protocol, Purpose, agree, not_allowed, refusal};
use super::{Asked, Backend, Urls, forward, tunnel};

/// Clients that have not shown a URL yet, at the same time.
const STRANGERS: usize = 256;
/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to leave the listener alone when a connection cannot be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long sessions have for their orderly end.
const FAREWELL: Duration = Duration::from_secs(3);

/// How long a forwarded connection whose data nobody takes may hold up all others.
const STUCK: Duration = Duration::from_secs(60);

/// How the server behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen. Port 0 takes any that is free.
    pub address: SocketAddr,
    /// Serves TLS only.
    pub certificate: Option<Certificate>,
    /// A session in which nothing moves for so long ends.
    pub idle_timeout: Duration,
    /// How long a client may take to open the streams it must.
    pub creation_timeout: Duration,
}

/// Why the server cannot be.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address is in use, or not the machine's.
    #[error("cannot listen for streaming clients on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The certificate cannot be used.
    #[error("cannot serve streaming clients with TLS")]
    Tls(#[from] TlsError),
}

/// A server that listens, and serves once it has a backend.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    tls: Option<Tls>,
    options: Options,
    urls: Urls,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Listens.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub async fn bind(options: Options) -> Result<Server, ServerError> {
        let failed = |source| ServerError::Listen {
            address: options.address,
            source,
        };
        let tls = options.certificate.clone().map(Tls::load).transpose()?;
        let listener = TcpListener::bind(options.address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        Ok(Server {
            listener,
            tls,
            options,
            urls: Urls::new(format!("{scheme}://{address}")),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// What hands out URLs of this server.
    pub fn urls(&self) -> Urls {
        self.urls.clone()
    }

    /// Serves from now on, in tasks that end with [`Serving::stop`].
    pub fn serve(self, backend: impl Backend) -> Serving {
        let (stop, tasks) = (self.stop.clone(), self.tasks.clone());
        let serving = Serving { stop, tasks };
        let server = Arc::new(self);
        let accepting = Arc::clone(&server).accept_all(Arc::new(backend));
        server.tasks.spawn(accepting);
        serving
    }

    async fn accept_all<B: Backend>(self: Arc<Self>, backend: Arc<B>) {
        let strangers = Arc::new(Semaphore::new(STRANGERS));
        loop {
            let next = async {
                let permit = Arc::clone(&strangers).acquire_owned().await;
                (self.listener.accept().await, permit)
            };
            let (accepted, permit) = tokio::select! {
                next = next => next,
                () = self.stop.cancelled() => return,
            };
            match accepted {
                Ok((tcp, _)) => {
                    let client = Arc::clone(&self).client(tcp, Arc::clone(&backend));
                    let stop = self.stop.clone();
                    self.tasks.spawn(async move {
                        let _permit = permit;
                        // A session has a task of its own by then.
                        stop.run_until_cancelled(client).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a streaming client");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Reads one client's request and answers it.
    async fn client<B: Backend>(self: Arc<Self>, tcp: TcpStream, backend: Arc<B>) {
        // What is typed is sent as it is typed.
        let _ = tcp.set_nodelay(true);
        let transport = match &self.tls {
            None => Transport::Plain(tcp),
            Some(tls) => match tls.accept(tcp).await {
                Ok(stream) => Transport::Tls(Box::new(stream)),
                Err(error) => return tracing::debug!(%error, "TLS handshake failed"),
            },
        };
        let service = service_fn(|request| {
            let answer = Arc::clone(&self).answer(request, Arc::clone(&backend));
            async move { Ok::<_, std::convert::Infallible>(answer) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .serve_connection(TokioIo::new(transport), service)
            .with_upgrades();
        if let Err(error) = served.await {
            tracing::debug!(%error, "streaming client's request failed");
        }
    }

    fn answer<B: Backend>(
        self: Arc<Self>,
        mut request: Request<Incoming>,
        backend: Arc<B>,
    ) -> Response<String> {
        if request.method() != Method::GET && request.method() != Method::POST {
            return *not_allowed("GET, POST");
        }
        let Some(asked) = self.urls.redeem(request.uri().path()) else {
            let text = "no such session: its URL works once, and for a minute".to_owned();
            return *refusal(StatusCode::NOT_FOUND, text);
        };
        let purpose = match asked {
            Asked::Exec(_) | Asked::Attach(_) => Purpose::Command,
            Asked::Forward(_) => Purpose::Forward,
        };
        match agree(&request, purpose) {
            Err(refused) => *refused,
            Ok((protocol, answer)) => {
                let upgrade = hyper::upgrade::on(&mut request);
                let server = Arc::clone(&self);
                let session = async move {
                    let Some(client) = upgraded(upgrade).await else {
                        return;
                    };
                    let work = match asked {
                        Asked::Exec(command) => Work::Exec(command),
                        Asked::Attach(attach) => Work::Attach(attach),
                        Asked::Forward(target) => {
                            return server.forward(client, protocol, target, backend).await;
                        }
                    };
                    server.command(client, protocol, work, &*backend).await;
                };
                self.tasks.spawn(session);
                answer
            }
        }
    }

    async fn command(
        &self,
        (transport, read): (Transport, Bytes),
        protocol: Protocol,
        work: Work,
        backend: &impl Backend,
    ) {
        match protocol {
            Protocol::Spdy(version) => {
                let options = self.spdy(&transport, None);
                let (connection, carrying) = Connection::new(transport, read, options);
                let session = command::Session {
                    version,
                    work,
                    patience: self.options.creation_timeout,
                    stop: self.stop.clone(),
                };
                tokio::join!(command::serve(connection, session, backend), carrying);
            }
            Protocol::Channels { version, base64 } => {
                let session = channels::Session {
                    version,
                    encoding: Encoding { base64 },
                    work,
                    idle: self.options.idle_timeout,
                    stop: self.stop.clone(),
                };
                channels::serve(transport, read, session, backend).await;
            }
            Protocol::Tunnel => {}
        }
    }

    async fn forward<B: Backend>(
        &self,
        (transport, read): (Transport, Bytes),
        protocol: Protocol,
        target: String,
        backend: Arc<B>,
    ) {
        let session = forward::Session {
            target,
            patience: self.options.creation_timeout,
            stop: self.stop.clone(),
        };
        let options = self.spdy(&transport, Some(STUCK));
        match protocol {
            Protocol::Tunnel => {
                let (stream, carrying) = tunnel::open(transport, read);
                let (connection, work) = Connection::new(stream, Bytes::new(), options);
                tokio::join!(forward::serve(connection, session, backend), work, carrying);
            }
            Protocol::Spdy(_) => {
                let (connection, work) = Connection::new(transport, read, options);
                tokio::join!(forward::serve(connection, session, backend), work);
            }
            Protocol::Channels { .. } => {}
        }
    }

    fn spdy(&self, transport: &Transport, patience: Option<Duration>) -> spdy::Options {
        spdy::Options {
            idle: self.options.idle_timeout,
            patience,
            socket: transport.socket(),
        }
    }
}

async fn upgraded(upgrade: OnUpgrade) -> Option<(Transport, Bytes)> {
    let upgraded: Upgraded = upgrade.await.ok()?;
    let parts = upgraded.downcast::<TokioIo<Transport>>().ok()?;
    Some((parts.io.into_inner(), parts.read_buf))
}

/// A server that serves. Dropping it leaves it serving.
#[derive(Debug)]
pub struct Serving {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Serving {
    /// Takes no more clients and ends the sessions there are. Returns when all is over, or has had its time.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(FAREWELL, self.tasks.wait()).await.is_err() {
            tracing::warn!("streaming sessions did not end in time");
        }
    }
}
