//! The handle of the image engine, as the layers above see it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::model::{AuthConfig, FilesystemUsage, Result, UserNamespace};
use crate::state::Store;

use super::blocking::blocking;
use super::credentials::Keyring;
use super::error::ImageError;
use super::fetch::Fetcher;
use super::flight::{Flights, Ticket};
use super::import::Archive;
use super::index::{Index, layers_of};
use super::layers::Layers;
use super::name::Name;
use super::pull::{Described, Puller};
use super::registry::RegistryError;
use super::snapshot::{Snapshots, lower_directories};
use super::staging::make_private;
use super::unpack::Limits;
use super::usage::Usages;
use super::{ImageRecord, PullProgress, Settings, Snapshot, VolumeSource};

/// Layers smaller than this may be packed however well.
const RATIO_FROM: u64 = 64 << 20;

/// The images, layers and snapshots of one store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Images {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub settings: Arc<Settings>,
    pub layers: Arc<Layers>,
    pub index: Arc<Index>,
    pub snapshots: Arc<Snapshots>,
    pub usages: Usages,
    flights: Flights,
    /// Replaced as a whole, for the pulls that come.
    puller: ArcSwap<Puller>,
    /// Owns pulls, removals and counts in the background.
    tasks: TaskTracker,
}

impl Images {
    /// Opens the store at `settings.root`: makes its directories, drops what a crash left and what nothing refers to.
    ///
    /// # Errors
    /// The directories cannot be made or read, or the records cannot be read.
    pub async fn open(settings: Settings, store: Store) -> Result<Images> {
        let settings = Arc::new(settings);
        let tasks = TaskTracker::new();
        let (root, layer_tasks) = (settings.root.clone(), tasks.clone());
        let (layers, snapshots) = blocking(move || {
            make_private(&root).map_err(|source| ImageError::Disk {
                what: "make image store",
                path: root.clone(),
                source,
            })?;
            let layers = Arc::new(Layers::open(&root, layer_tasks)?);
            let snapshots = Arc::new(Snapshots::open(&root, Arc::clone(&layers))?);
            Ok((layers, snapshots))
        })
        .await?;
        let index = Arc::new(Index::open(store, &layers).await?);
        layers.collect();
        let puller = puller(Arc::clone(&settings), &layers, &index);
        let inner = Inner {
            usages: Usages::new(&settings.root, tasks.clone(), settings.usage_interval),
            flights: Flights::new(tasks.clone(), settings.abandoned_pull_grace),
            settings,
            layers,
            index,
            snapshots,
            puller: ArcSwap::from_pointee(puller),
            tasks,
        };
        Ok(Images {
            inner: Arc::new(inner),
        })
    }

    /// Pulls and imports by other settings from now on. Those of the store itself, its root above all, stay.
    pub fn pull_by(&self, settings: Settings) {
        let inner = &self.inner;
        let puller = puller(Arc::new(settings), &inner.layers, &inner.index);
        inner.puller.store(Arc::new(puller));
    }

    /// Ends pulls that are under way and waits for the work in the background. Pulls fail from now on.
    pub async fn close(&self) {
        self.inner.flights.close();
        self.drain().await;
        // What pulls brought in that did not come to their end.
        self.inner.layers.collect();
        self.drain().await;
    }

    /// Waits for the work in the background: pulls under way, removals, counts.
    pub async fn drain(&self) {
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.tasks.reopen();
    }

    /// Finds an image by name, id, or unique beginning of its id.
    pub fn resolve(&self, name_or_id: &str) -> Option<Arc<ImageRecord>> {
        self.inner.index.resolve(name_or_id).map(|held| held.record)
    }

    /// As [`Images::resolve`]; a text that can name no image is an error.
    ///
    /// # Errors
    /// `InvalidArgument`: it is malformed.
    pub fn find(&self, name_or_id: &str) -> Result<Option<Arc<ImageRecord>>> {
        let found = self.resolve(name_or_id);
        if found.is_none() {
            Name::parse(name_or_id).map_err(ImageError::from)?;
        }
        Ok(found)
    }

    /// The directories of an image's layers, topmost first, as overlay's `lowerdir` takes them. Never empty.
    ///
    /// # Errors
    /// `NotFound`: a layer is not in the store any more.
    pub fn rootfs_layers(&self, image: &ImageRecord) -> Result<Vec<PathBuf>> {
        let layers = layers_of(image, &self.inner.layers)?;
        Ok(lower_directories(&self.inner.settings.root, &layers))
    }

    /// Makes the writable layer of a container; one that exists is returned as it is. It keeps the layers of its image and
    /// of the images that the container mounts.
    ///
    /// # Errors
    /// `AlreadyExists`: the container has a snapshot of another image; `NotFound`: the image is gone;
    /// `InvalidArgument`: the id cannot be a file name.
    ///
    /// Cancel safety: it is made.
    pub async fn prepare<'a>(
        &self,
        container_id: &str,
        image: &ImageRecord,
        mounted: impl IntoIterator<Item = &'a ImageRecord>,
    ) -> Result<Snapshot> {
        let layers = layers_of(image, &self.inner.layers)?;
        let mut kept = vec![];
        for image in mounted {
            kept.extend(layers_of(image, &self.inner.layers)?);
        }
        let (snapshots, id, image_id) = (
            Arc::clone(&self.inner.snapshots),
            container_id.to_owned(),
            image.id.clone(),
        );
        let snapshot = blocking(move || snapshots.prepare(&id, &image_id, layers, kept)).await?;
        self.inner.usages.begin(container_id);
        Ok(snapshot)
    }

    /// Makes a container's writable layer one of a user namespace, before anything is in it. Doing so twice succeeds.
    ///
    /// # Errors
    /// `NotFound`: the container has no snapshot; `Internal`: the file system refuses.
    ///
    /// Cancel safety: it is done.
    pub async fn give_to(&self, container_id: &str, user: &UserNamespace) -> Result<()> {
        let (snapshots, id, user) = (
            Arc::clone(&self.inner.snapshots),
            container_id.to_owned(),
            user.clone(),
        );
        Ok(blocking(move || snapshots.give(&id, &user)).await?)
    }

    /// The snapshot of a container.
    pub fn snapshot(&self, container_id: &str) -> Option<Snapshot> {
        self.inner.snapshots.get(container_id)
    }

    /// All snapshots, for a caller that compares them with the containers it knows.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        self.inner.snapshots.all()
    }

    /// Removes a container's writable layer and volumes. Removing an unknown one succeeds. The container's mounts must be
    /// gone. Disk space follows in the background.
    ///
    /// # Errors
    /// `Internal`: the file system refuses.
    ///
    /// Cancel safety: it is removed.
    pub async fn remove_snapshot(&self, container_id: &str) -> Result<()> {
        let (inner, id) = (Arc::clone(&self.inner), container_id.to_owned());
        blocking(move || {
            inner.snapshots.remove(&id)?;
            inner.usages.end(&id);
            inner.layers.collect();
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// Where [`Images::volume_source`] will put a volume.
    pub fn volume_path(&self, container_id: &str, path: &str) -> PathBuf {
        self.inner.snapshots.volume_path(container_id, path)
    }

    /// Makes a directory of a container's own for one volume that its image declares, filled with the image's content at
    /// that path, owner and mode. One that exists is returned as it is. [`Images::remove_snapshot`] removes it.
    ///
    /// # Errors
    /// `NotFound`: the container has no snapshot; `InvalidArgument`: the path is no directory in the image.
    pub async fn volume_source(&self, container_id: &str, path: &str) -> Result<VolumeSource> {
        let (snapshots, id, path) = (
            Arc::clone(&self.inner.snapshots),
            container_id.to_owned(),
            path.to_owned(),
        );
        Ok(blocking(move || snapshots.volume(&id, &path)).await?)
    }

    /// The size of a container's writable layer, as last counted. Never waits: asking has it counted anew in the
    /// background, at most once in [`Settings::usage_interval`].
    pub fn writable_layer_usage(&self, container_id: &str) -> Option<FilesystemUsage> {
        let snapshot = self.inner.snapshots.get(container_id)?;
        self.inner.usages.get(container_id, &snapshot.upper)
    }

    /// Pulls as [`ImageService::pull_image`] does and tells how far it is, until the end.
    ///
    /// # Errors
    /// As [`ImageService::pull_image`].
    pub async fn pull_with_progress(
        &self,
        name: &str,
        auth: Option<&AuthConfig>,
        progress: watch::Sender<PullProgress>,
    ) -> Result<Arc<ImageRecord>> {
        let ticket = self.board(name, auth).await?;
        let mut told = ticket.progress();
        let outcome = ticket.outcome();
        tokio::pin!(outcome);
        loop {
            tokio::select! {
                biased;
                Ok(()) = told.changed() => {
                    progress.send_replace(told.borrow_and_update().clone());
                }
                image = &mut outcome => return image,
            }
        }
    }

    /// Joins or begins the pull of a name.
    pub(super) async fn board(&self, name: &str, auth: Option<&AuthConfig>) -> Result<Ticket> {
        let name = Name::parse(name).map_err(ImageError::from)?;
        let puller = Puller::clone(&self.inner.puller.load());
        let (auth, file) = (auth.cloned(), puller.settings.auth_file.clone());
        let keyring = blocking(move || {
            Keyring::gather(auth.as_ref(), file.as_deref()).map_err(|e| RegistryError::from(e).into())
        })
        .await?;
        let key = (name.to_string(), keyring.identity());
        Ok(self
            .inner
            .flights
            .join(key, |progress| puller.pull(name, keyring, progress)))
    }

    /// Brings the images of an OCI layout or of `docker save` (a directory, or a tar that may be compressed) into the
    /// store. `name` is given to the only image of the file; without it each takes the names that the file tells.
    ///
    /// # Errors
    /// `InvalidArgument`: it is no such file, or has several images or none with a name; `NotFound`: no such file.
    pub async fn import(&self, path: &Path, name: Option<&str>) -> Result<Vec<Imported>> {
        let name = name.map(Name::parse).transpose().map_err(ImageError::from)?;
        let (inner, path) = (Arc::clone(&self.inner), path.to_owned());
        let puller = self.inner.puller.load_full();
        let limits = (puller.fetcher.limits, puller.settings.max_document_bytes);
        let (archive, candidates) = blocking(move || {
            let archive = Archive::open(&path, &inner.layers, limits)?;
            let candidates = archive.candidates(name.as_ref(), &inner.settings.platform)?;
            Ok((archive, candidates))
        })
        .await?;
        let (progress, _) = watch::channel(PullProgress::default());
        let mut imported = Vec::new();
        for candidate in candidates {
            let mut names = candidate.names.clone();
            if let Some(top) = &candidate.top {
                names.extend(candidate.names.iter().map(|name| name.at(top)));
            }
            let described = Described {
                manifest: candidate
                    .manifest
                    .unwrap_or_else(|| candidate.config.digest.clone()),
                config: candidate.config,
                layers: candidate.layers,
                artifact: candidate.artifact,
            };
            let content = Arc::new(candidate.content);
            let image = puller.bring(content, described, &names, &progress).await?;
            imported.extend(candidate.names.iter().map(|name| Imported {
                name: name.to_string(),
                id: image.id.clone(),
            }));
        }
        drop(archive);
        Ok(imported)
    }

    pub(super) fn is_pinned(&self, image: &ImageRecord) -> bool {
        let puller = self.inner.puller.load();
        let patterns = &puller.settings.pinned;
        image.names().any(|name| {
            patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => Name::parse(pattern).is_ok_and(|p| p.to_string() == name),
            })
        })
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

/// What pulls by these settings.
fn puller(settings: Arc<Settings>, layers: &Arc<Layers>, index: &Arc<Index>) -> Puller {
    let fetcher = Fetcher {
        layers: Arc::clone(layers),
        at_once: settings.concurrent_layers,
        limits: Limits {
            bytes: settings.max_layer_bytes,
            entries: settings.max_layer_entries,
            depth: settings.max_layer_depth,
            ratio: settings.max_layer_ratio,
            ratio_from: RATIO_FROM,
        },
        timeout: settings.progress_timeout,
    };
    Puller {
        settings,
        index: Arc::clone(index),
        fetcher,
    }
}
