//! Puts damaged layers right: the images that have them are forgotten, the layers removed, and the images pulled again by
//! digest. A crash in between leaves an image less, which the next pull brings.
//!
//! A layer that a container uses is left alone: what is mounted does not change.

use std::sync::Arc;

use crate::model::audit::{Class, Finding, Thing};
use crate::model::{Error, Result};

use super::blocking::blocking;
use super::error::ImageError;
use super::index::layers_of;
use super::layers::LayerKey;
use super::name::Name;
use super::verify::{Damaged, compare_layer};
use super::{Compared, ImageRecord, Images};

/// What became of damaged layers.
#[derive(Debug, Default)]
pub struct Mended {
    /// Findings that were put right, or why not.
    pub repaired: Vec<(Finding, Result<()>)>,
    /// What is missing or wrong now: images that could not be pulled again.
    pub left: Vec<Finding>,
}

impl Images {
    /// Removes damaged layers and brings their images anew. Pulls without credentials but those of the node.
    ///
    /// # Errors
    /// The records cannot be written.
    pub async fn mend(&self, compared: Compared) -> Result<Mended> {
        let mut mended = Mended::default();
        let mut free = Vec::new();
        let mut refused = Vec::new();
        for damaged in &compared.damaged {
            match self.inner.snapshots.users_of(&damaged.key) {
                users if users.is_empty() => free.push(damaged.clone()),
                users => refused.push((damaged.clone(), in_use(&users))),
            }
        }
        let images = self.forget_images_of(&free).await?;
        let layers = Arc::clone(&self.inner.layers);
        blocking(move || {
            layers.collect();
            Ok(())
        })
        .await?;
        // One that a call under way holds is still there, and so is its damage.
        free.retain(|damaged| {
            let gone = self.inner.layers.get(&damaged.key).is_none();
            if !gone {
                refused.push((
                    damaged.clone(),
                    "a call under way uses the layer: check again".to_owned(),
                ));
            }
            gone
        });
        for image in &images {
            if let Err(error) = self.pull_again(image).await {
                tracing::warn!(image = image.id, %error, "damaged image is removed");
                mended.left.push(removed(image, &error));
            }
        }
        mended.left.extend(self.compare_again(&free).await?);
        for finding in compared.findings {
            let reason = refused
                .iter()
                .find(|(damaged, _)| is_of(&finding, damaged))
                .map(|(_, reason)| Error::precondition(reason.clone()));
            mended.repaired.push((finding, reason.map_or(Ok(()), Err)));
        }
        Ok(mended)
    }

    /// Forgets every image that has one of the layers.
    async fn forget_images_of(&self, damaged: &[Damaged]) -> Result<Vec<Arc<ImageRecord>>> {
        let mut images = Vec::new();
        for image in self.inner.index.all() {
            let has = |key: &LayerKey| damaged.iter().any(|damaged| damaged.key == *key);
            let layers = layers_of(&image, &self.inner.layers);
            if layers.is_ok_and(|layers| layers.iter().any(|layer| has(layer.key()))) {
                images.extend(self.inner.index.remove(&image.id).await?);
            }
        }
        Ok(images)
    }

    async fn pull_again(&self, image: &ImageRecord) -> Result<()> {
        let mut outcome = Err(Error::not_found("it came from no registry"));
        for name in &image.repo_digests {
            outcome = self.board(name, None).await?.outcome().await.map(drop);
            if outcome.is_ok() {
                break;
            }
        }
        outcome?;
        let Some(record) = self.resolve(&image.id) else {
            return Err(Error::not_found("its digest leads to another image"));
        };
        // A name that another image has got meanwhile stays there.
        let free = |name: &&str| self.resolve(name).is_none();
        let names: Vec<Name> = image
            .names()
            .filter(free)
            .filter_map(|name| Name::parse(name).ok())
            .collect();
        let layers = layers_of(&record, &self.inner.layers)?;
        let record = ImageRecord::clone(&record);
        self.inner.index.add(record, &names, layers).await?;
        tracing::info!(image = image.id, "damaged image is pulled again");
        Ok(())
    }

    /// Reads the layers that came in the place of damaged ones.
    async fn compare_again(&self, damaged: &[Damaged]) -> Result<Vec<Finding>> {
        let layers = Arc::clone(&self.inner.layers);
        let keys: Vec<LayerKey> = damaged.iter().map(|damaged| damaged.key.clone()).collect();
        let compare = move || {
            let found = keys.iter().filter_map(|key| layers.get(key));
            Ok::<_, ImageError>(found.flat_map(|layer| compare_layer(&layers, &layer)).collect())
        };
        Ok(blocking(compare).await?)
    }
}

fn is_of(finding: &Finding, damaged: &Damaged) -> bool {
    matches!(&finding.thing, Thing::Path(path) if path.starts_with(&damaged.path))
}

fn in_use(users: &[String]) -> String {
    const SHOWN: usize = 5;
    let more = users.len().saturating_sub(SHOWN);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let some = users[..users.len().min(SHOWN)].join(", ");
    format!("it is used by containers {some}{more}: remove them first")
}

fn removed(image: &ImageRecord, error: &Error) -> Finding {
    let name = image.names().next().unwrap_or(&image.id).to_owned();
    let expected = format!("this image: it was damaged and is removed, pull or import it ({error})");
    Finding::for_a_person(Class::Record, Thing::Id(name), expected)
}
