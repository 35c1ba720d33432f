//! What a command failed with, and how a person is told.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use crate::config::ConfigError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The answer could not be written.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
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
