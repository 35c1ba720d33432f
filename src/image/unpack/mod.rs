//! Turns one packed layer into one directory that overlayfs can use as a lower one.
//!
//! One pass: bytes are hashed as packed (by the caller's reader), inflated, hashed again and written. A layer is unpacked
//! alone into an empty directory; nothing below it is mounted or read. What only the layers below can tell, a parent
//! directory's mode or a hard link's target, is left in [`Pending`] for the layer store to settle.

mod archive;
mod attributes;
mod data;
mod decode;
mod pax;
mod sparse;
#[cfg(test)]
mod tests;
mod tree;
mod write;

use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub(super) use tree::{Tree, is_opaque, is_whiteout, remove_all, split};

/// What a layer must not exceed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Inflated bytes; the holes of sparse files count.
    pub bytes: u64,
    /// Entries of the archive.
    pub entries: u64,
}

/// Where and how a layer is unpacked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    /// An empty directory of ours, mode 0700. Gets `fs` and `files`.
    pub staging: &'a Path,
    /// The limits.
    pub limits: Limits,
    /// The layer is an image's lowest: its whiteouts hide nothing and are dropped.
    pub bottom: bool,
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
/// over its whole content, newlines and backslashes in the path escaped.
pub(super) fn file_list(staging: &Path) -> PathBuf {
    staging.join("files")
}

/// Unpacks a layer. Reads `packed` to its end. Blocks.
///
/// # Errors
/// See [`UnpackError`]. The staging directory is left half filled: the caller removes it.
pub(super) fn unpack(
    packed: impl BufRead,
    request: Request<'_>,
) -> Result<(LayerFacts, Pending), UnpackError> {
    let inflated = decode::inflate(packed).map_err(UnpackError::Read)?;
    let mut hashed = Hashed::new(inflated, request.limits.bytes);
    let mut writer = write::Writer::create(request)?;
    let written = writer.write_all(&mut archive::Archive::new(&mut hashed));
    if hashed.exceeded {
        return Err(UnpackError::TooLarge {
            limit: request.limits.bytes,
            unit: "bytes",
        });
    }
    written?;
    // The digest covers what follows the end marker too.
    io::copy(&mut hashed, &mut io::sink()).map_err(UnpackError::Read)?;
    let (mut facts, pending) = writer.finish()?;
    facts.diff_id = hashed.digest();
    Ok((facts, pending))
}

/// Hashes and counts what is read.
struct Hashed<R> {
    inner: R,
    hash: Sha256,
    left: u64,
    exceeded: bool,
}

impl<R: Read> Hashed<R> {
    fn new(inner: R, limit: u64) -> Hashed<R> {
        Hashed {
            inner,
            hash: Sha256::new(),
            left: limit,
            exceeded: false,
        }
    }

    fn digest(self) -> String {
        sha256_name(self.hash)
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        match self.left.checked_sub(count as u64) {
            Some(left) => self.left = left,
            None => {
                self.exceeded = true;
                return Err(io::Error::other("layer is too large"));
            }
        }
        Ok(count)
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
