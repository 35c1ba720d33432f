//! What lies in the image store, compared with what it knows and with the images' records: halves, leftovers, layers that
//! nobody has, images whose layers are gone. Writable layers are compared with containers by who knows those.
//!
//! A running store knows what is in work. At rest nothing is, and what nothing refers to is left over.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::audit::{Class, Finding, Thing};
use crate::model::{Error, Result};
use crate::state::Store;

use super::blocking::blocking;
use super::error::ImageError;
use super::index::layers_of;
use super::layers::Layers;
use super::snapshot::Snapshots;
use super::staging::remove_tree;
use super::{ImageRecord, Images};

impl Images {
    /// Looks at a running store. What is in work is no finding; what ends in the same moment may be one, so whoever asks
    /// looks twice.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub async fn audit(&self) -> Result<Vec<Finding>> {
        let inner = Arc::clone(&self.inner);
        let found = blocking(move || {
            let root = &inner.settings.root;
            let seen = Seen::look(root)?;
            let live = inner.layers.live().all();
            let known = inner.layers.all();
            let mut owned: BTreeSet<PathBuf> = known.iter().map(|layer| layer.path().to_owned()).collect();
            owned.extend(known.iter().map(|layer| inner.layers.meta(layer)));
            owned.extend(live);
            let mut found = seen.strays(&owned);
            for image in inner.index.all() {
                found.extend(missing(&image, &inner.layers, &seen));
            }
            Ok(found)
        });
        Ok(found.await?)
    }

    /// Puts a finding of [`Images::audit`] right, or removes a stray writable layer.
    ///
    /// # Errors
    /// The file system refuses.
    pub async fn repair(&self, finding: &Finding) -> Result<()> {
        if let (Class::Snapshot, Thing::Path(path)) = (finding.class, &finding.thing) {
            let id = path.file_name().unwrap_or_default().to_string_lossy();
            return self.remove_snapshot(&id).await;
        }
        let (inner, finding) = (Arc::clone(&self.inner), finding.clone());
        blocking(move || Ok(remove(&inner.settings.root, &finding))).await?
    }
}

/// Looks at a store that nobody has open. Blocks.
///
/// # Errors
/// A directory, or the records, cannot be read.
pub fn audit_at_rest(root: &Path, store: &Store) -> Result<Vec<Finding>> {
    if !root.join("l").exists() {
        return Ok(vec![]);
    }
    let records = store.peek::<ImageRecord>()?;
    let seen = Seen::look(root)?;
    let (layers, halves) = Layers::look(root).map_err(failed(root))?;
    let layers = Arc::new(layers);
    let (snapshots, unusable) = Snapshots::look(root, Arc::clone(&layers)).map_err(failed(root))?;
    let mut found = seen.strays(&seen.content.union(&seen.descriptions).cloned().collect());
    let half = |class, path| {
        Finding::repairable(
            class,
            Thing::Path(path),
            "a layer with its description, or nothing",
        )
    };
    found.extend(halves.into_iter().map(|path| half(Class::Layer, path)));
    let unusable = unusable.into_iter().map(|path| {
        let expected = "a writable layer with its description and all layers below it";
        // A container may have it: who knows containers tells whether one does.
        Finding::for_a_person(Class::Snapshot, Thing::Path(path), expected)
    });
    found.extend(unusable);
    let mut held = vec![];
    for (_, image) in &records.records {
        found.extend(missing(image, &layers, &seen));
        held.extend(layers_of(image, &layers).into_iter().flatten());
    }
    // With a record that cannot be read nobody can tell which layers it has.
    if records.unreadable.is_empty() {
        for layer in layers.all() {
            // One for the store, one for this list: nobody else.
            if Arc::strong_count(&layer) == 2 {
                let expected = "nothing: no image and no container has this layer";
                found.push(Finding::repairable(
                    Class::Layer,
                    Thing::Path(layer.path().to_owned()),
                    expected,
                ));
            }
        }
    }
    drop((held, snapshots));
    Ok(found)
}

/// Puts a finding of [`audit_at_rest`] right, or removes a stray writable layer. Blocks.
///
/// # Errors
/// The file system refuses.
pub fn repair_at_rest(root: &Path, finding: &Finding) -> Result<()> {
    remove(root, finding)
}

/// What lies in the store, as whole paths.
#[derive(Debug)]
struct Seen {
    content: BTreeSet<PathBuf>,
    descriptions: BTreeSet<PathBuf>,
    staging: BTreeSet<PathBuf>,
}

impl Seen {
    fn look(root: &Path) -> std::result::Result<Seen, ImageError> {
        // In the order in which a layer comes: one that comes meanwhile is not taken for a half.
        let staging = list(&root.join("staging"))?;
        let content = list(&root.join("l"))?;
        let descriptions = list(&root.join("m"))?;
        Ok(Seen {
            content,
            descriptions,
            staging,
        })
    }

    /// What nobody owns.
    fn strays(&self, owned: &BTreeSet<PathBuf>) -> Vec<Finding> {
        let stray = |class, expected: &str, seen: &BTreeSet<PathBuf>| -> Vec<Finding> {
            let strays = seen.iter().filter(|path| !owned.contains(*path));
            strays
                .map(|path| Finding::repairable(class, Thing::Path(path.clone()), expected))
                .collect()
        };
        [
            stray(
                Class::Layer,
                "nothing: the store has no such layer",
                &self.content,
            ),
            stray(
                Class::Layer,
                "nothing: the store has no such layer",
                &self.descriptions,
            ),
            stray(
                Class::Directory,
                "nothing: no pull or removal works here",
                &self.staging,
            ),
        ]
        .concat()
    }
}

/// A layer that an image has and the store has not.
fn missing(image: &ImageRecord, layers: &Layers, seen: &Seen) -> Option<Finding> {
    let lost = match layers_of(image, layers) {
        Ok(held) => held.iter().any(|layer| !seen.content.contains(layer.path())),
        Err(_) => true,
    };
    let expected = "an image whose layers are all in the store; pulling it again brings them";
    lost.then(|| Finding::for_a_person(Class::Record, Thing::Id(image.id.clone()), expected))
}

/// Removes what should not be.
fn remove(root: &Path, finding: &Finding) -> Result<()> {
    let Thing::Path(path) = &finding.thing else {
        return Err(Error::internal(format!(
            "{} cannot be put right here",
            finding.thing
        )));
    };
    let mut paths = vec![path.clone()];
    if path.parent() == Some(&root.join("l")) {
        // Content first: a description alone is no layer.
        paths.push(root.join("m").join(path.file_name().unwrap_or_default()));
    }
    for path in paths {
        match remove_tree(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::internal(format!("cannot remove {}", path.display())).because(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn list(dir: &Path) -> std::result::Result<BTreeSet<PathBuf>, ImageError> {
    let entries = std::fs::read_dir(dir).map_err(failed(dir))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    paths.collect::<io::Result<_>>().map_err(failed(dir))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ImageError + use<> {
    let path = path.to_owned();
    move |source| ImageError::Disk {
        what: "look at",
        path,
        source,
    }
}
