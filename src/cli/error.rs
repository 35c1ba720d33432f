//! What a command failed with, and how a person is told.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::app::AppError;
use crate::app::client::{ClientError, ConnectError};
use crate::config::ConfigError;
use crate::telemetry::TelemetryError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nothing answers on the socket.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The store, or the daemon itself, cannot be opened.
    #[error(transparent)]
    App(#[from] AppError),
    /// Logs cannot be written as asked.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The node was not changed as asked.
    #[error(transparent)]
    Node(#[from] super::NodeError),
    /// The manual cannot be written.
    #[error("cannot write the manual into {}", .path.display())]
    Pages {
        /// Its directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The server refused a call.
    #[error("{}", refusal(action, *code, message))]
    Refused {
        /// What the call was to do.
        action: String,
        /// The gRPC code.
        code: tonic::Code,
        /// The server's text.
        message: String,
    },
    /// The container could not be run to its end.
    #[error("{0}")]
    Container(crate::model::Error),
    /// A terminal was asked for, and there is none.
    #[error("cannot use a terminal: standard input is none")]
    NoTerminal,
    /// The configuration names no API.
    #[error(
        "the daemon serves no API for this: set api.socket in its configuration, or name the socket by --set api.socket=PATH"
    )]
    NoApi,
    /// The API refused a call, or does not answer.
    #[error("cannot {action}")]
    Api {
        /// What the call was to do.
        action: String,
        /// Why it did not.
        #[source]
        source: ClientError,
    },
    /// No container is meant by this.
    #[error("no container {0}: it is the id of none, the beginning of no id, and no name")]
    NoContainer(String),
    /// More than one container is meant.
    #[error("several containers are meant by {word}: {}", ids.join(", "))]
    ManyContainers {
        /// What was typed.
        word: String,
        /// Those that are meant.
        ids: Vec<String>,
    },
    /// No image is meant by this.
    #[error("no image {0}")]
    NoImage(String),
    /// It would have to be killed.
    #[error("cannot remove {0}: it runs; stop it first, or use --force")]
    Running(String),
    /// Nothing to show.
    #[error("container {0} keeps no log")]
    NoLog(String),
    /// The server ended its answers before the last one.
    #[error("cannot {0}: the answer is incomplete")]
    Incomplete(String),
    /// A step of the demo went through but showed what it should not.
    #[error("{0}")]
    Demo(String),
    /// A signal asked the command to end.
    #[error("interrupted")]
    Interrupted,
    /// A file or directory cannot be used.
    #[error("cannot {action} {}", .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The answer could not be written.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    /// Signals could not be listened to.
    #[error("cannot listen to signals")]
    Signals(#[source] io::Error),
    /// The asynchronous runtime could not be started.
    #[error("cannot start threads")]
    Threads(#[source] io::Error),
}

impl CliError {
    /// Tells the error with its causes, on one line, and gives the code to end with.
    #[expect(
        clippy::print_stderr,
        reason = "the one place that talks to the person at the terminal"
    )]
    pub(super) fn report(&self) -> ExitCode {
        eprintln!("coracle: {}", chain(self));
        ExitCode::FAILURE
    }
}

/// Says which call was refused, unless the server's own text begins with that.
fn refusal(action: &str, code: tonic::Code, message: &str) -> String {
    let action = format!("cannot {action}");
    if message.starts_with(&action) {
        return format!("{message} ({code:?})");
    }
    format!("{action}: {message} ({code:?})")
}

/// The error and its causes, outermost first. A cause that the text before it tells already is left out: not every
/// library leaves its causes to `source`.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = error.to_string();
        if !text.contains(&told) {
            text.push_str(": ");
            text.push_str(&told);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = CliError::File {
            action: "open",
            path: "/x".into(),
            source: io::Error::other(format!("transport: {}", refused())),
        };

        assert_eq!(chain(&error), "cannot open /x: transport: connection refused");
    }
}
