//! An attachment to a container's standard streams.

use crate::monitor::client::MonitorError;
use crate::monitor::client::connection::{Answers, Connection};
use crate::monitor::protocol::{Answer, AttachRequest, Call, Detachment};
use std::os::fd::OwnedFd;

/// The monitor's ends of a client's pipes. An output is to be read at once, see [`Call::Attach`].
#[derive(Debug, Default)]
pub struct AttachEnds {
    /// To read the client's input from.
    pub stdin: Option<OwnedFd>,
    /// To write output to.
    pub stdout: Option<OwnedFd>,
    /// To write error output to.
    pub stderr: Option<OwnedFd>,
}

/// A client of a container's streams. Dropping it changes nothing: it lasts as long as its pipes.
#[derive(Debug)]
pub struct Attachment {
    answers: Answers,
}

impl Attachment {
    pub(super) async fn begin(connection: &Connection, ends: AttachEnds) -> Result<Attachment, MonitorError> {
        let AttachEnds {
            stdin,
            stdout,
            stderr,
        } = ends;
        let request = AttachRequest {
            stdin: stdin.is_some(),
            stdout: stdout.is_some(),
            stderr: stderr.is_some(),
        };
        let fds = [stdin, stdout, stderr].into_iter().flatten().collect();
        let mut answers = connection.begin(Call::Attach(request), fds).await?;
        match answers.next().await?.0 {
            Answer::Attached => Ok(Attachment { answers }),
            _ => Err(MonitorError::Confused),
        }
    }

    /// Waits for the end, when the monitor's ends are closed. Cancel safety: may be called again.
    pub async fn wait(&mut self) -> Result<Detachment, MonitorError> {
        match self.answers.next().await?.0 {
            Answer::Detached(how) => Ok(how),
            _ => Err(MonitorError::Confused),
        }
    }
}
