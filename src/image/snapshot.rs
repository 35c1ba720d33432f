//! Writable layers: the directories of one container above its image.
//!
//! ```text
//! <root>/c/<container>/snapshot.json  which image, which layers
//!                      upper, work    overlay's
//!                      rootfs         an empty directory to mount on
//!                      v/<hash>       a volume that the image declares
//! ```
//!
//! A snapshot appears and goes whole, by a rename. It is not synced: a container does not outlive the machine's crash,
//! and one without a readable description is removed at the next start.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::copy::{copy_attributes, copy_content};
use super::error::ImageError;
use super::layers::{Layer, LayerKey, Layers};
use super::merged::{Directory, Found};
use super::staging::{Staging, make_private};
use super::unpack::RootAttributes;
use crate::model::UserNamespace;
use crate::sys::step;

const SNAPSHOT_FILE_VERSION: u32 = 1;

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

/// What `snapshot.json` holds.
#[derive(Serialize, Deserialize)]
struct SnapshotFile {
    version: u32,
    image_id: String,
    layers: Vec<LayerKey>,
    /// Layers of images that the container mounts beside its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    mounted: Vec<LayerKey>,
}

/// A snapshot and the layers it keeps: its own, lowest first, and those of the images that its container mounts.
#[derive(Debug)]
struct Held {
    snapshot: Snapshot,
    layers: Vec<Arc<Layer>>,
    mounted: Vec<Arc<Layer>>,
}

impl Held {
    /// Of the root directory. Overlay shows those of the topmost directory: the writable one.
    fn root_attributes(&self) -> RootAttributes {
        let of_image = self.layers.iter().rev().find_map(|layer| layer.facts().root);
        of_image.unwrap_or(RootAttributes {
            mode: 0o755,
            uid: 0,
            gid: 0,
        })
    }
}

/// All snapshots of a store.
#[derive(Debug)]
pub(super) struct Snapshots {
    root: PathBuf,
    layers: Arc<Layers>,
    known: RwLock<HashMap<String, Arc<Held>>>,
}

impl Snapshots {
    /// Finds the snapshots on disk; drops those that cannot be used.
    pub(super) fn open(root: &Path, layers: Arc<Layers>) -> Result<Snapshots, ImageError> {
        let fail = |source| ImageError::Disk {
            what: "open snapshots",
            path: root.to_owned(),
            source,
        };
        make_private(&root.join("c")).map_err(fail)?;
        for empty in empty_layers(root) {
            make_private(&empty).map_err(fail)?;
        }
        let (snapshots, halves) = Snapshots::look(root, layers).map_err(fail)?;
        for half in halves {
            tracing::warn!(path = %half.display(), "snapshot without description or layers is removed");
            snapshots.layers.discard(&half).map_err(fail)?;
        }
        Ok(snapshots)
    }

    /// The snapshots as they lie on disk: nothing is made or removed. The second value is what cannot be used.
    pub(super) fn look(root: &Path, layers: Arc<Layers>) -> io::Result<(Snapshots, Vec<PathBuf>)> {
        let snapshots = Snapshots {
            root: root.to_owned(),
            layers,
            known: RwLock::default(),
        };
        let mut halves = Vec::new();
        for entry in fs::read_dir(root.join("c"))? {
            let path = entry?.path();
            let id = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            match snapshots.read(&id, &path) {
                Some(held) => drop(snapshots.write_known().insert(id, Arc::new(held))),
                None => halves.push(path),
            }
        }
        Ok((snapshots, halves))
    }

    fn read(&self, id: &str, path: &Path) -> Option<Held> {
        let bytes = fs::read(path.join("snapshot.json")).ok()?;
        let file: SnapshotFile = serde_json::from_slice(&bytes).ok()?;
        if file.version != SNAPSHOT_FILE_VERSION {
            return None;
        }
        let of =
            |keys: &[LayerKey]| -> Option<Vec<_>> { keys.iter().map(|key| self.layers.get(key)).collect() };
        Some(self.held(id, &file.image_id, of(&file.layers)?, of(&file.mounted)?))
    }

    fn held(&self, id: &str, image_id: &str, layers: Vec<Arc<Layer>>, mounted: Vec<Arc<Layer>>) -> Held {
        let base = self.root.join("c").join(id);
        let snapshot = Snapshot {
            container_id: id.to_owned(),
            image_id: image_id.to_owned(),
            lower: lower_directories(&self.root, &layers),
            upper: base.join("upper"),
            work: base.join("work"),
            rootfs: base.join("rootfs"),
        };
        Held {
            snapshot,
            layers,
            mounted,
        }
    }

    /// Makes a snapshot of layers, lowest first, which keeps the `mounted` ones too. Blocks.
    pub(super) fn prepare(
        &self,
        id: &str,
        image_id: &str,
        layers: Vec<Arc<Layer>>,
        mounted: Vec<Arc<Layer>>,
    ) -> Result<Snapshot, ImageError> {
        check_id(id)?;
        if let Some(known) = self.get(id) {
            return match known.image_id == image_id {
                true => Ok(known),
                false => Err(ImageError::OtherSnapshot(id.to_owned())),
            };
        }
        let staging = self.layers.stage()?;
        let held = self.held(id, image_id, layers, mounted);
        let made = self.fill(&staging, &held);
        if let Err(source) = made {
            return Err(ImageError::Disk {
                what: "make snapshot",
                path: held.snapshot.upper,
                source,
            });
        }
        let snapshot = held.snapshot.clone();
        self.write_known().insert(id.to_owned(), Arc::new(held));
        Ok(snapshot)
    }

    fn fill(&self, staging: &Staging, held: &Held) -> io::Result<()> {
        let base = staging.path().join("snapshot");
        step("image.snapshot.make");
        fs::create_dir(&base)?;
        for name in ["upper", "work", "rootfs", "v"] {
            make_private(&base.join(name))?;
        }
        let root = held.root_attributes();
        let upper = base.join("upper");
        chown(&upper, Some(root.uid), Some(root.gid))?;
        fs::set_permissions(&upper, fs::Permissions::from_mode(root.mode))?;
        let file = SnapshotFile {
            version: SNAPSHOT_FILE_VERSION,
            image_id: held.snapshot.image_id.clone(),
            layers: keys(&held.layers),
            mounted: keys(&held.mounted),
        };
        fs::write(base.join("snapshot.json"), serde_json::to_vec(&file)?)?;
        step("image.snapshot.publish");
        fs::rename(base, self.root.join("c").join(&held.snapshot.container_id))
    }

    /// Gives the writable layer's root directory to the user of a namespace that the image's belongs to. Its layers are
    /// idmapped instead, and nothing else is in it yet. Blocks.
    pub(super) fn give(&self, id: &str, user: &UserNamespace) -> Result<(), ImageError> {
        let missing = || ImageError::Missing(format!("snapshot of container {id}"));
        let held = self.held_of(id).ok_or_else(missing)?;
        let root = held.root_attributes();
        // Who is nobody in the namespace gives way to its root.
        let owner = user.to_host(root.uid, root.gid).or_else(|| user.to_host(0, 0));
        let (uid, gid) = owner.unwrap_or((user.uids.host_id, user.gids.host_id));
        let upper = &held.snapshot.upper;
        step("image.snapshot.give");
        chown(upper, Some(uid), Some(gid)).map_err(|source| ImageError::Disk {
            what: "give away snapshot",
            path: upper.clone(),
            source,
        })
    }

    /// Removes a snapshot; an unknown one is fine. Blocks shortly, the space follows in the background.
    pub(super) fn remove(&self, id: &str) -> Result<(), ImageError> {
        check_id(id)?;
        let path = self.root.join("c").join(id);
        match self.layers.discard(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(ImageError::Disk {
                    what: "remove snapshot",
                    path,
                    source,
                });
            }
            _ => {}
        }
        self.write_known().remove(id);
        Ok(())
    }

    pub(super) fn get(&self, id: &str) -> Option<Snapshot> {
        self.held_of(id).map(|held| held.snapshot.clone())
    }

    pub(super) fn all(&self) -> Vec<Snapshot> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.values().map(|held| held.snapshot.clone()).collect()
    }

    /// The containers that keep a layer, sorted.
    pub(super) fn users_of(&self, key: &LayerKey) -> Vec<String> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let has = |held: &Held| {
            held.layers
                .iter()
                .chain(&held.mounted)
                .any(|layer| layer.key() == key)
        };
        let mut users: Vec<String> = known
            .iter()
            .filter(|(_, held)| has(held))
            .map(|(id, _)| id.clone())
            .collect();
        users.sort();
        users
    }

    fn held_of(&self, id: &str) -> Option<Arc<Held>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(id).cloned()
    }

    fn write_known(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<String, Arc<Held>>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the directory of a volume is, or will be.
    pub(super) fn volume_path(&self, id: &str, path: &str) -> PathBuf {
        let name = format!("{:016x}", xxh3_64(path.as_bytes()));
        self.root.join("c").join(id).join("v").join(name)
    }

    /// Makes the directory of a volume, with the image's content at its path. Blocks.
    pub(super) fn volume(&self, id: &str, path: &str) -> Result<VolumeSource, ImageError> {
        let held = self
            .held_of(id)
            .ok_or_else(|| ImageError::Missing(format!("snapshot of container {id}")))?;
        let source = self.volume_path(id, path);
        let volume = VolumeSource {
            destination: path.to_owned(),
            source: source.clone(),
        };
        if source.exists() {
            return Ok(volume);
        }
        let from = match Directory::root(held.snapshot.lower.iter().map(PathBuf::as_path))
            .and_then(|root| root.resolve(path.as_bytes()))
        {
            Ok(Some(Found::Directory(directory))) => Some(directory),
            Ok(Some(Found::Other(_))) => {
                return Err(ImageError::Path {
                    path: path.to_owned(),
                    reason: "it is not a directory".to_owned(),
                });
            }
            Ok(None) => None,
            Err(source) => {
                return Err(ImageError::Look {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        let staging = self.layers.stage()?;
        let made = fill_volume(staging.path(), from.as_ref(), &source);
        made.map_err(|source| ImageError::Disk {
            what: "make volume",
            path: volume.source.clone(),
            source,
        })?;
        Ok(volume)
    }
}

fn keys(layers: &[Arc<Layer>]) -> Vec<LayerKey> {
    layers.iter().map(|layer| layer.key().clone()).collect()
}

fn fill_volume(staging: &Path, from: Option<&Directory>, to: &Path) -> io::Result<()> {
    let target = staging.join("volume");
    fs::create_dir(&target)?;
    fs::set_permissions(&target, fs::Permissions::from_mode(0o755))?;
    if let Some(from) = from {
        let opened = fs::File::open(&target)?;
        copy_content(from, opened.as_fd(), 0)?;
        copy_attributes(from.top(), opened.as_fd())?;
    }
    step("image.volume.publish");
    fs::rename(target, to)
}

/// The overlay lower directories of layers that are given lowest first: topmost first, none below an opaque root.
pub(super) fn lower_directories(root: &Path, layers: &[Arc<Layer>]) -> Vec<PathBuf> {
    let mut lower = Vec::with_capacity(layers.len());
    for layer in layers.iter().rev() {
        lower.push(layer.path().to_owned());
        // Overlayfs does not look at the attribute of the root directories themselves.
        if layer.facts().root_opaque {
            break;
        }
    }
    if lower.is_empty() {
        lower.push(empty_layers(root)[0].clone());
    }
    lower
}

/// Directories with nothing in them, to serve as layers: overlay takes none twice.
pub(super) fn empty_layers(root: &Path) -> [PathBuf; 2] {
    ["empty", "void"].map(|name| root.join(name))
}

/// A container's id names a directory.
fn check_id(id: &str) -> Result<(), ImageError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if id.is_empty() || id.len() > 128 || id.starts_with('.') || !id.bytes().all(plain) {
        return Err(ImageError::ContainerId(id.chars().take(128).collect()));
    }
    Ok(())
}
