//! A registry that misbehaves on the wire, as a test tells it to for each request. It speaks just enough HTTP/1.1.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::image::{Blob, TestImage};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// As sent; a proxy is sent whole addresses.
    pub(crate) target: String,
    /// By lower-case name.
    pub(crate) headers: HashMap<String, String>,
    /// How many came before it for the same target.
    pub(crate) before: usize,
}

/// What is done with a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Serve it well, ranges too.
    Serve,
    /// Serve it well, with a header more, or another in its place.
    ServeWith(&'static str, &'static str),
    /// Answer with a status, further head lines, and a body.
    Answer(u16, String, Vec<u8>),
    /// Say nothing, for good.
    Stall,
    /// Break the connection off.
    Reset,
    /// Break it off in the middle of the body.
    Truncate,
    /// Announce more than comes.
    Announce(usize),
    /// Send the body a few bytes at a time, without end.
    Drip,
    /// Send a body without end.
    Endless,
}

type Behaviour = dyn Fn(&Asked) -> Act + Send + Sync;

/// The registry; ends when dropped.
#[derive(Debug)]
pub(crate) struct Tricky {
    /// `127.0.0.1:PORT`.
    pub(crate) host: String,
    seen: Arc<Mutex<Vec<Asked>>>,
    server: JoinHandle<()>,
}

impl Drop for Tricky {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Tricky {
    /// Serves `image` as `x:1`, with `behave` asked about every request.
    pub(crate) async fn start(
        image: &TestImage,
        behave: impl Fn(&Asked) -> Act + Send + Sync + 'static,
    ) -> Tricky {
        let mut content: HashMap<String, Blob> = HashMap::new();
        for reference in ["1".to_owned(), image.manifest.digest()] {
            content.insert(format!("/v2/x/manifests/{reference}"), image.manifest.clone());
        }
        for blob in &image.blobs {
            content.insert(format!("/v2/x/blobs/{}", blob.digest()), blob.clone());
        }
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let site = Arc::new(Site {
            content,
            behave: Box::new(behave),
            seen: Arc::clone(&seen),
        });
        let server = tokio::spawn(serve(listener, site));
        Tricky { host, seen, server }
    }

    /// The name of the image.
    pub(crate) fn name(&self) -> String {
        format!("{}/x:1", self.host)
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Asked> {
        self.seen.lock().unwrap().clone()
    }
}

struct Site {
    content: HashMap<String, Blob>,
    behave: Box<Behaviour>,
    seen: Arc<Mutex<Vec<Asked>>>,
}

async fn serve(listener: TcpListener, site: Arc<Site>) {
    // Ends with the server's task, which owns it.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let site = Arc::clone(&site);
        connections.spawn(async move {
            // A client that goes away is no matter.
            let _gone = site.answer(stream).await;
        });
    }
}

async fn head(
    stream: &mut BufReader<TcpStream>,
) -> std::io::Result<Option<(String, HashMap<String, String>)>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim().split_once(':') else {
            return Ok(Some((target, headers)));
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
}

impl Site {
    async fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        let Some((target, headers)) = head(&mut stream).await? else {
            return Ok(());
        };
        let asked = {
            let mut seen = self.seen.lock().unwrap();
            let before = seen.iter().filter(|asked| asked.target == target).count();
            let asked = Asked {
                target,
                headers,
                before,
            };
            seen.push(asked.clone());
            asked
        };
        let act = (self.behave)(&asked);
        let path = asked.target.trim_start_matches("http://");
        let path = &path[path.find('/').unwrap_or(0)..];
        let path = path.split('?').next().unwrap_or_default();
        let out = stream.get_mut();
        let Some(blob) = self.content.get(path) else {
            let status = if path == "/v2/" { 200 } else { 404 };
            return match act {
                Act::Serve => send(out, status, "", b"{}", 2).await,
                other => wrong(out, other, b"{}", "").await,
            };
        };
        let kind = format!("content-type: {}\r\n", blob.media_type);
        let range = asked.headers.get("range");
        let from = range.and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse().ok());
        let body = &blob.content[from.unwrap_or(0).min(blob.content.len())..];
        let (status, further) = match from {
            Some(from) => (
                206,
                format!(
                    "{kind}content-range: bytes {from}-{}/{}\r\n",
                    blob.content.len().saturating_sub(1),
                    blob.content.len()
                ),
            ),
            None => (200, kind),
        };
        match act {
            Act::Serve => send(out, status, &further, body, body.len()).await,
            Act::ServeWith(name, value) => {
                let others: String = further
                    .split_inclusive("\r\n")
                    .filter(|line| !line.starts_with(name))
                    .collect();
                let further = format!("{others}{name}: {value}\r\n");
                send(out, status, &further, body, body.len()).await
            }
            Act::Truncate => send(out, status, &further, &body[..body.len() / 2], body.len()).await,
            Act::Announce(more) => send(out, status, &further, body, body.len() + more).await,
            Act::Drip => {
                send(out, status, &further, b"", body.len()).await?;
                for byte in body.chunks(10) {
                    out.write_all(byte).await?;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Ok(())
            }
            other => wrong(out, other, body, &further).await,
        }
    }
}

async fn wrong(out: &mut TcpStream, act: Act, body: &[u8], further: &str) -> std::io::Result<()> {
    match act {
        Act::Answer(status, further, body) => send(out, status, &further, &body, body.len()).await,
        Act::Stall => std::future::pending().await,
        Act::Endless => {
            out.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
                .await?;
            loop {
                out.write_all(&[b' '; 65536]).await?;
            }
        }
        Act::Reset => {
            // With what was not read, closing resets.
            rustix::net::sockopt::set_socket_linger(&*out, Some(Duration::ZERO))?;
            Ok(())
        }
        _ => send(out, 200, further, body, body.len()).await,
    }
}

async fn send(
    out: &mut TcpStream,
    status: u16,
    further: &str,
    body: &[u8],
    length: usize,
) -> std::io::Result<()> {
    let head =
        format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{further}\r\n");
    out.write_all(head.as_bytes()).await?;
    out.write_all(body).await?;
    out.flush().await
}
