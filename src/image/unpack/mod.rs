//! Turns one packed layer into one directory that overlayfs can use as a lower one.
//!
//! One pass: bytes are hashed as packed (by the caller's reader), inflated, hashed again and written. A layer is unpacked
//! alone into an empty directory; nothing below it is mounted or read. What only the layers below can tell, a parent
//! directory's mode or a hard link's target, is left in [`Pending`] for the layer store to settle.

mod archive;
mod aside;
mod attributes;
mod data;
mod decode;
mod pax;
mod sparse;
#[cfg(test)]
mod tests;
mod times;
mod tree;
mod write;

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

#[cfg(any(test, feature = "fuzzing"))]
pub(super) use decode::inflate;
pub(super) use tree::{Tree, is_opaque, is_whiteout, remove_all, split};

/// What a layer must not exceed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Inflated bytes; the holes of sparse files count.
    pub bytes: u64,
    /// Entries of the archive.
    pub entries: u64,
    /// Names in an entry's path, one below the other.
    pub depth: usize,
    /// How many times larger it may be inflated than packed; 0 is no limit. Small layers may be more.
    pub ratio: u64,
    /// Inflated bytes from which on the ratio counts: a layer of one empty file is packed well.
    pub ratio_from: u64,
}

/// What the limit of bytes is of, for people.
pub(super) const BYTES: &str = "inflated bytes (images.max_layer_bytes)";

/// Where and how a layer is unpacked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    /// An empty directory of ours, mode 0700. Gets `fs` and `files`.
    pub staging: &'a Path,
    /// The limits.
    pub limits: Limits,
    /// The layer is an image's lowest: its whiteouts hide nothing and are dropped.
    pub bottom: bool,
    /// The layer is large: it is inflated in a thread of its own.
    pub aside: bool,
}

/// What is known of a layer once it is unpacked; kept beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LayerFacts {
    /// Digest of the inflated layer.
    pub diff_id: String,
    /// Bytes on disk, in blocks of 4 KiB, hard links once.
    pub bytes: u64,
    /// Inodes on disk.
    pub inodes: u64,
    /// Owner and mode that the layer gives the root directory.
    pub root: Option<RootAttributes>,
    /// The root directory is opaque: no layer below is seen.
    pub root_opaque: bool,
    /// It has whiteouts, and so must not be the lowest.
    pub whiteouts: bool,
    /// Whiteouts were dropped, and so it must be the lowest.
    pub bottom_only: bool,
    /// The list of its files says all that became of them, so that they can be compared with it.
    #[serde(default)]
    pub listed: bool,
    /// Sum of that list.
    #[serde(default)]
    pub list_sum: Option<u64>,
    /// Sum over owners, modes, times and links.
    #[serde(default)]
    pub attributes_sum: Option<u64>,
}

/// Owner and mode of a root directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RootAttributes {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// What only the layers below can tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pending {
    /// Directories that the archive uses and does not describe, parents first.
    pub directories: Vec<Vec<u8>>,
    /// Hard links whose target this layer does not have: path, target.
    pub links: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Pending {
    /// Nothing is left to settle: the layer is the same whatever lies below it.
    pub(super) fn is_empty(&self) -> bool {
        self.directories.is_empty() && self.links.is_empty()
    }
}

/// Why a layer cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnpackError {
    /// The source of the bytes failed.
    #[error("cannot read layer")]
    Read(#[source] io::Error),
    /// It is no archive, or a broken one.
    #[error("layer is malformed: {0}")]
    Malformed(String),
    /// An entry would reach out of the layer.
    #[error("layer entry {path:?} is refused: {reason}")]
    Refused {
        /// The entry's path.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// A limit is reached.
    #[error("layer exceeds the limit of {limit} {unit}")]
    TooLarge {
        /// The limit.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// The file system failed.
    #[error("cannot write layer entry {path:?}")]
    Write {
        /// The entry's path.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl UnpackError {
    pub(super) fn refused(path: &[u8], reason: &'static str) -> UnpackError {
        UnpackError::Refused {
            path: lossy(path),
            reason,
        }
    }

    pub(super) fn write(path: &[u8], source: impl Into<io::Error>) -> UnpackError {
        UnpackError::Write {
            path: lossy(path),
            source: source.into(),
        }
    }
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// The directory of the layer's content below its staging directory.
pub(super) fn content(staging: &Path) -> PathBuf {
    staging.join("fs")
}

/// The list of the layer's files below its staging directory: a line `xxh3 size path` for each regular file, the hash
/// over its whole content, newlines and backslashes in the path escaped. A line `- - path` says that what was listed at
/// this path and below it is no more; it may be listed again.
pub(super) fn file_list(staging: &Path) -> PathBuf {
    staging.join("files")
}

/// Unpacks a layer. Reads `packed` to its end. Blocks.
///
/// # Errors
/// See [`UnpackError`]. The staging directory is left half filled: the caller removes it.
pub(super) fn unpack(
    packed: impl BufRead + Send,
    request: Request<'_>,
) -> Result<(LayerFacts, Pending), UnpackError> {
    let count = Cell::new(0);
    let read = UnpackError::Read;
    if request.aside {
        return aside::aside(packed, &count, |inflated| write(inflated, request, &count)).map_err(read)?;
    }
    let counted = Counted {
        inner: packed,
        count: &count,
    };
    write(decode::inflate(counted).map_err(read)?, request, &count)
}

/// Writes what is inflated.
fn write(
    inflated: impl Read,
    request: Request<'_>,
    count: &Cell<u64>,
) -> Result<(LayerFacts, Pending), UnpackError> {
    let mut hashed = Hashed::new(inflated, request.limits, count);
    let mut writer = write::Writer::create(request)?;
    let written = writer.write_all(&mut archive::Archive::new(&mut hashed));
    // The digest covers what follows the end marker too.
    let written = written.and_then(|()| io::copy(&mut hashed, &mut io::sink()).map_err(UnpackError::Read));
    if let Some((limit, unit)) = hashed.exceeded {
        return Err(UnpackError::TooLarge { limit, unit });
    }
    written?;
    let (mut facts, pending) = writer.finish()?;
    facts.diff_id = hashed.digest();
    Ok((facts, pending))
}

/// Counts packed bytes as they are taken.
struct Counted<'a, R> {
    inner: R,
    count: &'a Cell<u64>,
}

impl<R: BufRead> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count.set(self.count.get() + count as u64);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Counted<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.count.set(self.count.get() + count as u64);
        self.inner.consume(count);
    }
}

/// Hashes and counts what is read.
struct Hashed<'a, R> {
    inner: R,
    hash: Sha256,
    limits: Limits,
    read: u64,
    /// Packed bytes that were read for it.
    packed: &'a Cell<u64>,
    /// The limit that was reached, and of what it is.
    exceeded: Option<(u64, &'static str)>,
}

impl<'a, R: Read> Hashed<'a, R> {
    fn new(inner: R, limits: Limits, packed: &'a Cell<u64>) -> Hashed<'a, R> {
        Hashed {
            inner,
            hash: Sha256::new(),
            limits,
            read: 0,
            packed,
            exceeded: None,
        }
    }

    /// The limit that is exceeded by now.
    fn limit(&self) -> Option<(u64, &'static str)> {
        let Limits {
            bytes,
            ratio,
            ratio_from,
            ..
        } = self.limits;
        if self.read > bytes {
            return Some((bytes, BYTES));
        }
        let most = self.packed.get().saturating_mul(ratio);
        let counts = ratio > 0 && self.read > ratio_from;
        (counts && self.read > most).then_some((ratio, "times its packed size (images.max_layer_ratio)"))
    }

    fn digest(self) -> String {
        sha256_name(self.hash)
    }
}

impl<R: Read> Read for Hashed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        self.read += count as u64;
        self.exceeded = self.limit();
        match self.exceeded {
            None => Ok(count),
            Some(_) => Err(io::Error::other("layer is too large")),
        }
    }
}

/// The name of a finished hash, `sha256:…`.
pub(super) fn sha256_name(hash: Sha256) -> String {
    use std::fmt::Write as _;

    hash.finalize()
        .iter()
        .fold(String::from("sha256:"), |mut name, byte| {
            let _ = write!(name, "{byte:02x}");
            name
        })
}
