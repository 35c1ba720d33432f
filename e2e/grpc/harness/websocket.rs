//! A streaming client by hand, for what crictl does only on a terminal of its own: messages of a WebSocket.

use futures_util::{SinkExt, StreamExt};
use std::path::Path;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

/// A session's connection.
pub(crate) struct Session<T = TcpStream>(WebSocketStream<T>);

impl Session {
    /// Comes with a URL, and one protocol to choose from.
    pub(crate) async fn open(url: &str, protocol: &str) -> Session {
        let rest = url.strip_prefix("http://").unwrap();
        let (address, _) = rest.split_once('/').unwrap();
        let tcp = TcpStream::connect(address).await.unwrap();
        let agreed = agree(tcp, rest, protocol).await;
        agreed.unwrap_or_else(|(status, text)| panic!("{url}: {status}: {text}"))
    }
}

impl Session<UnixStream> {
    /// Comes to a socket with a path and its query; or the status and text with which it is sent away.
    pub(crate) async fn on(socket: &Path, path: &str) -> Result<Session<UnixStream>, (u16, String)> {
        let unix = UnixStream::connect(socket).await.unwrap();
        agree(unix, &format!("api{path}"), "v5.channel.k8s.io").await
    }
}

async fn agree<T>(io: T, place: &str, protocol: &str) -> Result<Session<T>, (u16, String)>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = format!("ws://{place}").into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("Sec-WebSocket-Protocol", protocol.parse().unwrap());
    match tokio_tungstenite::client_async(request, io).await {
        Ok((session, _)) => Ok(Session(session)),
        Err(Error::Http(answer)) => {
            let body = answer.body().clone().unwrap_or_default();
            Err((answer.status().as_u16(), String::from_utf8(body).unwrap()))
        }
        Err(error) => panic!("{place}: {error}"),
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Session<T> {
    /// Sends a message to a channel.
    pub(crate) async fn send(&mut self, channel: u8, contents: &str) {
        let message = [&[channel], contents.as_bytes()].concat();
        self.0.send(Message::Binary(message.into())).await.unwrap();
    }

    /// The next message that is not empty, and its channel; `None`: the session is over, in good order.
    pub(crate) async fn next(&mut self) -> Option<(u8, String)> {
        loop {
            match self.0.next().await?.unwrap() {
                Message::Binary(message) if message.len() > 1 => {
                    return Some((message[0], String::from_utf8_lossy(&message[1..]).into_owned()));
                }
                Message::Close(frame) => assert_eq!(u16::from(frame.unwrap().code), 1000),
                _ => {}
            }
        }
    }

    /// Waits until a channel has said so.
    pub(crate) async fn says(&mut self, channel: u8, text: &str) {
        let mut said = String::new();
        while !said.contains(text) {
            let next = self.next().await;
            let (of, more) = next.unwrap_or_else(|| panic!("the session is over, without {text}: {said}"));
            if of == channel {
                said += &more;
            }
        }
    }
}
