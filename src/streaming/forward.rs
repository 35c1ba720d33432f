//! Forwarded connections: any number over one SPDY connection, each a pair of streams, data and error.
//!
//! One connection's trouble is its own. Text on an error stream ends the client's whole session, so it is written only
//! when nobody could be reached; a connection that breaks later is cut off without a word.

use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader, copy_buf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Backend;
use super::spdy::{Connection, Stream};
use crate::sys::namespace;

/// How long the answer to a connection is waited for.
const DIAL: Duration = Duration::from_secs(10);
/// How long a client may go on sending to who has said all.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Bytes copied at once.
const CHUNK: usize = 32 << 10;

/// What is forwarded to, and by which rules.
#[derive(Debug)]
pub(super) struct Session {
    /// Whose network, as the backend knows it.
    pub(super) target: String,
    /// How long the client may take between the two streams of a pair.
    pub(super) patience: Duration,
    /// The server ends.
    pub(super) stop: CancellationToken,
}

/// Serves connections until the client has gone.
pub(super) async fn serve<B: Backend>(mut connection: Connection, session: Session, backend: Arc<B>) {
    let mut pairs = Pairs::default();
    let mut forwards = JoinSet::new();
    loop {
        let stream = tokio::select! {
            stream = connection.accept() => stream,
            Some(_) = forwards.join_next() => continue,
            () = pairs.overdue(session.patience) => {
                pairs.give_up(session.patience).await;
                continue;
            }
            () = session.stop.cancelled() => None,
        };
        let Some(stream) = stream else { break };
        if let Some(pair) = pairs.add(stream).await {
            forwards.spawn(forward(pair, session.target.clone(), Arc::clone(&backend)));
        }
    }
    forwards.shutdown().await;
    connection.close().await;
}

/// The two streams of one forwarded connection.
struct Pair {
    port: u16,
    error: Stream,
    data: Stream,
}

/// A stream whose other half has not come yet.
struct Half {
    stream: Stream,
    is_error: bool,
    port: u16,
    since: Instant,
}

/// The streams that wait for their other halves, by the client's number of the connection.
#[derive(Default)]
struct Pairs(HashMap<String, Half>);

impl Pairs {
    /// Takes a stream; returns the pair that it completes.
    async fn add(&mut self, stream: Stream) -> Option<Pair> {
        let is_error = match stream.headers.get("streamtype") {
            Some("error") => Some(true),
            Some("data") => Some(false),
            _ => None,
        };
        let port = stream.headers.get("port").and_then(|port| port.parse().ok());
        let (Some(is_error), Some(port)) = (is_error, port.filter(|port| *port > 0)) else {
            stream.refuse().await;
            return None;
        };
        let number = match stream.headers.get("requestid") {
            Some(number) => number.to_owned(),
            // Clients of old open the error stream first, and the data stream right after it.
            None if is_error => stream.id.to_string(),
            None => stream.id.saturating_sub(2).to_string(),
        };
        match self.0.remove(&number) {
            None => {
                stream.accept().await;
                let since = Instant::now();
                let half = Half {
                    stream,
                    is_error,
                    port,
                    since,
                };
                self.0.insert(number, half);
                None
            }
            Some(half) if half.is_error == is_error => {
                stream.refuse().await;
                self.0.insert(number, half);
                None
            }
            Some(half) => {
                stream.accept().await;
                let (error, data) = match is_error {
                    true => (stream, half.stream),
                    false => (half.stream, stream),
                };
                let port = half.port;
                Some(Pair { port, error, data })
            }
        }
    }

    /// Returns when a stream has waited for its other half for too long.
    async fn overdue(&self, patience: Duration) {
        match self.0.values().map(|half| half.since).min() {
            Some(since) => tokio::time::sleep_until(since + patience).await,
            None => pending().await,
        }
    }

    async fn give_up(&mut self, patience: Duration) {
        let late: Vec<_> = self
            .0
            .extract_if(|_, half| half.since.elapsed() >= patience)
            .collect();
        for (
            _,
            Half {
                mut stream, is_error, ..
            },
        ) in late
        {
            if is_error {
                let _ = stream.writer.write_all(b"timed out waiting for streams").await;
            }
            stream.writer.reset().await;
        }
    }
}

async fn forward<B: Backend>(pair: Pair, target: String, backend: Arc<B>) {
    let Pair {
        port,
        mut error,
        mut data,
    } = pair;
    let cut_off = data.reset_by_client();
    let connected = async {
        let network = backend.network(&target).map_err(|error| error.to_string())?;
        connect(network, port).await
    };
    let connected = tokio::select! {
        connected = connected => connected,
        () = cut_off.cancelled() => return,
    };
    match connected {
        Ok(tcp) => tokio::select! {
            () = carry(tcp, &mut data, &mut error) => {}
            () = cut_off.cancelled() => error.writer.reset().await,
        },
        Err(why) => {
            let text = format!("error forwarding port {port} to {target}: {why}");
            // A client that has gone does not hear it.
            let _ = error.writer.write_all(text.as_bytes()).await;
            let _ = error.writer.shutdown().await;
            data.writer.reset().await;
        }
    }
}

/// Copies both ways. Each way ends alone: what a client still has to say, or is still to hear, is not cut off.
async fn carry(tcp: TcpStream, data: &mut Stream, error: &mut Stream) {
    let (from, mut to) = tcp.into_split();
    let mut from = BufReader::with_capacity(CHUNK, from);
    let up = async {
        let mut reader = BufReader::with_capacity(CHUNK, &mut data.reader);
        // Whoever takes no more tells so by ending its own way.
        let _ = copy_buf(&mut reader, &mut to).await;
        let _ = to.shutdown().await;
    };
    let down = async {
        let copied = copy_buf(&mut from, &mut data.writer).await;
        match copied {
            Ok(_) => {
                let _ = data.writer.shutdown().await;
                // At once: the client closes its side only when it has seen the end of both.
                let _ = error.writer.shutdown().await;
            }
            Err(_) => {
                data.writer.reset().await;
                error.writer.reset().await;
            }
        }
    };
    tokio::pin!(up, down);
    tokio::select! {
        () = &mut down => {
            let _ = tokio::time::timeout(LAST_WORDS, up).await;
        }
        () = &mut up => down.await,
    }
}

/// Connects to loopback in a network, by IPv4 and then by IPv6.
async fn connect(network: Option<PathBuf>, port: u16) -> Result<TcpStream, String> {
    let loopback = |address: IpAddr| SocketAddr::new(address, port);
    let v4 = match dial(network.clone(), loopback(Ipv4Addr::LOCALHOST.into())).await {
        Ok(tcp) => return Ok(tcp),
        Err(error) => error,
    };
    let v6 = match dial(network, loopback(Ipv6Addr::LOCALHOST.into())).await {
        Ok(tcp) => return Ok(tcp),
        Err(error) => error,
    };
    Err(format!(
        "cannot connect to localhost:{port}: IPv4: {v4}, IPv6: {v6}"
    ))
}

async fn dial(network: Option<PathBuf>, address: SocketAddr) -> io::Result<TcpStream> {
    let v6 = address.is_ipv6();
    let made = spawn_blocking(move || namespace::tcp_socket(network.as_deref(), v6)).await;
    let socket = TcpSocket::from_std_stream(made.map_err(io::Error::other)??.into());
    let tcp = tokio::time::timeout(DIAL, socket.connect(address))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    let _ = tcp.set_nodelay(true);
    Ok(tcp)
}
