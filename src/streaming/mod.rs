//! Streams of commands and connections, for clients that come by HTTP: SPDY/3.1 and WebSocket.
//!
//! Somebody who may ask for a session asks the [`Backend`]'s owner, who keeps what was asked for behind a URL
//! ([`Urls`]); whoever comes with that URL gets it ([`Server`]).
//!
//! ```text
//! Urls ──► Server ──► upgrade ──┬─► command, over spdy or channels (WebSocket)
//! (token)  (HTTP)   (protocol)  └─► forward, over spdy, which a tunnel may carry (WebSocket)
//! ```
//!
//! A session knows the reduced model only: it makes readers and writers of the client's streams and has the backend run
//! the command, or attach to the container, between them. All of a session ends with its connection, and every connection with the server.

mod activity;
mod channels;
pub mod client;
mod command;
mod direct;
mod forward;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod outcome;
mod output;
mod resize;
mod server;
mod spdy;
mod tls;
mod token;
mod transport;
mod tunnel;
mod upgrade;
mod websocket;

use std::future::Future;
use std::path::PathBuf;

use crate::model::{AttachRequest, ExecRequest, ExecResponse, Result};

pub use direct::{Direct, Wanted};
pub use output::Output;
pub use server::{Options, Server, ServerError, Serving};
pub use tls::{Certificate, TlsError};
pub use token::Urls;

/// A session to be had at a URL.
#[derive(Clone, Debug)]
pub enum Asked {
    /// A further command in a container.
    Exec(Command),
    /// A container's own streams.
    Attach(Attach),
    /// Connections into a network, which the backend knows by this name.
    Forward(String),
}

/// A command to run.
#[derive(Clone, Debug)]
pub struct Command {
    /// Which container.
    pub container_id: String,
    /// The command and its arguments.
    pub cmd: Vec<String>,
    /// Which of its streams.
    pub streams: Streams,
}

/// A container to attach to.
#[derive(Clone, Debug)]
pub struct Attach {
    /// Which container.
    pub container_id: String,
    /// Which of its streams.
    pub streams: Streams,
}

/// The streams of a session with a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    /// The client writes.
    pub stdin: bool,
    /// The client reads standard output.
    pub stdout: bool,
    /// The client reads standard error.
    pub stderr: bool,
    /// The process has a terminal, whose size the client tells.
    pub tty: bool,
}

impl Asked {
    /// How the URL says what it is for.
    fn verb(&self) -> &'static str {
        match self {
            Asked::Exec(_) => "exec",
            Asked::Attach(_) => "attach",
            Asked::Forward(_) => "portforward",
        }
    }
}

/// What sessions are made of. Whether it can be done is judged anew when the client comes.
pub trait Backend: Send + Sync + 'static {
    /// Runs a command, as [`RuntimeService::exec_sync`](crate::model::RuntimeService::exec_sync) does.
    ///
    /// # Errors
    /// As that call.
    fn exec(&self, request: ExecRequest) -> impl Future<Output = Result<ExecResponse>> + Send;

    /// Attaches to a container, as [`RuntimeService::attach`](crate::model::RuntimeService::attach) does.
    ///
    /// # Errors
    /// As that call.
    fn attach(&self, request: AttachRequest) -> impl Future<Output = Result<()>> + Send;

    /// The network namespace that connections are forwarded into; `None` is the machine's own.
    ///
    /// # Errors
    /// It is not there any more.
    fn network(&self, target: &str) -> Result<Option<PathBuf>>;
}
