//! Taking part in a container's own standard streams.

use std::fmt;

use super::error::{Error, Result};
use super::exec::{Reader, Resizes, Writer};

/// Asks to be attached to a running container's streams, from now on.
#[derive(Default)]
pub struct AttachRequest {
    /// Which container: its id, or the unique beginning of it.
    pub container_id: String,
    /// What goes to its standard input, behind what others send. A container without one takes none.
    pub stdin: Option<Reader>,
    /// Where its standard output goes, or all that its terminal shows.
    pub stdout: Option<Writer>,
    /// Where its standard error goes.
    pub stderr: Option<Writer>,
    /// The caller has a terminal for the container's.
    pub tty: bool,
    /// Sizes that the container's terminal is to take.
    pub resize: Option<Resizes>,
}

impl AttachRequest {
    /// Checks what needs no container: at least one stream, no stderr beside a terminal.
    ///
    /// # Errors
    /// `InvalidArgument`, naming the field.
    pub fn validate(&self) -> Result<()> {
        if self.container_id.is_empty() {
            return Err(Error::invalid("container_id is empty"));
        }
        if self.stdin.is_none() && self.stdout.is_none() && self.stderr.is_none() {
            return Err(Error::invalid("one of stdin, stdout and stderr must be set"));
        }
        if self.tty && self.stderr.is_some() {
            return Err(Error::invalid("stderr must not be set with tty"));
        }
        Ok(())
    }
}

impl fmt::Debug for AttachRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttachRequest")
            .field("container_id", &self.container_id)
            .field("tty", &self.tty)
            .finish_non_exhaustive()
    }
}
