//! Where the blobs of an image come from: a registry, or a directory on disk.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use rustix::fs::OFlags;
use tokio::io::AsyncSeekExt as _;
use tokio::sync::mpsc;
use tokio_util::io::ReaderStream;

use super::digest::Digest;
use super::error::ImageError;
use super::manifest::Descriptor;
use super::registry::{ByteStream, RegistryError, Repository, wait};
use super::unpack::Tree;
use crate::telemetry;

/// A broken transfer goes on where it stopped; so often without a byte in between.
const BROKEN_TRANSFERS: u32 = 5;
/// A transfer that brings less than this in a second, over the time in which it must make progress, counts as broken.
const LEAST_RATE: u64 = 1024;
/// So often in one blob.
const SLOW_TRANSFERS: u32 = 2;

/// A source of blobs.
#[derive(Debug)]
pub(super) enum Content {
    /// A repository of a registry.
    Repository(Repository),
    /// A directory in OCI layout, or one whose blobs have names of their own.
    Directory {
        path: PathBuf,
        tree: Tree,
        names: HashMap<Digest, Vec<u8>>,
    },
}

impl Content {
    /// Opens a blob from `offset` on.
    async fn open(&self, digest: &Digest, offset: u64) -> Result<ByteStream, ImageError> {
        match self {
            Content::Repository(repository) => Ok(repository.blob(digest, offset).await?),
            Content::Directory { path, tree, names } => {
                let name = names.get(digest).cloned().unwrap_or_else(|| blob_path(digest));
                let fail = |source| ImageError::Disk {
                    what: "read blob of",
                    path: path.join(String::from_utf8_lossy(&name).as_ref()),
                    source,
                };
                let file = open_regular(tree, &name).map_err(fail)?;
                let mut file = tokio::fs::File::from_std(file);
                file.seek(io::SeekFrom::Start(offset)).await.map_err(fail)?;
                Ok(ReaderStream::with_capacity(file, 128 << 10).boxed())
            }
        }
    }

    /// Reads a small blob whole, and checks it.
    pub(super) async fn read(&self, blob: &Descriptor, timeout: Duration) -> Result<Bytes, ImageError> {
        let (sender, mut receiver) = mpsc::channel::<Bytes>(4);
        let gather = async {
            let mut bytes = Vec::new();
            while let Some(part) = receiver.recv().await {
                bytes.extend_from_slice(&part);
            }
            bytes
        };
        let (sent, bytes) = tokio::join!(self.send(blob, timeout, sender, |_| {}), gather);
        sent?;
        let mut hash = blob.digest.hash();
        hash.update(&bytes);
        let found = hash.finish();
        if found != blob.digest {
            return Err(ImageError::Mismatch {
                what: "digest of image configuration".to_owned(),
                expected: blob.digest.to_string(),
                received: found.to_string(),
            });
        }
        Ok(bytes.into())
    }

    /// Sends a blob's bytes, all of them once, in order; ends early when nobody receives. Not more and not less than the
    /// descriptor says. `received` is told the number of bytes so far.
    pub(super) async fn send(
        &self,
        blob: &Descriptor,
        timeout: Duration,
        sender: mpsc::Sender<Bytes>,
        received: impl Fn(u64),
    ) -> Result<(), ImageError> {
        let mut offset = 0;
        let (mut broken, mut slow) = (0, 0);
        loop {
            let mut pace = Pace::new(timeout);
            let mut stream = self.open(&blob.digest, offset).await?;
            let failure = loop {
                match tokio::time::timeout(timeout, pace.time(stream.next())).await {
                    Ok(Some(Ok(part))) => {
                        if pace.is_too_slow(part.len() as u64) {
                            slow += 1;
                            let text = format!("it brings less than {LEAST_RATE} bytes a second");
                            break io::Error::new(io::ErrorKind::TimedOut, text);
                        }
                        (offset, broken) = (offset + part.len() as u64, 0);
                        if offset > blob.size {
                            return Err(wrong_size(blob, format!("more than {}", blob.size)));
                        }
                        if matches!(self, Content::Repository(_)) {
                            telemetry::pulled(part.len() as u64);
                        }
                        received(offset);
                        if !part.is_empty() && sender.send(part).await.is_err() {
                            return Ok(());
                        }
                    }
                    // All of it is there. Whether it is the right content, whoever receives it tells.
                    Ok(None | Some(Err(_))) if offset == blob.size => return Ok(()),
                    Ok(None) => break io::Error::from(io::ErrorKind::UnexpectedEof),
                    Ok(Some(Err(error))) => break error,
                    Err(_) => break io::Error::from(io::ErrorKind::TimedOut),
                }
            };
            let Content::Repository(_) = self else {
                return Err(wrong_size(blob, offset.to_string()));
            };
            broken += 1;
            tracing::debug!(digest = %blob.digest, offset, %failure, "transfer broke");
            if broken == BROKEN_TRANSFERS || slow == SLOW_TRANSFERS {
                return Err(ImageError::Registry(RegistryError::Transfer {
                    digest: blob.digest.to_string(),
                    offset,
                    size: blob.size,
                    source: failure,
                }));
            }
            wait(broken).await;
        }
    }
}

/// How fast a stream is, without the time that its receiver takes.
#[derive(Debug)]
struct Pace {
    window: Duration,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    fn new(window: Duration) -> Pace {
        Pace {
            window,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    async fn time<T>(&mut self, part: impl Future<Output = T>) -> T {
        let begun = tokio::time::Instant::now();
        let part = part.await;
        self.waited += begun.elapsed();
        part
    }

    fn is_too_slow(&mut self, bytes: u64) -> bool {
        self.bytes += bytes;
        if self.waited < self.window {
            return false;
        }
        let least = LEAST_RATE.saturating_mul(self.waited.as_secs());
        let slow = self.bytes < least;
        *self = Pace::new(self.window);
        slow
    }
}

fn wrong_size(blob: &Descriptor, received: String) -> ImageError {
    ImageError::Mismatch {
        what: format!("size of blob {}", blob.digest),
        expected: blob.size.to_string(),
        received,
    }
}

/// Path of a blob in an OCI layout (OCI image spec, "Image Layout").
pub(super) fn blob_path(digest: &Digest) -> Vec<u8> {
    let path = format!("blobs/{}", digest.as_str().replace(':', "/"));
    path.into_bytes()
}

/// Opens a regular file beneath a tree.
pub(super) fn open_regular(tree: &Tree, path: &[u8]) -> io::Result<std::fs::File> {
    let file = std::fs::File::from(tree.open_beneath(path, OFlags::RDONLY | OFlags::NONBLOCK)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    Ok(file)
}
