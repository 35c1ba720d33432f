//! A session with a process, whatever it is carried by: the client's streams made into the model's, and the end told.
//!
//! Here is the front for SPDY; the one for WebSocket is `channels`. Neither knows what the backend does.

use std::convert::Infallible;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::resize::pass_on;
use super::spdy::{Connection, Stream, StreamWriter};
use super::upgrade::Version;
use super::{Attach, Backend, Command, Streams, outcome};
use crate::model::{AttachRequest, Error, ExecRequest, Kind, Reader, Resizes, Result, TerminalSize, Writer};

/// How long a command has to notice that its client has gone, by the end of its streams, before it is killed.
const GRACE: Duration = Duration::from_secs(10);
/// Sizes of the terminal that wait for it.
pub(super) const SIZES: usize = 16;

/// The client's streams, as the model has them.
#[derive(Default)]
pub(super) struct Ends {
    pub(super) stdin: Option<Reader>,
    pub(super) stdout: Option<Writer>,
    pub(super) stderr: Option<Writer>,
    pub(super) resize: Option<Resizes>,
}

/// What is done with the client's streams.
#[derive(Debug)]
pub(super) enum Work {
    /// They are those of a further command.
    Exec(Command),
    /// They are joined to those of a container.
    Attach(Attach),
}

impl Work {
    pub(super) fn streams(&self) -> Streams {
        match self {
            Work::Exec(command) => command.streams,
            Work::Attach(attach) => attach.streams,
        }
    }

    async fn begin(self, backend: &impl Backend, ends: Ends) -> Result<i32> {
        match self {
            Work::Exec(command) => exec(backend, command, ends).await,
            Work::Attach(Attach {
                container_id,
                streams,
            }) => {
                let request = AttachRequest {
                    container_id,
                    stdin: ends.stdin,
                    stdout: ends.stdout,
                    stderr: ends.stderr,
                    tty: streams.tty,
                    resize: ends.resize,
                };
                let failed = |error: Error| error.within("error attaching to container");
                // How the container ends is not told here.
                backend.attach(request).await.map(|()| 0).map_err(failed)
            }
        }
    }
}

/// Does what was asked for, unless the server ends before; returns the exit code.
pub(super) async fn run(
    backend: &impl Backend,
    work: Work,
    ends: Ends,
    stop: &CancellationToken,
) -> Result<i32> {
    tokio::select! {
        outcome = work.begin(backend, ends) => outcome,
        () = stop.cancelled() => {
            let text = "the runtime is ending, and this session with it";
            Err(Error::new(Kind::Unavailable, text))
        }
    }
}

async fn exec(backend: &impl Backend, command: Command, ends: Ends) -> Result<i32> {
    let request = ExecRequest {
        container_id: command.container_id,
        cmd: command.cmd,
        tty: command.streams.tty,
        stdin: ends.stdin,
        stdout: ends.stdout,
        stderr: ends.stderr,
        resize: ends.resize,
        timeout: Duration::ZERO,
        grace: GRACE,
    };
    let answer = backend.exec(request).await;
    let failed = |error: Error| error.within("error executing command in container");
    Ok(answer.map_err(failed)?.exit_code)
}

/// What is served over SPDY streams, and by which rules.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) version: Version,
    pub(super) work: Work,
    /// How long the client may take to open the streams that it must.
    pub(super) patience: Duration,
    /// The server ends.
    pub(super) stop: CancellationToken,
}

/// Serves one session over SPDY streams.
pub(super) async fn serve(mut connection: Connection, session: Session, backend: &impl Backend) {
    let collected = Opened::collect(&mut connection, session.work.streams(), session.version);
    let collected = tokio::select! {
        collected = collected => collected,
        () = tokio::time::sleep(session.patience) => None,
        () = session.stop.cancelled() => None,
    };
    if let Some(opened) = collected {
        let gone = connection.gone();
        tokio::select! {
            () = opened.serve(session, backend, gone) => {}
            () = refuse_all(&mut connection) => {}
        }
    }
    connection.close().await;
}

/// The session has what it needs. Returns when the client has gone.
async fn refuse_all(connection: &mut Connection) {
    while let Some(stream) = connection.accept().await {
        stream.refuse().await;
    }
    // The session, which watches for this too, is to end in its own way.
    std::future::pending().await
}

/// The streams of a session that the client has opened, in any order.
#[derive(Default)]
struct Opened {
    error: Option<Stream>,
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    resize: Option<Stream>,
}

impl Opened {
    /// Returns when all are there; `None`: the client has gone. The command must not begin before: what follows the
    /// end of a short one would overtake the opening of the last stream.
    async fn collect(connection: &mut Connection, wanted: Streams, version: Version) -> Option<Opened> {
        let mut opened = Opened::default();
        while !opened.complete(wanted, version) {
            let stream = connection.accept().await?;
            match opened.place(stream.headers.get("streamtype"), wanted) {
                Some(place) if place.is_none() => {
                    stream.accept().await;
                    *place = Some(stream);
                }
                _ => stream.refuse().await,
            }
        }
        Some(opened)
    }

    fn place(&mut self, kind: Option<&str>, wanted: Streams) -> Option<&mut Option<Stream>> {
        match kind? {
            "error" => Some(&mut self.error),
            "stdin" if wanted.stdin => Some(&mut self.stdin),
            "stdout" if wanted.stdout => Some(&mut self.stdout),
            "stderr" if wanted.stderr => Some(&mut self.stderr),
            "resize" if wanted.tty => Some(&mut self.resize),
            _ => None,
        }
    }

    fn complete(&self, wanted: Streams, version: Version) -> bool {
        self.error.is_some()
            && self.stdin.is_some() == wanted.stdin
            && self.stdout.is_some() == wanted.stdout
            && self.stderr.is_some() == wanted.stderr
            && (self.resize.is_some() || !wanted.tty || version < Version::V3)
    }

    async fn serve(self, session: Session, backend: &impl Backend, gone: CancellationToken) {
        // Kept: their ends are told to the client after the command's.
        let mut kept: Vec<StreamWriter> = vec![];
        let mut ends = Ends::default();
        let mut sizes = None;
        if let Some(Stream { reader, writer, .. }) = self.stdin {
            ends.stdin = Some(Box::new(reader));
            kept.push(writer);
        }
        let output = |stream: Option<Stream>| stream.map(|s| -> Writer { Box::new(s.writer) });
        (ends.stdout, ends.stderr) = (output(self.stdout), output(self.stderr));
        if let Some(Stream { reader, writer, .. }) = self.resize {
            let (to, resizes) = mpsc::channel::<TerminalSize>(SIZES);
            ends.resize = Some(resizes);
            sizes = Some(pass_on(reader, to));
            kept.push(writer);
        }
        let sizes = async {
            if let Some(sizes) = sizes {
                sizes.await;
            }
            std::future::pending::<Infallible>().await
        };
        let outcome = tokio::select! {
            outcome = run(backend, session.work, ends, &session.stop) => outcome,
            never = sizes => match never {},
            // If it has only been silent, it hears why the session ends.
            () = gone.cancelled() => Err(Error::new(Kind::Cancelled, "the client has gone, or nothing moved for too long")),
        };
        let Some(mut error) = self.error else { return };
        let told = async {
            let report = outcome::report(session.version, &outcome);
            // A client that has gone does not hear it.
            let _ = error.writer.write_all(&report).await;
            let _ = error.writer.shutdown().await;
            for writer in &mut kept {
                writer.reset().await;
            }
        };
        tokio::select! {
            biased;
            () = told => {}
            () = gone.cancelled() => {}
        }
    }
}
