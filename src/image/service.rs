//! The handle of the image engine, as the layers above see it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use crate::model::{
    AuthConfig, Error, Filesystem, FilesystemUsage, ImageFilesystems, ImageService, ImageStatusRequest,
    ImageStatusResponse, Kind, ListImagesRequest, ListImagesResponse, PullImageRequest, PullImageResponse,
    RemoveImageRequest, Result,
};
use crate::state::Store;

use super::{ImageRecord, Settings, Snapshot, VolumeSource};

fn pending<T>() -> Result<T> {
    Err(Error::new(Kind::Unimplemented, "images are not there yet"))
}

/// The images, layers and snapshots of one store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Images {
    settings: Arc<Settings>,
    store: Store,
}

impl Images {
    /// Opens the store at `settings.root`: makes its directories, drops what a crash left and what nothing refers to.
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The directories cannot be made or read, or the records cannot be read.
    pub async fn open(settings: Settings, store: Store) -> Result<Images> {
        Ok(Images {
            settings: Arc::new(settings),
            store,
        })
    }

    /// Finds an image by name, id, or unique beginning of its id.
    pub fn resolve(&self, _name_or_id: &str) -> Option<Arc<ImageRecord>> {
        None
    }

    /// The directories of an image's layers, topmost first, as overlay's `lowerdir` takes them. Paths are short.
    ///
    /// # Errors
    /// `NotFound`: a layer is not in the store any more.
    pub fn rootfs_layers(&self, _image: &ImageRecord) -> Result<Vec<PathBuf>> {
        pending()
    }

    /// Reads a regular file of at most 1 MiB out of an image, following symbolic links beneath its root.
    ///
    /// # Errors
    /// `InvalidArgument`: it is no regular file, or larger; `Internal`.
    pub async fn read_file(&self, _image: &ImageRecord, _path: &str) -> Result<Option<Vec<u8>>> {
        pending()
    }

    /// Makes the writable layer of a container; one that exists is returned as it is.
    ///
    /// # Errors
    /// `AlreadyExists`: the container has a snapshot of another image; `Internal`.
    pub async fn prepare(&self, _container_id: &str, _image: &ImageRecord) -> Result<Snapshot> {
        pending()
    }

    /// The snapshot of a container.
    pub fn snapshot(&self, _container_id: &str) -> Option<Snapshot> {
        None
    }

    /// All snapshots.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        Vec::new()
    }

    /// Removes a container's writable layer and volumes. Removing an unknown one succeeds. The container's mounts must be
    /// gone.
    ///
    /// # Errors
    /// `Internal`.
    pub async fn remove_snapshot(&self, _container_id: &str) -> Result<()> {
        pending()
    }

    /// Where [`Images::volume_source`] will put a volume.
    pub fn volume_path(&self, container_id: &str, path: &str) -> PathBuf {
        let _ = path;
        self.settings.root.join(container_id)
    }

    /// Makes a directory of a container's own for one volume that its image declares, filled with the image's content at
    /// that path, owner and mode. One that exists is returned as it is. [`Images::remove_snapshot`] removes it.
    ///
    /// # Errors
    /// `NotFound`: the container has no snapshot; `InvalidArgument`: the path is not a directory in the image.
    pub async fn volume_source(&self, _container_id: &str, _path: &str) -> Result<VolumeSource> {
        pending()
    }

    /// The size of a container's writable layer, as last counted. Never waits: asking has it counted anew in the
    /// background, at most once in [`Settings::usage_interval`].
    pub fn writable_layer_usage(&self, _container_id: &str) -> Option<FilesystemUsage> {
        None
    }

    /// Pulls as [`ImageService::pull_image`] does and tells how far it is.
    ///
    /// # Errors
    /// As [`ImageService::pull_image`].
    pub async fn pull_with_progress(
        &self,
        _name: &str,
        _auth: Option<AuthConfig>,
        _progress: watch::Sender<PullProgress>,
    ) -> Result<Arc<ImageRecord>> {
        pending()
    }

    /// Brings the images of an OCI layout or of `docker save` (a directory, or a tar that may be compressed) into the
    /// store. `name` is given to the only image of the file; without it each takes the name that the file tells.
    ///
    /// # Errors
    /// `InvalidArgument`: it is no such file, or has several images or none with a name; `NotFound`: no such file.
    pub async fn import(&self, _path: &Path, _name: Option<&str>) -> Result<Vec<Imported>> {
        pending()
    }
}

/// An image that was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The name it now has.
    pub name: String,
    /// Its id.
    pub id: String,
}

/// How far a pull is. Grows only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullProgress {
    /// The layers, lowest first; empty until the manifest is known.
    pub layers: Vec<LayerProgress>,
}

/// How far one layer is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerProgress {
    /// Digest of the packed layer.
    pub digest: String,
    /// Packed bytes in all.
    pub total: u64,
    /// Packed bytes received.
    pub received: u64,
    /// In the store, which it may have been before.
    pub done: bool,
}

impl ImageService for Images {
    async fn list_images(&self, _request: ListImagesRequest) -> Result<ListImagesResponse> {
        pending()
    }
    async fn image_status(&self, _request: ImageStatusRequest) -> Result<ImageStatusResponse> {
        pending()
    }
    async fn pull_image(&self, _request: PullImageRequest) -> Result<PullImageResponse> {
        pending()
    }
    async fn remove_image(&self, _request: RemoveImageRequest) -> Result<()> {
        pending()
    }
}

impl Filesystem for Images {
    async fn image_filesystems(&self) -> Result<ImageFilesystems> {
        pending()
    }
}
