//! The front for WebSocket: every message begins with the number of its channel.
//!
//! | channel | from the client | to the client |
//! | --- | --- | --- |
//! | 0 | standard input | |
//! | 1, 2 | | standard output, standard error |
//! | 3 | | the outcome |
//! | 4 | sizes of the terminal | |
//! | 255 | the channel that ends (version 5) | |

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_util::io::StreamReader;
use tokio_util::sync::{CancellationToken, PollSender};

use super::activity::Activity;
use super::command::{Ends, SIZES, Work, run};
use super::resize::Sizes;
use super::transport::{PROBE, Transport, hung_up};
use super::upgrade::Version;
use super::websocket::{self, Socket};
use super::{Backend, Streams, outcome};
use crate::model::{TerminalSize, Writer};

pub(super) const STDIN: u8 = 0;
pub(super) const STDOUT: u8 = 1;
pub(super) const STDERR: u8 = 2;
pub(super) const ERROR: u8 = 3;
pub(super) const RESIZE: u8 = 4;
pub(super) const CLOSE: u8 = 255;

/// Most bytes of one message, and of one piece of input.
const CHUNK: usize = 32 << 10;
/// Pieces of input that the command may lag behind before nothing more is read. Much: clients give up when they get no
/// answer to their pings for a minute, and those stand behind the input.
const PIECES: usize = 128;
/// Messages that wait to be written.
const MESSAGES: usize = 16;

/// How channels are written in messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoding {
    /// As text, in base64.
    pub(super) base64: bool,
}

impl Encoding {
    pub(super) fn encode(self, channel: u8, bytes: &[u8]) -> Message {
        match self.base64 {
            false => Message::Binary([&[channel], bytes].concat().into()),
            true => Message::text(format!("{channel}{}", STANDARD.encode(bytes))),
        }
    }

    /// Channel and contents. Either form is taken, whatever was agreed on.
    pub(super) fn decode(message: Message) -> Option<(u8, Bytes)> {
        match message {
            Message::Binary(mut bytes) if !bytes.is_empty() => {
                let contents = bytes.split_off(1);
                Some((bytes[0], contents))
            }
            Message::Text(text) => {
                let (channel, contents) = text.split_at_checked(1)?;
                Some((channel.parse().ok()?, STANDARD.decode(contents).ok()?.into()))
            }
            _ => None,
        }
    }
}

/// What was agreed on, and what is to be served.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) version: Version,
    pub(super) encoding: Encoding,
    pub(super) work: Work,
    /// Without data in either direction for so long, it ends.
    pub(super) idle: Duration,
    /// The server ends.
    pub(super) stop: CancellationToken,
}

/// Why nothing more is read or written.
enum End {
    /// The outcome is told.
    Done,
    /// The client breaks the protocol.
    Broken,
    /// The client has gone, or is silent.
    Gone,
}

/// Serves one session with a process.
pub(super) async fn serve(transport: Transport, read: Bytes, session: Session, backend: &impl Backend) {
    let Session {
        version,
        encoding,
        work,
        idle,
        stop,
    } = session;
    let below = transport.socket();
    let (mut sink, mut source) = websocket::begin(transport, read).await.split();
    let (activity, streams) = (Activity::new(), work.streams());
    let (to, queue) = mpsc::channel(MESSAGES);
    let output = |channel| ChannelWriter {
        messages: PollSender::new(to.clone()),
        encoding,
        channel,
    };
    let writer = |wanted: bool, channel| wanted.then(|| -> Writer { Box::new(output(channel)) });
    let (stdin_in, stdin) = mpsc::channel(PIECES);
    let (resize_in, resize) = mpsc::channel(SIZES);
    let ends = Ends {
        stdin: streams
            .stdin
            .then(|| Box::new(StreamReader::new(Pieces(stdin))) as _),
        stdout: writer(streams.stdout, STDOUT),
        stderr: writer(streams.stderr, STDERR),
        resize: streams.tty.then_some(resize),
    };
    let inputs = Inputs {
        version,
        stdin: streams.stdin.then_some(stdin_in),
        resize: streams.tty.then_some(resize_in),
        sizes: Sizes::default(),
        below,
        to: to.downgrade(),
    };
    let session = async {
        // An empty message is the sign that the session is there.
        let _ = to.send(encoding.encode(lowest(streams), &[])).await;
        let outcome = run(backend, work, ends, &stop).await;
        let report = outcome::report(version, &outcome);
        if !report.is_empty() {
            let _ = to.send(encoding.encode(ERROR, &report)).await;
        }
        activity.close();
        drop(to);
    };
    let end = tokio::select! {
        ((), ()) = async { tokio::join!(session, write(&mut sink, queue, &activity)) } => End::Done,
        end = inputs.take_all(&mut source, &activity) => end,
        () = activity.silence(idle) => End::Gone,
    };
    let Ok(mut socket) = sink.reunite(source) else {
        return;
    };
    match end {
        End::Done => websocket::end(&mut socket, CloseCode::Normal).await,
        End::Broken => websocket::end(&mut socket, CloseCode::Protocol).await,
        End::Gone => {}
    }
}

fn lowest(streams: Streams) -> u8 {
    match streams {
        Streams { stdout: true, .. } => STDOUT,
        Streams { stderr: true, .. } => STDERR,
        _ => ERROR,
    }
}

/// Writes until nobody has anything to write any more, or the client takes no more.
async fn write(
    sink: &mut SplitSink<Socket<Transport>, Message>,
    mut queue: mpsc::Receiver<Message>,
    activity: &Activity,
) {
    while let Some(message) = queue.recv().await {
        let mut sent = sink.feed(message).await;
        while let (Ok(()), Ok(message)) = (&sent, queue.try_recv()) {
            sent = sink.feed(message).await;
        }
        if sent.is_err() || sink.flush().await.is_err() {
            return;
        }
        activity.moves();
    }
}

/// Where the client's messages go.
struct Inputs {
    version: Version,
    stdin: Option<mpsc::Sender<Bytes>>,
    resize: Option<mpsc::Sender<TerminalSize>>,
    sizes: Sizes,
    below: Option<OwnedFd>,
    /// To the client; weak, because it is done when nobody else has anything to say.
    to: mpsc::WeakSender<Message>,
}

impl Inputs {
    async fn take_all(mut self, source: &mut SplitStream<Socket<Transport>>, activity: &Activity) -> End {
        // Past the client's close message too: the library answers it only then.
        while let Some(Ok(message)) = source.next().await {
            let Some((channel, contents)) = Encoding::decode(message) else {
                continue;
            };
            activity.moves();
            match channel {
                STDIN if self.input(contents.clone()).await => {}
                STDIN => return End::Gone,
                RESIZE => self.sizes(&contents).await,
                CLOSE if self.version == Version::V5 => match contents[..] {
                    [STDIN] => self.stdin = None,
                    [RESIZE] => self.resize = None,
                    [STDOUT | STDERR | ERROR] => {}
                    _ => return End::Broken,
                },
                _ => {}
            }
        }
        End::Gone
    }

    /// Returns false when the client has gone while it had to wait.
    async fn input(&mut self, mut contents: Bytes) -> bool {
        while let Some(to) = self.stdin.as_ref().filter(|_| !contents.is_empty()) {
            let piece = contents.split_to(contents.len().min(CHUNK));
            let piece = match to.try_send(piece) {
                Ok(()) => continue,
                // The command reads no more: what comes is dropped.
                Err(mpsc::error::TrySendError::Closed(_)) => return true,
                Err(mpsc::error::TrySendError::Full(piece)) => piece,
            };
            tokio::select! {
                _ = to.send(piece) => {}
                () = hung_up(self.below.as_ref()) => return false,
                () = self.probe() => {}
            }
        }
        true
    }

    /// Sends pings, for [`hung_up`].
    async fn probe(&self) {
        loop {
            tokio::time::sleep(PROBE).await;
            if let Some(to) = self.to.upgrade() {
                let _ = to.send(Message::Ping(Bytes::new())).await;
            }
        }
    }

    async fn sizes(&mut self, contents: &[u8]) {
        for size in self.sizes.push(contents) {
            if let Some(to) = &self.resize {
                let _ = to.send(size).await;
            }
        }
    }
}

/// Input in pieces, as a stream that can be read.
struct Pieces(mpsc::Receiver<Bytes>);

impl futures_util::Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|piece| piece.map(Ok))
    }
}

/// An output as messages of its channel. Its end is told by the end of the session only.
struct ChannelWriter {
    messages: PollSender<Message>,
    encoding: Encoding,
    channel: u8,
}

impl AsyncWrite for ChannelWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        ready!(self.messages.poll_reserve(context)).map_err(gone)?;
        let bytes = &bytes[..bytes.len().min(CHUNK)];
        let message = self.encoding.encode(self.channel, bytes);
        let sent = self.messages.send_item(message).map_err(gone);
        Poll::Ready(sent.map(|()| bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.messages.close();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_carry_channel_and_contents_either_way() {
        for base64 in [false, true] {
            let message = Encoding { base64 }.encode(STDERR, b"a\xff");
            assert_eq!(message.is_text(), base64);

            assert_eq!(
                Encoding::decode(message),
                Some((STDERR, Bytes::from_static(b"a\xff")))
            );
        }
        assert_eq!(Encoding { base64: true }.encode(1, b"hi"), Message::text("1aGk="));
    }

    #[test]
    fn messages_without_a_channel_are_none() {
        for message in [
            Message::Binary(Bytes::new()),
            Message::text(""),
            Message::text("x"),
            Message::text("1?"),
            Message::text("\u{e4}"),
            Message::Ping(Bytes::new()),
        ] {
            assert_eq!(Encoding::decode(message), None);
        }
    }
}
