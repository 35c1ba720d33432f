//! A stream of bytes within WebSocket messages, whose borders mean nothing.

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::transport::Transport;
use super::websocket;

/// Most bytes of one message, and of what waits in either direction.
const CHUNK: usize = 32 << 10;

/// Opens the tunnel. The future carries the bytes until either side ends; its owner polls it beside what uses the stream.
pub(super) fn open(transport: Transport, read: Bytes) -> (DuplexStream, impl Future<Output = ()> + Send) {
    let (theirs, ours) = tokio::io::duplex(CHUNK);
    let work = async move {
        let mut socket = websocket::begin(transport, read).await;
        let (mut from, mut to) = tokio::io::split(ours);
        {
            let (mut sink, mut source) = (&mut socket).split();
            let up = async {
                // Past the client's close message too: the library answers it only then.
                while let Some(Ok(message)) = source.next().await {
                    let taken = match message {
                        Message::Binary(bytes) => to.write_all(&bytes).await,
                        Message::Text(_) => return,
                        _ => Ok(()),
                    };
                    if taken.is_err() {
                        return;
                    }
                }
            };
            let down = async {
                let mut chunk = BytesMut::new();
                loop {
                    chunk.reserve(CHUNK);
                    match from.read_buf(&mut chunk).await {
                        Ok(count) if count > 0 => {}
                        _ => return,
                    }
                    if sink.send(Message::Binary(chunk.split().freeze())).await.is_err() {
                        return;
                    }
                }
            };
            tokio::select! {
                () = up => {}
                () = down => {}
            }
        }
        drop((from, to));
        websocket::end(&mut socket, CloseCode::Normal).await;
    };
    (theirs, work)
}
