//! A connection: what arrives is sorted to its streams, what is sent is put in order, and it ends when nobody is left.
//!
//! [`Connection`] is the session's handle; the future that comes with it does the work and is polled beside the session.
//! A session that lags holds up the reading, and with it the client. The end:
//!
//! - the session closes: what is queued is written, then GOAWAY, which must be the last frame, since clients stop reading
//!   at it; then the socket is read on for a while, because closing it over unread bytes would take from the client what
//!   it has not read yet;
//! - the client leaves, breaks the protocol or is silent for too long: [`Connection::gone`] tells the session.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::frame::{Decoder, Event, goaway, reset};
use super::headers::Inflater;
use super::stream::{Registered, Stream};
use super::writer::{Outgoing, Queues, Urgent, write};
use crate::streaming::activity::Activity;
use crate::streaming::transport::{PROBE, hung_up};

/// Bytes read at once.
const CHUNK: usize = 16 << 10;
/// Pieces, each of at most [`CHUNK`] bytes, that a stream's reader may lag behind.
const PIECES: usize = 16;
/// Frames, each of at most 32 KiB, that wait to be written.
const FRAMES: usize = 16;
/// Streams that are open at the same time.
const STREAMS: usize = 4096;
/// How long a connection that has ended is read on, or what is left of it written.
const LINGER: Duration = Duration::from_secs(5);

/// How a connection is to behave.
#[derive(Debug)]
pub(in crate::streaming) struct Options {
    /// Without a frame in either direction for so long, it ends.
    pub(in crate::streaming) idle: Duration,
    /// How long one stream whose data nobody takes may hold up all others before it is cut off.
    pub(in crate::streaming) patience: Option<Duration>,
    /// The socket below, to notice that the client has gone while nothing can be read.
    pub(in crate::streaming) socket: Option<OwnedFd>,
}

/// The session's handle.
#[derive(Debug)]
pub(in crate::streaming) struct Connection {
    opened: mpsc::Receiver<Stream>,
    shared: Arc<Shared>,
}

/// What streams, reader and writer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) urgent: mpsc::Sender<Urgent>,
    frames: mpsc::Sender<Outgoing>,
    /// Held for a map operation only.
    streams: Mutex<HashMap<u32, Entry>>,
    gone: CancellationToken,
    /// The last stream that the client has opened.
    last: AtomicU32,
    pub(super) activity: Activity,
}

#[derive(Debug)]
struct Entry {
    /// `None` once the client has ended its direction.
    pieces: Option<mpsc::Sender<Bytes>>,
    reset: CancellationToken,
}

impl Shared {
    pub(super) fn last(&self) -> u32 {
        self.last.load(Ordering::Relaxed)
    }

    pub(super) fn forget(&self, id: u32) {
        self.with(|streams| streams.remove(&id));
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<u32, Entry>) -> T) -> T {
        act(&mut self.streams.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Connection {
    /// Begins a connection over `io`, of which `read` was read already. The future ends with the connection; its owner
    /// polls it beside the session, and after it until it ends.
    pub(in crate::streaming) fn new<T>(
        io: T,
        read: Bytes,
        options: Options,
    ) -> (Connection, impl Future<Output = ()> + Send)
    where
        T: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (urgent_in, urgent) = mpsc::channel(FRAMES);
        let (frames_in, frames) = mpsc::channel(FRAMES);
        let (opened_in, opened) = mpsc::channel(FRAMES);
        let shared = Arc::new(Shared {
            urgent: urgent_in,
            frames: frames_in,
            streams: Mutex::default(),
            gone: CancellationToken::new(),
            last: AtomicU32::new(0),
            activity: Activity::new(),
        });
        let connection = Connection {
            opened,
            shared: Arc::clone(&shared),
        };
        let queues = Queues { urgent, frames };
        let idle = options.idle;
        let work = async move {
            let (from, to) = tokio::io::split(io);
            let reader = Reader {
                decoder: Decoder::default(),
                inflater: Inflater::new(),
                opened: opened_in,
                options,
                shared: Arc::clone(&shared),
            };
            drive(reader.read(from, read), write(to, queues, &shared), &shared, idle).await;
        };
        (connection, work)
    }

    /// The next stream that the client opens; `None`: it has gone.
    pub(in crate::streaming) async fn accept(&mut self) -> Option<Stream> {
        tokio::select! {
            stream = self.opened.recv() => stream,
            () = self.shared.gone.cancelled() => None,
        }
    }

    /// Tells when the client has gone.
    pub(in crate::streaming) fn gone(&self) -> CancellationToken {
        self.shared.gone.clone()
    }

    /// Ends the connection behind what was written on its streams.
    pub(in crate::streaming) async fn close(self) {
        self.shared.activity.close();
        let sent = self.shared.frames.send(Outgoing::GoAway(goaway::OK));
        tokio::select! {
            // Nobody writes any more.
            _ = sent => {}
            () = self.shared.gone.cancelled() => {}
        }
    }
}

impl Drop for Connection {
    /// A session that ends without a word ends its connection too.
    fn drop(&mut self) {
        if !self.shared.activity.is_closing() {
            self.shared.gone.cancel();
        }
    }
}

async fn drive<R, W>(reader: R, writer: W, shared: &Shared, idle: Duration)
where
    R: Future<Output = ()>,
    W: Future<Output = std::io::Result<()>>,
{
    tokio::pin!(reader, writer);
    tokio::select! {
        _ = &mut writer => {
            shared.gone.cancel();
            let _ = tokio::time::timeout(LINGER, reader).await;
            return;
        }
        () = &mut reader => {}
        () = shared.activity.silence(idle) => {}
        () = shared.gone.cancelled() => {}
    }
    shared.gone.cancel();
    let _ = tokio::time::timeout(LINGER, writer).await;
}

struct Reader {
    decoder: Decoder,
    inflater: Inflater,
    opened: mpsc::Sender<Stream>,
    options: Options,
    shared: Arc<Shared>,
}

impl Reader {
    /// Reads until the client has gone, or broken the protocol.
    async fn read(mut self, mut from: impl AsyncRead + Unpin, read: Bytes) {
        let mut buffer = BytesMut::from(read);
        loop {
            loop {
                let event = match self.decoder.next(&mut buffer) {
                    Ok(Some(event)) => event,
                    Ok(None) => break,
                    Err(violation) => return self.give_up(&violation.to_string()).await,
                };
                if !self.take(event).await {
                    return;
                }
            }
            buffer.reserve(CHUNK);
            match (&mut from).take(CHUNK as u64).read_buf(&mut buffer).await {
                Ok(count) if count > 0 => self.shared.activity.moves(),
                _ => return,
            }
        }
    }

    async fn give_up(&self, why: &str) {
        tracing::debug!(why, "client breaks the protocol");
        let _ = self
            .shared
            .frames
            .try_send(Outgoing::GoAway(goaway::PROTOCOL_ERROR));
    }

    /// Returns false when the client will send no more.
    async fn take(&mut self, event: Event) -> bool {
        match event {
            Event::Open { stream, fin, block } => return self.open(stream, fin, &block).await,
            Event::Block(block) => {
                if let Err(bad) = self.inflater.read(&block) {
                    self.give_up(&bad.to_string()).await;
                    return false;
                }
            }
            Event::Data { stream, bytes, fin } => self.data(stream, bytes, fin).await,
            Event::Reset { stream } => {
                if let Some(entry) = self.shared.with(|streams| streams.remove(&stream)) {
                    entry.reset.cancel();
                }
            }
            // An even one is the answer to ours.
            Event::Ping(id) if id.is_multiple_of(2) => {}
            Event::Ping(id) => self.urgent(Urgent::Ping(id)).await,
            Event::GoAway => return false,
        }
        true
    }

    async fn open(&mut self, id: u32, fin: bool, block: &[u8]) -> bool {
        // Whatever becomes of the stream: the next block builds on this one.
        let headers = match self.inflater.read(block) {
            Ok(headers) => headers,
            Err(bad) => {
                self.give_up(&bad.to_string()).await;
                return false;
            }
        };
        if id.is_multiple_of(2) || id <= self.shared.last() || id > i32::MAX as u32 {
            self.urgent(Urgent::Reset(id, reset::PROTOCOL_ERROR)).await;
            return true;
        }
        self.shared.last.store(id, Ordering::Relaxed);
        if self.shared.with(|streams| streams.len()) >= STREAMS {
            self.urgent(Urgent::Reset(id, reset::REFUSED_STREAM)).await;
            return true;
        }
        let (pieces_in, pieces) = mpsc::channel(PIECES);
        let token = CancellationToken::new();
        let entry = Entry {
            pieces: (!fin).then_some(pieces_in),
            reset: token.clone(),
        };
        self.shared.with(|streams| streams.insert(id, entry));
        let registered = Registered {
            id,
            shared: Arc::clone(&self.shared),
            reset: token,
        };
        let stream = Stream::new(headers, pieces, self.shared.frames.clone(), registered);
        if self.opened.send(stream).await.is_err() {
            self.urgent(Urgent::Reset(id, reset::REFUSED_STREAM)).await;
        }
        true
    }

    /// Hands data to its stream. What is for a stream that has ended, or that nobody reads, is dropped.
    async fn data(&self, id: u32, bytes: Bytes, fin: bool) {
        let Some(pieces) = self.shared.with(|streams| streams.get(&id)?.pieces.clone()) else {
            return;
        };
        if !bytes.is_empty() && !self.hand_over(&pieces, bytes).await {
            tracing::debug!(stream = id, "nobody takes its data, cutting it off");
            if let Some(entry) = self.shared.with(|streams| streams.remove(&id)) {
                entry.reset.cancel();
            }
            self.urgent(Urgent::Reset(id, reset::CANCEL)).await;
        }
        if fin {
            self.shared.with(|streams| streams.get_mut(&id)?.pieces.take());
        }
    }

    /// Returns false when it took too long.
    async fn hand_over(&self, to: &mpsc::Sender<Bytes>, piece: Bytes) -> bool {
        let piece = match to.try_send(piece) {
            Err(mpsc::error::TrySendError::Full(piece)) => piece,
            _ => return true,
        };
        let patience = async {
            match self.options.patience {
                Some(patience) => tokio::time::sleep(patience).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // An error: nobody will read it.
            _ = to.send(piece) => true,
            () = patience => false,
            () = self.probe() => true,
            () = hung_up(self.options.socket.as_ref()) => {
                self.shared.gone.cancel();
                true
            }
        }
    }

    /// Sends pings: the end of a client that has died waits behind the data that it has sent, but its kernel answers what
    /// it is sent itself with a reset.
    async fn probe(&self) {
        loop {
            tokio::time::sleep(PROBE).await;
            self.urgent(Urgent::Ping(2)).await;
        }
    }

    async fn urgent(&self, frame: Urgent) {
        // Fails when nobody writes any more.
        let _ = self.shared.urgent.send(frame).await;
    }
}
