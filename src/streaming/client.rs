//! The other side of a session over WebSocket: local streams for a command's, and its exit code.

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::channels::{CLOSE, ERROR, RESIZE, STDERR, STDIN, STDOUT};
use crate::model::{Reader, Resizes, Writer};

/// Name of the protocol that is asked for, and that [`run`] speaks.
pub const PROTOCOL: &str = "v5.channel.k8s.io";
/// Bytes of one message of input.
const PIECE: usize = 32 << 10;

/// The local streams.
pub struct Ends {
    /// What the command reads, if anything.
    pub stdin: Option<Reader>,
    /// Where its output goes.
    pub stdout: Writer,
    /// Where its errors go.
    pub stderr: Writer,
    /// Sizes of the local terminal, if there is one.
    pub resize: Option<Resizes>,
}

impl std::fmt::Debug for Ends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ends").finish_non_exhaustive()
    }
}

/// Why a session has no exit code.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The connection ended before the command's end was told.
    #[error("the session broke off")]
    Broken,
    /// The command was not run, or not to its end.
    #[error("{0}")]
    Failed(String),
    /// The output could not be written.
    #[error("cannot write what the command writes")]
    Output(#[source] std::io::Error),
}

type Sink<T> = SplitSink<WebSocketStream<T>, Message>;
type Source<T> = SplitStream<WebSocketStream<T>>;

/// Runs a session on a connection whose upgrade is agreed on, and returns the command's exit code.
///
/// # Errors
/// See [`SessionError`].
pub async fn run<T>(io: T, ends: Ends) -> Result<i32, SessionError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let socket = WebSocketStream::from_raw_socket(io, Role::Client, None).await;
    let (mut sink, mut source) = socket.split();
    let Ends {
        stdin,
        stdout,
        stderr,
        resize,
    } = ends;
    let mut outputs = Outputs { stdout, stderr };
    tokio::select! {
        told = outputs.take_all(&mut source) => told,
        // The connection is the session's end, not that of what is read here.
        () = send_all(&mut sink, stdin, resize) => outputs.take_all(&mut source).await,
    }
}

/// Sends input and sizes until both have ended, or nobody takes them.
async fn send_all<T>(sink: &mut Sink<T>, mut stdin: Option<Reader>, mut resize: Option<Resizes>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut piece = vec![0; PIECE];
    loop {
        let message = tokio::select! {
            count = read(&mut stdin, &mut piece) => match count {
                0 => {
                    stdin = None;
                    vec![CLOSE, STDIN]
                }
                count => [&[STDIN], &piece[..count]].concat(),
            },
            size = size(&mut resize) => match size {
                Some(size) => {
                    let size = json!({"Width": size.width, "Height": size.height}).to_string();
                    [&[RESIZE], size.as_bytes()].concat()
                }
                None => {
                    resize = None;
                    continue;
                }
            },
        };
        if sink.send(Message::Binary(message.into())).await.is_err() {
            return;
        }
        if stdin.is_none() && resize.is_none() {
            return;
        }
    }
}

async fn read(from: &mut Option<Reader>, into: &mut [u8]) -> usize {
    match from {
        Some(reader) => reader.read(into).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}

async fn size(from: &mut Option<Resizes>) -> Option<crate::model::TerminalSize> {
    match from {
        Some(sizes) => sizes.recv().await,
        None => std::future::pending().await,
    }
}

struct Outputs {
    stdout: Writer,
    stderr: Writer,
}

impl Outputs {
    async fn take_all<T>(&mut self, source: &mut Source<T>) -> Result<i32, SessionError>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        while let Some(Ok(message)) = source.next().await {
            let Message::Binary(bytes) = message else {
                continue;
            };
            let Some((channel, contents)) = bytes.split_first() else {
                continue;
            };
            match *channel {
                STDOUT => show(&mut self.stdout, contents).await?,
                STDERR => show(&mut self.stderr, contents).await?,
                ERROR if !contents.is_empty() => return outcome(contents),
                _ => {}
            }
        }
        Err(SessionError::Broken)
    }
}

async fn show(to: &mut Writer, contents: &[u8]) -> Result<(), SessionError> {
    to.write_all(contents).await.map_err(SessionError::Output)?;
    to.flush().await.map_err(SessionError::Output)
}

/// What the object on the error channel says.
fn outcome(object: &[u8]) -> Result<i32, SessionError> {
    let status: Value = serde_json::from_slice(object).map_err(|_| SessionError::Broken)?;
    if status["status"] == "Success" {
        return Ok(0);
    }
    let causes = status["details"]["causes"].as_array();
    let code = causes
        .into_iter()
        .flatten()
        .find(|cause| cause["reason"] == "ExitCode");
    let code = code.and_then(|cause| cause["message"].as_str()?.parse().ok());
    let told = status["message"].as_str().unwrap_or("the command failed");
    let told = told.strip_prefix("Internal error occurred: ").unwrap_or(told);
    code.ok_or_else(|| SessionError::Failed(told.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Error, Kind};
    use crate::streaming::outcome::report;
    use crate::streaming::upgrade::Version;

    #[test]
    fn what_the_server_tells_of_the_end_is_understood() {
        let failed = Err(Error::new(Kind::NotFound, "no such thing"));

        assert_eq!(outcome(&report(Version::V5, &Ok(0))).unwrap(), 0);
        assert_eq!(outcome(&report(Version::V5, &Ok(137))).unwrap(), 137);
        let error = outcome(&report(Version::V5, &failed)).unwrap_err();
        assert_eq!(error.to_string(), "no such thing");
    }
}
