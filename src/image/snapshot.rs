//! Writable layers: the directories of one container above its image.

use std::path::PathBuf;

/// The directories of a container's root file system, for an overlay mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The container's full id.
    pub container_id: String,
    /// The image it was made of.
    pub image_id: String,
    /// Overlay `lowerdir`, topmost first. Never empty.
    pub lower: Vec<PathBuf>,
    /// Overlay `upperdir`; has the owner and mode of the image's root directory.
    pub upper: PathBuf,
    /// Overlay `workdir`.
    pub work: PathBuf,
    /// An empty directory to mount it on.
    pub rootfs: PathBuf,
}

/// A directory that backs a volume which the image declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSource {
    /// Path in the container.
    pub destination: String,
    /// Path on the host, to be bound there.
    pub source: PathBuf,
}
