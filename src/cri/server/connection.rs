//! A client's connection that can be cut from outside: what bounds a drain.
//!
//! The transport waits for its connections to end, and one with an endless stream on it never does. So each
//! is wrapped, and its reads and writes fail once the cut is made. What is read has gone through [`Authorities`].

use std::{
    future::Future,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::stream::{self, Stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{UnixListener, UnixStream},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, UdsConnectInfo};

use super::authority::Authorities;

/// How long to leave the listener alone when a connection cannot be accepted: it stays ready, and
/// descriptors, say, come back only with time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How much is read at once.
const CHUNK: usize = 16 * 1024;

/// The connections that clients open, each cut by `cut`. Never ends and never fails.
pub(super) fn accepted(
    listener: UnixListener,
    cut: CancellationToken,
) -> impl Stream<Item = io::Result<Connection>> {
    stream::unfold((listener, cut), async |(listener, cut)| {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connection = Connection {
                        stream,
                        cut: Box::pin(cut.clone().cancelled_owned()),
                        authorities: Authorities::default(),
                        passed: vec![],
                        taken: 0,
                    };
                    return Some((Ok(connection), (listener, cut)));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

/// One connection.
pub(super) struct Connection {
    stream: UnixStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    authorities: Authorities,
    /// What came, and how much of it the transport has.
    passed: Vec<u8>,
    taken: usize,
}

impl Connection {
    /// Fails once the cut was made; until then the cut wakes the task that asks.
    fn poll_cut(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = UdsConnectInfo;

    fn connect_info(&self) -> UdsConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_cut(context)?;
        let this = &mut *self;
        while this.taken == this.passed.len() {
            this.passed.clear();
            this.taken = 0;
            let mut space = [MaybeUninit::uninit(); CHUNK];
            let mut chunk = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut chunk))?;
            match chunk.filled() {
                [] => {
                    this.authorities.end(&mut this.passed);
                    break;
                }
                came => this.authorities.pass(came, &mut this.passed),
            }
        }
        let rest = &this.passed[this.taken..];
        let now = &rest[..rest.len().min(buffer.remaining())];
        buffer.put_slice(now);
        this.taken += now.len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_cut(context)?;
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_cut(context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_cut(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
