//! Brings one image's layers into the store: several at a time, each streamed once from its source into its directory.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::PullProgress;
use super::artifact::{Form, Piece, archive};
use super::blocking::blocking;
use super::content::Content;
use super::digest::{Digest, Hash};
use super::error::ImageError;
use super::layers::{Layer, LayerKey, Layers, Turn};
use super::manifest::Descriptor;
use super::record::LayerRef;
use super::settle::settle;
use super::staging::Staging;
use super::unpack::{LayerFacts, Limits, Pending, Request, UnpackError, content, unpack};
use crate::sys::planted;
use crate::telemetry::{self, Stage, traces};

/// Parts of a blob that wait for the unpacker: about a megabyte.
const PARTS_AHEAD: usize = 16;
/// Packed bytes from which on a thread more is worth it.
const LARGE: u64 = 8 << 20;

/// What brings layers in. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Fetcher {
    pub layers: Arc<Layers>,
    /// Layers of one image in work at a time. Not of all images: one whose registry stalls holds up no other.
    pub at_once: usize,
    pub limits: Limits,
    pub timeout: Duration,
}

/// One layer that is wanted.
#[derive(Clone, Debug)]
struct Wanted {
    index: usize,
    blob: Descriptor,
    layer: LayerRef,
    form: Form,
}

impl Wanted {
    /// Whether nothing below counts: an artifact's pieces hide nothing of each other.
    fn is_bottom(&self) -> bool {
        self.index == 0 || self.form != Form::Layer
    }
}

/// How a layer was come by.
enum Brought {
    Ready(Arc<Layer>),
    /// Unpacked, to be completed from the layers below it.
    Unsettled(Staging, LayerFacts, Pending),
}

impl Fetcher {
    /// Brings in all layers, lowest first. When one fails the others are given up.
    pub(super) async fn fetch(
        &self,
        source: Arc<Content>,
        wanted: Vec<Piece>,
        progress: &watch::Sender<PullProgress>,
    ) -> Result<Vec<Arc<Layer>>, ImageError> {
        let mut wanted: Vec<_> = wanted
            .into_iter()
            .enumerate()
            .map(|(index, Piece { blob, layer, form })| Wanted {
                index,
                blob,
                layer,
                form,
            })
            .collect();
        let refs: Vec<_> = wanted.iter().map(|w| w.layer.clone()).collect();
        let mut brought: Vec<_> = refs.iter().map(|_| None).collect();
        // The largest decides when all is done.
        wanted.sort_by_key(|w| std::cmp::Reverse(w.blob.size));
        let mut tasks = JoinSet::new();
        let permits = Arc::new(Semaphore::new(self.at_once.max(1)));
        for layer in wanted {
            let permits = Arc::clone(&permits);
            let (fetcher, source, progress) = (self.clone(), Arc::clone(&source), progress.clone());
            let span = traces::part("layer", &[("digest", layer.blob.digest.as_str())]);
            let bring = async move {
                let lost = |e: tokio::sync::AcquireError| ImageError::Task(e.to_string());
                let permit = permits.acquire_owned().await.map_err(lost)?;
                let index = layer.index;
                let brought = fetcher.layer(&source, &layer, &progress, permit).await?;
                progress.send_modify(|p| p.finish(index));
                Ok::<_, ImageError>((index, brought))
            };
            tasks.spawn(bring.instrument(span).in_current_span());
        }
        while let Some(done) = tasks.join_next().await {
            let (index, layer) = done.map_err(|e| ImageError::Task(e.to_string()))??;
            brought[index] = Some(layer);
        }
        let mut layers: Vec<Arc<Layer>> = Vec::with_capacity(refs.len());
        for (layer, name) in brought.into_iter().flatten().zip(refs) {
            let layer = match layer {
                Brought::Ready(layer) => layer,
                Brought::Unsettled(staging, facts, pending) => {
                    self.settle(staging, facts, pending, &layers, name).await?
                }
            };
            layers.push(layer);
        }
        Ok(layers)
    }

    /// Finds a layer, waits for whoever brings it in, or does so. The permit is for all but waiting for the disk.
    async fn layer(
        &self,
        source: &Content,
        wanted: &Wanted,
        progress: &watch::Sender<PullProgress>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Brought, ImageError> {
        let LayerRef { diff_id, chain_id } = &wanted.layer;
        let bottom = wanted.index == 0;
        let mut waited = false;
        loop {
            if let Some(layer) = self.layers.find(diff_id, chain_id, bottom) {
                return Ok(Brought::Ready(layer));
            }
            let claim = match self.layers.claim(diff_id) {
                Turn::Mine(claim) => Some(claim),
                // Another image's registry may stall: then it is brought in twice, and who is first wins.
                Turn::Theirs(_) if waited => None,
                Turn::Theirs(mut end) => {
                    // Its sender says nothing and goes when the attempt is over.
                    waited = tokio::time::timeout(self.timeout, end.changed()).await.is_err();
                    continue;
                }
            };
            // It may have come between the look and the claim.
            if let Some(layer) = self.layers.find(diff_id, chain_id, bottom) {
                return Ok(Brought::Ready(layer));
            }
            let (staging, facts, pending) = self.stream(source, wanted, progress).await?;
            if !pending.is_empty() && !bottom {
                return Ok(Brought::Unsettled(staging, facts, pending));
            }
            let key = bottom_or_free(wanted, &facts, &pending)?;
            drop(permit);
            let layer = self.layers.commit(staging, key, facts).await?;
            drop(claim);
            return Ok(Brought::Ready(layer));
        }
    }

    /// Streams a blob into a staging directory, and checks every digest on the way.
    async fn stream(
        &self,
        source: &Content,
        wanted: &Wanted,
        progress: &watch::Sender<PullProgress>,
    ) -> Result<(Staging, LayerFacts, Pending), ImageError> {
        let _underway = telemetry::begin(Stage::Layer);
        let staging = self.layers.stage()?;
        let (sender, receiver) = mpsc::channel(PARTS_AHEAD);
        let (limits, unpacked) = (self.limits, wanted.clone());
        // Ends when the sender goes: the thread never outlives an abandoned pull for long.
        let unpacked = blocking(move || unpack_from(receiver, staging, &unpacked, limits));
        let index = wanted.index;
        let sent = source.send(&wanted.blob, self.timeout, sender, |received| {
            progress.send_modify(|p| p.receive(index, received));
        });
        let (sent, unpacked) = tokio::join!(sent, unpacked);
        // What stopped the bytes is the cause of what the unpacker says.
        sent?;
        unpacked
    }

    async fn settle(
        &self,
        staging: Staging,
        mut facts: LayerFacts,
        pending: Pending,
        below: &[Arc<Layer>],
        name: LayerRef,
    ) -> Result<Arc<Layer>, ImageError> {
        let below: Vec<Arc<Layer>> = below.iter().rev().cloned().collect();
        let (diff_id, limit) = (name.diff_id, self.limits.bytes);
        let (staging, facts) = blocking(move || {
            let paths: Vec<_> = below.iter().map(|l| l.path()).collect();
            match settle(&content(staging.path()), &pending, &paths, limit, &mut facts) {
                Ok(()) => Ok((staging, facts)),
                Err(source) => Err(ImageError::Layer {
                    digest: diff_id,
                    source,
                }),
            }
        })
        .await?;
        self.layers
            .commit(staging, LayerKey::Based(name.chain_id), facts)
            .await
    }
}

/// The key of a layer that needs nothing from below, or has nothing below.
fn bottom_or_free(wanted: &Wanted, facts: &LayerFacts, pending: &Pending) -> Result<LayerKey, ImageError> {
    if let Some((path, target)) = pending.links.first() {
        let (path, target) = (String::from_utf8_lossy(path), String::from_utf8_lossy(target));
        let text = format!("hard link {path} has no target {target}");
        return Err(layer_error(&wanted.blob, UnpackError::Malformed(text)));
    }
    Ok(match pending.is_empty() && !facts.bottom_only {
        true => LayerKey::Free(wanted.layer.diff_id.clone()),
        false => LayerKey::Based(wanted.layer.chain_id.clone()),
    })
}

fn layer_error(blob: &Descriptor, source: UnpackError) -> ImageError {
    ImageError::Layer {
        digest: blob.digest.to_string(),
        source,
    }
}

fn unpack_from(
    receiver: mpsc::Receiver<Bytes>,
    staging: Staging,
    wanted: &Wanted,
    limits: Limits,
) -> Result<(Staging, LayerFacts, Pending), ImageError> {
    let Wanted {
        blob, layer, form, ..
    } = wanted;
    let mut packed = Packed::new(receiver, blob);
    let request = Request {
        staging: staging.path(),
        limits,
        bottom: wanted.is_bottom(),
        aside: blob.size >= LARGE,
    };
    let result = match form {
        Form::Layer | Form::Directory => unpack(&mut packed, request),
        Form::File(name) => archive(&mut packed, name, blob.size)
            .map_err(UnpackError::Read)
            .and_then(|archive| unpack(archive, request)),
    };
    if matches!(
        result,
        Err(UnpackError::Write { .. } | UnpackError::TooLarge { .. })
    ) {
        return Err(layer_error(blob, result.expect_err("matched above")));
    }
    // Broken content is most often other content than was promised: say that first.
    packed.check(blob)?;
    let (mut facts, pending) = result.map_err(|e| layer_error(blob, e))?;
    let diff_id = &layer.diff_id;
    if *form != Form::Layer {
        // Nobody said what the archive would be: the blob's digest has held all of it.
        facts.diff_id.clone_from(diff_id);
    }
    if facts.diff_id != *diff_id && !planted("inflated-digest") {
        return Err(ImageError::Mismatch {
            what: format!("inflated digest of layer {}", blob.digest),
            expected: diff_id.clone(),
            received: facts.diff_id,
        });
    }
    Ok((staging, facts, pending))
}

/// The packed bytes of a layer as a blocking reader that hashes what passes.
struct Packed {
    receiver: mpsc::Receiver<Bytes>,
    part: Bytes,
    hash: Hash,
    left: u64,
}

impl Packed {
    fn new(receiver: mpsc::Receiver<Bytes>, blob: &Descriptor) -> Packed {
        Packed {
            receiver,
            part: Bytes::new(),
            hash: blob.digest.hash(),
            left: blob.size,
        }
    }

    /// Reads to the end and compares with the digest.
    fn check(mut self, blob: &Descriptor) -> Result<(), ImageError> {
        io::copy(&mut self, &mut io::sink()).map_err(|e| layer_error(blob, UnpackError::Read(e)))?;
        let received: Digest = self.hash.finish();
        if received == blob.digest || planted("layer-digest") {
            return Ok(());
        }
        Err(ImageError::Mismatch {
            what: "digest of layer".to_owned(),
            expected: blob.digest.to_string(),
            received: received.to_string(),
        })
    }
}

impl Read for Packed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Packed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.part.is_empty() {
            match self.receiver.blocking_recv() {
                Some(part) => {
                    self.hash.update(&part);
                    self.left = self.left.saturating_sub(part.len() as u64);
                    self.part = part;
                }
                None if self.left > 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                None => {}
            }
        }
        Ok(&self.part)
    }

    fn consume(&mut self, count: usize) {
        self.part.advance(count);
    }
}
