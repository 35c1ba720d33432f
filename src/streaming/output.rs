//! A writer that keeps what is written up to a limit, and swallows the rest: ExecSync's two streams.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use crate::sys::planted;
use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWrite;

/// What a command wrote on one stream. Clones share it.
#[derive(Clone, Debug)]
pub struct Output {
    kept: Arc<Mutex<BytesMut>>,
    cut: Arc<AtomicBool>,
    limit: usize,
}

impl Output {
    /// Keeps the first `limit` bytes. What comes after them is dropped: the command must not block on it.
    pub fn limited(limit: usize) -> Output {
        Output {
            kept: Arc::default(),
            cut: Arc::default(),
            limit,
        }
    }

    /// Takes what was kept so far.
    pub fn take(&self) -> Bytes {
        self.lock().split().freeze()
    }

    /// Whether something was dropped.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BytesMut> {
        self.kept.lock().expect("no panic happens under this lock")
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut kept = self.lock();
        let mut room = self.limit.saturating_sub(kept.len());
        if planted("output-limit") {
            room = bytes.len();
        }
        if bytes.len() > room {
            self.cut.store(true, Ordering::Relaxed);
        }
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn what_exceeds_the_limit_is_swallowed() {
        let output = Output::limited(5);
        let mut writer = output.clone();

        writer.write_all(b"abc").await.unwrap();
        writer.write_all(b"defg").await.unwrap();

        assert_eq!(output.take(), "abcde");
        assert!(output.is_cut());
    }
}
