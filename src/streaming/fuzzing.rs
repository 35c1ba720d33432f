//! Doors for fuzzing: each takes what a client may send, and panics at what must not come of it. Not in an ordinary build.

use std::io;

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::io::AsyncRead;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::io::StreamReader;

use super::channels::Encoding;
use super::{spdy, websocket};

/// How to cut, and the bytes of a SPDY connection: whatever the cuts, the same is read, and the session ends with it.
pub fn spdy(data: &[u8]) {
    if let Some((cut, data)) = data.split_first() {
        spdy::fuzzing::events(data, usize::from(*cut) + 1);
        spdy::fuzzing::connection(data, usize::from(*cut) + 1);
    }
}

/// How to cut, and the bytes behind a WebSocket handshake: whatever the cuts, the same messages are read, and what one has
/// for a channel can be written.
pub fn websocket(data: &[u8]) {
    let Some((cut, data)) = data.split_first() else {
        return;
    };
    let read = messages(data, data.len().max(1));
    assert_eq!(read, messages(data, usize::from(*cut) + 1));
    for message in read.0 {
        let base64 = message.is_text();
        let Some((channel, contents)) = Encoding::decode(message) else {
            continue;
        };
        // One digit is all that text has for a channel.
        if !base64 || channel < 10 {
            let written = Encoding { base64 }.encode(channel, &contents);
            assert_eq!(Encoding::decode(written), Some((channel, contents)));
        }
    }
}

/// The messages up to the first error, and its text.
fn messages(data: &[u8], piece: usize) -> (Vec<Message>, Option<String>) {
    let read = async {
        let io = tokio::io::join(pieces(data, piece), tokio::io::sink());
        let mut socket = websocket::begin(io, Bytes::new()).await;
        let mut messages = vec![];
        loop {
            match socket.next().await {
                Some(Ok(message)) => messages.push(message),
                Some(Err(error)) => return (messages, Some(error.to_string())),
                None => return (messages, None),
            }
        }
    };
    read.now_or_never().expect("nothing has to be waited for")
}

/// Reads data in pieces of a length.
pub(super) fn pieces(data: &[u8], length: usize) -> impl AsyncRead + Send + Unpin + 'static {
    let pieces: Vec<io::Result<Bytes>> = data
        .chunks(length)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    StreamReader::new(futures_util::stream::iter(pieces))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_send_passes() {
        // A masked text message for channel 0, and a close.
        let text = [
            0x81,
            0x85,
            1,
            2,
            3,
            4,
            b'0' ^ 1,
            b'Y' ^ 2,
            b'Q' ^ 3,
            b'=' ^ 4,
            b'=' ^ 1,
        ];
        websocket(&[&[2], &text[..], &[0x88, 0x80, 0, 0, 0, 0]].concat());
        // SPDY: data for a stream that is not there, a ping, GOAWAY.
        let frames = [
            &[0, 0, 0, 1, 0, 0, 0, 3][..],
            b"abc",
            &[0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1],
            &[0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0],
        ];
        spdy(&[&[4], &frames.concat()[..]].concat());
    }
}
