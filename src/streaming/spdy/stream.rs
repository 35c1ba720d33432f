//! One stream of a connection: its two directions as reader and writer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, PollSender};

use super::connection::Shared;
use super::frame::reset;
use super::headers::Headers;
use super::writer::{Outgoing, Urgent};

/// Most bytes of one data frame: small enough that other streams get their turn.
const CHUNK: usize = 32 << 10;

/// A stream that the client has opened. Refused unless it is accepted.
#[derive(Debug)]
pub(in crate::streaming) struct Stream {
    /// Its number.
    pub(in crate::streaming) id: u32,
    /// What it is for.
    pub(in crate::streaming) headers: Headers,
    /// What the client sends.
    pub(in crate::streaming) reader: StreamReader,
    /// What it is sent.
    pub(in crate::streaming) writer: StreamWriter,
}

/// The client's direction.
#[derive(Debug)]
pub(in crate::streaming) struct StreamReader {
    pieces: mpsc::Receiver<Bytes>,
    piece: Bytes,
    _entry: Arc<Registered>,
}

/// Our direction. Ended by `shutdown`, or cut off by [`StreamWriter::reset`].
#[derive(Debug)]
pub(in crate::streaming) struct StreamWriter {
    frames: PollSender<Outgoing>,
    finished: bool,
    entry: Arc<Registered>,
}

/// The stream's place in the connection's table, given up with the last of the two directions.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) id: u32,
    pub(super) shared: Arc<Shared>,
    /// The client has cut both directions off.
    pub(super) reset: CancellationToken,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.forget(self.id);
    }
}

impl Stream {
    pub(super) fn new(
        headers: Headers,
        pieces: mpsc::Receiver<Bytes>,
        frames: mpsc::Sender<Outgoing>,
        entry: Registered,
    ) -> Stream {
        let entry = Arc::new(entry);
        Stream {
            id: entry.id,
            headers,
            reader: StreamReader {
                pieces,
                piece: Bytes::new(),
                _entry: Arc::clone(&entry),
            },
            writer: StreamWriter {
                frames: PollSender::new(frames),
                finished: false,
                entry,
            },
        }
    }

    /// Answers the client, which waits for it before it opens the next stream. Goes before all data of the stream.
    pub(in crate::streaming) async fn accept(&self) {
        self.urgent(Urgent::Reply(self.id)).await;
    }

    /// Refuses the stream.
    pub(in crate::streaming) async fn refuse(self) {
        self.urgent(Urgent::Reset(self.id, reset::CANCEL)).await;
    }

    /// Tells when the client has cut the stream off.
    pub(in crate::streaming) fn reset_by_client(&self) -> CancellationToken {
        self.writer.entry.reset.clone()
    }

    async fn urgent(&self, frame: Urgent) {
        // A connection that has ended needs no answer.
        let _ = self.writer.entry.shared.urgent.send(frame).await;
    }
}

impl StreamWriter {
    /// Cuts both directions off, behind what was written before.
    pub(in crate::streaming) async fn reset(&mut self) {
        if let Some(frames) = self.frames.get_ref() {
            let _ = frames.send(Outgoing::Reset(self.entry.id, reset::CANCEL)).await;
        }
        self.finished = true;
    }

    fn is_closed(&self) -> bool {
        self.finished || self.entry.reset.is_cancelled()
    }

    fn send(&mut self, context: &mut Context<'_>, bytes: &[u8], fin: bool) -> Poll<io::Result<usize>> {
        if self.is_closed() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        ready!(self.frames.poll_reserve(context)).map_err(gone)?;
        let bytes = Bytes::copy_from_slice(&bytes[..bytes.len().min(CHUNK)]);
        let (length, id) = (bytes.len(), self.entry.id);
        let sent = self.frames.send_item(Outgoing::Data { id, bytes, fin });
        Poll::Ready(sent.map(|()| length).map_err(gone))
    }
}

impl AsyncRead for StreamReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.piece.is_empty() {
            match ready!(self.pieces.poll_recv(context)) {
                Some(piece) => self.piece = piece,
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.piece.len().min(to.remaining());
        to.put_slice(&self.piece[..length]);
        self.piece.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StreamWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match bytes.is_empty() {
            true => Poll::Ready(Ok(0)),
            false => self.send(context, bytes, false),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_closed() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.send(context, &[], true))?;
        self.finished = true;
        Poll::Ready(Ok(()))
    }
}
