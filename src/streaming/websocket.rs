//! WebSocket messages over a client's connection. The framing is a library's; here are its limits and its orderly end.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

/// Longest message that is taken.
const LONGEST: usize = 16 << 20;
/// How long the client has to answer the end.
const LINGER: Duration = Duration::from_secs(5);

/// A connection of messages.
pub(super) type Socket<T> = WebSocketStream<T>;

/// Begins a connection whose handshake is done, and of which `read` was read already.
pub(super) async fn begin<T: AsyncRead + AsyncWrite + Unpin>(io: T, read: Bytes) -> Socket<T> {
    let config = WebSocketConfig::default()
        .read_buffer_size(32 << 10)
        .write_buffer_size(64 << 10)
        .max_message_size(Some(LONGEST))
        .max_frame_size(Some(LONGEST));
    WebSocketStream::from_partially_read(io, read.to_vec(), Role::Server, Some(config)).await
}

/// Says that all was well, which clients insist on, and waits a while for the client to have heard it.
pub(super) async fn end<T: AsyncRead + AsyncWrite + Unpin>(socket: &mut Socket<T>, code: CloseCode) {
    let frame = CloseFrame {
        code,
        reason: Default::default(),
    };
    let close = async {
        if socket.send(Message::Close(Some(frame))).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    let _ = tokio::time::timeout(LINGER, close).await;
}
