//! What a command failed with, and how a person is told.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::app::AppError;
use crate::app::client::ConnectError;
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
    /// The server refused a call.
    #[error("cannot {action}: {message} ({code:?})")]
    Refused {
        /// What the call was to do.
        action: String,
        /// The gRPC code.
        code: tonic::Code,
        /// The server's text.
        message: String,
    },
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

/// The error and its causes, outermost first.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
