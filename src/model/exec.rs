//! Running a command in a container: the one call that serves both CRI's ExecSync and its streaming Exec.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::error::{Error, Result};
use super::json::{is_zero, nanoseconds};

/// Where a command's standard input comes from.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// Where a command's output goes. Shut down when the command's stream has ended.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;
/// Sizes that a terminal is to take, one after the other.
pub type Resizes = mpsc::Receiver<TerminalSize>;

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// Asks to run a command in a running container.
///
/// At least one stream is given; with a terminal the two outputs are one, so `stderr` is not.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
pub struct ExecRequest {
    /// Which container: its id, or the unique beginning of it.
    #[serde(default, rename = "containerID", skip_serializing_if = "is_zero")]
    pub container_id: String,
    /// The command and its arguments. Not run by a shell.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cmd: Vec<String>,
    /// Gives it a terminal.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tty: bool,
    /// Its standard input; absent is empty.
    #[serde(skip)]
    pub stdin: Option<Reader>,
    /// Its standard output; absent discards it.
    #[serde(skip)]
    pub stdout: Option<Writer>,
    /// Its standard error; absent discards it.
    #[serde(skip)]
    pub stderr: Option<Writer>,
    /// Sizes of its terminal. The first one, when it is there at once, is the size that the command begins with.
    #[serde(skip)]
    pub resize: Option<Resizes>,
    /// When the caller gives up: how long the command has to end by itself, now that its streams have ended and its
    /// terminal has hung up, before every process of it is killed. Zero kills at once.
    #[serde(skip)]
    pub grace: Duration,
    /// After this time every process of the command is killed; zero is no limit. In JSON nanoseconds, always present.
    #[serde(default, with = "nanoseconds")]
    #[schemars(with = "i64")]
    pub timeout: Duration,
}

impl ExecRequest {
    /// Checks what needs no container: a command, at least one stream, no stderr beside a terminal.
    ///
    /// # Errors
    /// `InvalidArgument`, naming the field.
    pub fn validate(&self) -> Result<()> {
        if self.container_id.is_empty() {
            return Err(Error::invalid("container_id is empty"));
        }
        ExecRequest::check_command(&self.cmd)?;
        if self.stdin.is_none() && self.stdout.is_none() && self.stderr.is_none() {
            return Err(Error::invalid("one of stdin, stdout and stderr must be set"));
        }
        if self.tty && self.stderr.is_some() {
            return Err(Error::invalid("stderr must not be set with tty"));
        }
        Ok(())
    }
}

impl ExecRequest {
    /// Checks a command before there are streams for it.
    ///
    /// # Errors
    /// `InvalidArgument`, naming the field.
    pub fn check_command(cmd: &[String]) -> Result<()> {
        if cmd.first().is_none_or(String::is_empty) {
            return Err(Error::invalid("cmd is empty"));
        }
        if let Some(index) = cmd.iter().position(|word| word.contains('\0')) {
            return Err(Error::invalid(format!("cmd[{index}] contains a NUL byte")));
        }
        Ok(())
    }
}

impl fmt::Debug for ExecRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecRequest")
            .field("container_id", &self.container_id)
            .field("cmd", &self.cmd)
            .field("tty", &self.tty)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Answers when the command has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ExecResponse {
    /// The container's full id.
    #[serde(rename = "ContainerID")]
    pub container_id: String,
    /// The command's exit code, or 128 and the signal's number.
    pub exit_code: i32,
}
