//! The bytes below a session: a TCP connection, with TLS on it or not, or one of a unix socket.

use std::future::pending;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// How often a client that cannot be read from is looked after.
pub(super) const PROBE: Duration = Duration::from_secs(5);

/// A client's connection.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl Transport {
    /// The socket, once more: for [`hung_up`].
    pub(super) fn socket(&self) -> Option<OwnedFd> {
        let socket = match self {
            Transport::Plain(tcp) => tcp.as_fd(),
            Transport::Tls(tls) => tls.get_ref().0.as_fd(),
            Transport::Unix(unix) => unix.as_fd(),
        };
        socket.try_clone_to_owned().ok()
    }
}

/// Returns when the client has closed its side of a socket, though nobody reads what it has sent before. Never without a
/// socket. A client that died with data under way is found only if something is sent to it meanwhile.
pub(super) async fn hung_up(socket: Option<&OwnedFd>) {
    let again = socket.and_then(|fd| fd.try_clone().ok());
    // Whatever the socket's family: only its readiness is asked for.
    let Some(Ok(watched)) = again.map(|fd| TcpStream::from_std(fd.into())) else {
        return pending().await;
    };
    while let Ok(ready) = watched.ready(Interest::READABLE).await {
        if ready.is_read_closed() {
            return;
        }
        // More has arrived, which is not what is waited for: clears the readiness.
        let _ = watched.try_io(Interest::READABLE, || -> io::Result<()> {
            Err(io::ErrorKind::WouldBlock.into())
        });
    }
    pending().await
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(tcp) => Pin::new(tcp).poll_read(context, to),
            Transport::Tls(tls) => Pin::new(tls).poll_read(context, to),
            Transport::Unix(unix) => Pin::new(unix).poll_read(context, to),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Transport::Tls(tls) => Pin::new(tls).poll_write(context, bytes),
            Transport::Unix(unix) => Pin::new(unix).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(tcp) => Pin::new(tcp).poll_flush(context),
            Transport::Tls(tls) => Pin::new(tls).poll_flush(context),
            Transport::Unix(unix) => Pin::new(unix).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
            Transport::Tls(tls) => Pin::new(tls).poll_shutdown(context),
            Transport::Unix(unix) => Pin::new(unix).poll_shutdown(context),
        }
    }
}
