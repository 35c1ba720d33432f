//! A client of the API on its socket, for our own command line and for tests: a connection a call.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_TYPE, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use super::{Call, Refusal};
use crate::streaming::client::{self as session, Ends, SessionError};

/// Where the API is.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Whether a call is meant for a container that another client of the runtime owns, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Insistence {
    /// It is not.
    #[default]
    Polite,
    /// It is.
    Force,
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing answers on the socket.
    #[error("cannot connect to the API at {}", .path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The call was refused, or failed.
    #[error("{} ({})", .0.message, .0.code)]
    Refused(Refusal),
    /// The connection broke off.
    #[error("the API at {} does not answer", .path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// The command did not run to its end.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// What came is not what the API answers.
    #[error("the API's answer is not understood: {0}")]
    Strange(String),
}

impl Client {
    /// A client of the API at `socket`. Connects when something is asked.
    pub fn at(socket: impl Into<PathBuf>) -> Client {
        Client {
            socket: socket.into(),
        }
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Makes a call.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        call: Call,
        insistence: Insistence,
        request: &Q,
    ) -> Result<A, ClientError> {
        let strange = |error: serde_json::Error| ClientError::Strange(error.to_string());
        let body = serde_json::to_vec(request).map_err(strange)?;
        let force = match insistence {
            Insistence::Force if call.is_owned() => "?force=true",
            _ => "",
        };
        let request = Request::post(format!("/v1/{}{force}", call.name()))
            .header(HOST, "api")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .expect("its parts are well formed");
        let (answer, _connection) = self.send(request).await?;
        let status = answer.status();
        let body = self.body(answer).await?;
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(strange),
            _ => Err(refused(status, &body)),
        }
    }

    /// Runs a command between local streams, and returns its exit code.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn exec(&self, command: &Command, ends: Ends) -> Result<i32, ClientError> {
        let (mut answer, _connection) = self.send(command.request()).await?;
        let status = answer.status();
        if status != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refused(status, &self.body(answer).await?));
        }
        let upgraded = hyper::upgrade::on(&mut answer).await;
        let upgraded = upgraded.map_err(|source| self.broken(source))?;
        Ok(session::run(TokioIo::new(upgraded), ends).await?)
    }

    async fn body(&self, answer: Response<Incoming>) -> Result<Bytes, ClientError> {
        let collected = answer.into_body().collect().await;
        Ok(collected.map_err(|source| self.broken(source))?.to_bytes())
    }

    fn broken(&self, source: hyper::Error) -> ClientError {
        ClientError::Broken {
            path: self.socket.clone(),
            source,
        }
    }

    /// Sends a request on a connection of its own. The second value carries it, and ends it when it is dropped.
    async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, JoinSet<()>), ClientError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| ClientError::Connect {
                path: self.socket.clone(),
                source,
            })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| self.broken(source))?;
        let mut carrying = JoinSet::new();
        carrying.spawn(async move {
            // What breaks is told to who waits for the answer.
            let _ = connection.with_upgrades().await;
        });
        let answer = sender.send_request(request).await;
        Ok((answer.map_err(|source| self.broken(source))?, carrying))
    }
}

/// A command whose streams are local ones.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// Which container.
    pub container_id: String,
    /// The command and its arguments.
    pub cmd: Vec<String>,
    /// It has a terminal.
    pub tty: bool,
    /// It has an input.
    pub stdin: bool,
    /// Whether the container may be another's.
    pub insistence: Insistence,
}

impl Command {
    fn request(&self) -> Request<Full<Bytes>> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("containerID", &self.container_id);
        for word in &self.cmd {
            query.append_pair("cmd", word);
        }
        let flags = [
            ("tty", self.tty),
            ("stdin", self.stdin),
            ("force", self.insistence == Insistence::Force),
        ];
        for (name, _) in flags.iter().filter(|(_, set)| *set) {
            query.append_pair(name, "true");
        }
        let uri = format!("/v1/{}?{}", Call::ExecSync.name(), query.finish());
        let key: [u8; 16] = rand::random();
        Request::get(uri)
            .header(HOST, "api")
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, STANDARD.encode(key))
            .header(SEC_WEBSOCKET_PROTOCOL, session::PROTOCOL)
            .body(Full::default())
            .expect("its parts are well formed")
    }
}

impl ClientError {
    /// There is no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, ClientError::Refused(refusal) if refusal.code == "NOT_FOUND")
    }
}

/// What an answer says that is not a good one.
fn refused(status: StatusCode, body: &[u8]) -> ClientError {
    match serde_json::from_slice(body) {
        Ok(refusal) => ClientError::Refused(refusal),
        Err(_) => ClientError::Strange(format!("{status}: {}", String::from_utf8_lossy(body))),
    }
}
