//! Clients of a container's own streams. The monitor passes on what is written while it logs it; here is what a client may
//! lag behind, and what the end of its input means.
//!
//! Nothing waits for a client: what it does not take at once is kept for it, and when that is too much it is let go of.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::Core;
use super::entry::Phase;
use super::start::monitor_error;
use crate::model::{AttachRequest, Error, Kind, Reader, Resizes, Result, Writer};
use crate::monitor::MonitorClient;
use crate::monitor::client::{AttachEnds, Attachment};
use crate::monitor::protocol::{Detachment, TerminalSize};
use crate::sys::pipe;

/// What an output's pipe holds: so much is written before the monitor waits for this process to have its turn.
const PIPE: usize = 1 << 20;
/// Bytes of each output that a client may lag behind. Memory is taken for what is kept only.
const BACKLOG: usize = 8 << 20;
/// Bytes read at once.
const CHUNK: usize = 32 << 10;
/// How long a client that has fallen behind has to take what was kept for it.
const LAST_WORDS: Duration = Duration::from_secs(10);

impl Core {
    pub(super) async fn attach(&self, request: AttachRequest) -> Result<()> {
        request.validate()?;
        let entry = self.inner.registry.find(&request.container_id)?;
        let (id, config) = (&entry.id, &entry.record.config);
        let Phase::Running(live) = entry.phase() else {
            return Err(Error::precondition(format!("container {id} is not running")));
        };
        if request.tty && !config.tty {
            return Err(Error::invalid(format!("tty: container {id} has no terminal")));
        }
        let after_input = match config.stdin_once && config.stdin && !config.tty {
            true => AfterInput::Stay,
            false => AfterInput::Leave,
        };
        let failed = |e| Error::internal(format!("cannot make pipes to container {id}")).because(e);
        let (ends, streams) = Streams::open(request, config.stdin, config.tty).map_err(failed)?;
        let attached = live.monitor.attach(ends).await;
        let attachment = attached.map_err(|e| monitor_error(id, "attach to", e))?;
        tokio::select! {
            end = streams.carry(attachment, &live.monitor, after_input) => match end {
                Ok(End::Left | End::Ended) => Ok(()),
                Ok(End::Behind) => {
                    let text = format!("the client has fallen too far behind the output of container {id}");
                    Err(Error::new(Kind::ResourceExhausted, text))
                }
                Err(error) => Err(monitor_error(id, "stay attached to", error)),
            },
            () = self.inner.closing.cancelled() => {
                Err(Error::new(Kind::Unavailable, "the runtime is ending"))
            }
        }
    }
}

/// What the end of the client's input means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AfterInput {
    /// That the client leaves: how one detaches.
    Leave,
    /// That the container's input ends, and the rest of its output is to come.
    Stay,
}

/// Why it is over.
enum End {
    Left,
    Ended,
    Behind,
}

/// The client's streams, and our ends of the pipes to the monitor.
struct Streams {
    input: Option<(Reader, Option<Sender>)>,
    output: Option<(Receiver, Writer)>,
    error: Option<(Receiver, Writer)>,
    resizes: Option<Resizes>,
}

impl Streams {
    fn open(
        request: AttachRequest,
        has_stdin: bool,
        has_terminal: bool,
    ) -> io::Result<(AttachEnds, Streams)> {
        let mut ends = AttachEnds::default();
        let input = match request.stdin {
            Some(from) if has_stdin => {
                let (read, write) = pipe::pair()?;
                ends.stdin = Some(read);
                Some((from, Some(Sender::from_owned_fd(write)?)))
            }
            // Its end still tells that the client leaves.
            from => from.map(|from| (from, None)),
        };
        let output = |to: Option<Writer>, end: &mut Option<_>| -> io::Result<_> {
            let Some(to) = to else { return Ok(None) };
            let (read, write) = pipe::pair()?;
            // A smaller one does too.
            let _ = pipe::set_size(write.as_fd(), PIPE);
            *end = Some(write);
            Ok(Some((Receiver::from_owned_fd(read)?, to)))
        };
        let streams = Streams {
            input,
            output: output(request.stdout, &mut ends.stdout)?,
            error: output(request.stderr, &mut ends.stderr)?,
            resizes: request.resize.filter(|_| has_terminal),
        };
        Ok((ends, streams))
    }

    async fn carry(
        self,
        mut attachment: Attachment,
        monitor: &MonitorClient,
        after_input: AfterInput,
    ) -> std::result::Result<End, crate::monitor::MonitorError> {
        let behind = CancellationToken::new();
        let outputs = async { tokio::join!(deliver(self.output, &behind), deliver(self.error, &behind)) };
        let resizing = resize(monitor, self.resizes);
        let input = async {
            match self.input {
                Some((from, to)) => take_input(from, to, after_input).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(outputs, resizing, input);
        let (mut delivered, mut sized) = (false, false);
        let how = loop {
            tokio::select! {
                how = attachment.wait() => break how?,
                () = behind.cancelled() => break Detachment::Behind,
                () = &mut input => return Ok(End::Left),
                _ = &mut outputs, if !delivered => delivered = true,
                () = &mut resizing, if !sized => sized = true,
            }
        };
        // Nothing more is read.
        match how {
            Detachment::Ended if delivered => Ok(End::Ended),
            Detachment::Ended => {
                outputs.await;
                Ok(End::Ended)
            }
            Detachment::Behind => {
                if !delivered {
                    let _ = tokio::time::timeout(LAST_WORDS, outputs).await;
                }
                Ok(End::Behind)
            }
        }
    }
}

/// Passes the client's input on. Returns when it has ended and the client is to leave.
async fn take_input(mut from: Reader, to: Option<Sender>, after: AfterInput) {
    if let Some(mut to) = to {
        // Input that the container has closed is read and dropped.
        let _ = tokio::io::copy(&mut from, &mut to).await;
    }
    let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    if after == AfterInput::Stay {
        std::future::pending::<()>().await;
    }
}

async fn resize(monitor: &MonitorClient, resizes: Option<Resizes>) {
    let Some(mut resizes) = resizes else { return };
    while let Some(size) = resizes.recv().await {
        let (width, height) = (size.width, size.height);
        // The terminal may have gone with the container, which is told otherwise.
        let _ = monitor.resize(TerminalSize { width, height }).await;
    }
}

/// Empties the monitor's pipe at once, and hands on what was in it as the client takes it; tells when it lags too far behind.
/// When the client is gone the rest is read and dropped.
async fn deliver(stream: Option<(Receiver, Writer)>, behind: &CancellationToken) {
    let Some((mut from, mut to)) = stream else {
        return;
    };
    let (queue, mut queued) = mpsc::unbounded_channel::<(Bytes, OwnedSemaphorePermit)>();
    let take = async move {
        let room = Arc::new(Semaphore::new(BACKLOG));
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(CHUNK);
            let mut piece = (&mut from).take(CHUNK as u64);
            match behind.run_until_cancelled(piece.read_buf(&mut buffer)).await {
                Some(Ok(count)) if count > 0 => {}
                _ => return,
            }
            let piece = buffer.split().freeze();
            // Of one piece at most CHUNK bytes.
            let Ok(permit) = Arc::clone(&room).try_acquire_many_owned(piece.len() as u32) else {
                return behind.cancel();
            };
            if queue.send((piece, permit)).is_err() {
                return;
            }
        }
    };
    let give = async {
        let mut open = true;
        while let Some((piece, _permit)) = queued.recv().await {
            open = open && to.write_all(&piece).await.is_ok();
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(take, give);
}
