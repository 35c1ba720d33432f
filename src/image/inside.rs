//! Looking into an image without mounting it, and what it takes to mount one beside a container's own.

use std::io::{self, Read as _};
use std::path::PathBuf;

use rustix::fs::FileType;

use crate::model::Result;

use super::blocking::blocking;
use super::error::ImageError;
use super::merged::{Directory, Found};
use super::snapshot::empty_layers;
use super::{ImageRecord, Images};

/// Larger files of an image are not read for the caller.
const MAX_READ: u64 = 1 << 20;

impl Images {
    /// As [`Images::rootfs_layers`], at least two, for an overlay that has no writable layer.
    ///
    /// # Errors
    /// `NotFound`: a layer is not in the store any more.
    pub fn mounted_layers(&self, image: &ImageRecord) -> Result<Vec<PathBuf>> {
        let mut lower = self.rootfs_layers(image)?;
        if lower.len() == 1 {
            let empty = empty_layers(&self.inner.settings.root);
            lower.extend(empty.into_iter().find(|other| *other != lower[0]));
        }
        Ok(lower)
    }

    /// Whether an image has something at a path, following symbolic links beneath its root.
    ///
    /// # Errors
    /// `InvalidArgument`: the path cannot be followed; `NotFound`: the image is gone.
    pub async fn holds(&self, image: &ImageRecord, path: &str) -> Result<bool> {
        let lower = self.rootfs_layers(image)?;
        let path = path.to_owned();
        Ok(blocking(move || Ok(resolve(&lower, &path)?.is_some())).await?)
    }

    /// Reads a regular file of at most 1 MiB out of an image, following symbolic links beneath its root. None when there is
    /// no such file.
    ///
    /// # Errors
    /// `InvalidArgument`: it is no regular file, or larger; `NotFound`: the image is gone.
    pub async fn read_file(&self, image: &ImageRecord, path: &str) -> Result<Option<Vec<u8>>> {
        let lower = self.rootfs_layers(image)?;
        let path = path.to_owned();
        Ok(blocking(move || read_file(&lower, &path)).await?)
    }
}

fn resolve(lower: &[PathBuf], path: &str) -> std::result::Result<Option<Found>, ImageError> {
    Directory::root(lower.iter().map(PathBuf::as_path))
        .and_then(|root| root.resolve(path.as_bytes()))
        .map_err(unseen(path))
}

fn unseen(path: &str) -> impl Fn(io::Error) -> ImageError {
    |source| ImageError::Look {
        path: path.to_owned(),
        source,
    }
}

fn read_file(lower: &[PathBuf], path: &str) -> std::result::Result<Option<Vec<u8>>, ImageError> {
    let refuse = |reason: String| ImageError::Path {
        path: path.to_owned(),
        reason,
    };
    let leaf = match resolve(lower, path)? {
        None => return Ok(None),
        Some(Found::Other(leaf)) if leaf.kind() == FileType::RegularFile => leaf,
        Some(_) => return Err(refuse("it is not a regular file".to_owned())),
    };
    let file = leaf.open().map_err(unseen(path))?;
    let mut bytes = Vec::new();
    file.take(MAX_READ + 1)
        .read_to_end(&mut bytes)
        .map_err(unseen(path))?;
    if bytes.len() as u64 > MAX_READ {
        return Err(refuse("it is larger than 1 MiB".to_owned()));
    }
    Ok(Some(bytes))
}
