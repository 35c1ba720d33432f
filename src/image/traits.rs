//! The engine as the model's image service.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{
    Error, Filesystem, ImageFilesystems, ImageService, ImageSpec, ImageStatusRequest, ImageStatusResponse,
    ListImagesRequest, ListImagesResponse, PullImageRequest, PullImageResponse, RemoveImageRequest, Result,
};

use super::Images;
use super::blocking::blocking;

fn named(image: Option<&ImageSpec>) -> Result<&str> {
    match image {
        Some(spec) if !spec.image.is_empty() => Ok(&spec.image),
        _ => Err(Error::invalid("image is not named")),
    }
}

impl ImageService for Images {
    async fn list_images(&self, request: ListImagesRequest) -> Result<ListImagesResponse> {
        let wanted = request
            .filter
            .and_then(|filter| filter.image)
            .map(|spec| spec.image);
        let records = match wanted.filter(|name| !name.is_empty()) {
            Some(name) => self.find(&name)?.into_iter().collect(),
            None => self.inner.index.all(),
        };
        let images = records.iter().map(|r| r.to_model(self.is_pinned(r))).collect();
        Ok(ListImagesResponse { images })
    }

    async fn image_status(&self, request: ImageStatusRequest) -> Result<ImageStatusResponse> {
        let Some(record) = self.find(named(request.image.as_ref())?)? else {
            return Ok(ImageStatusResponse::default());
        };
        let mut info = BTreeMap::new();
        if request.verbose {
            let mut value = serde_json::json!({
                "chainID": record.chain_id(),
                "manifestDigest": record.manifest_digest,
                "imageSpec": record.config,
            });
            if let Some(kind) = &record.artifact {
                value["artifactType"] = kind.as_str().into();
            }
            info.insert("info".to_owned(), value.to_string());
        }
        Ok(ImageStatusResponse {
            image: Some(record.to_model(self.is_pinned(&record))),
            info,
        })
    }

    async fn pull_image(&self, request: PullImageRequest) -> Result<PullImageResponse> {
        let ticket = self
            .board(named(request.image.as_ref())?, request.auth.as_ref())
            .await?;
        let image = ticket.outcome().await?;
        Ok(PullImageResponse {
            image_ref: image.id.clone(),
        })
    }

    async fn remove_image(&self, request: RemoveImageRequest) -> Result<()> {
        let name = named(request.image.as_ref())?;
        self.find(name)?;
        if let Some(image) = self.inner.index.remove(name).await? {
            tracing::info!(image = image.id, "image removed");
            drop(image);
            let layers = Arc::clone(&self.inner.layers);
            blocking(move || {
                layers.collect();
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

impl Filesystem for Images {
    async fn image_filesystems(&self) -> Result<ImageFilesystems> {
        let (bytes, inodes) = self.inner.layers.usage();
        let mut containers = self.inner.usages.usage(0, 0);
        for snapshot in self.inner.snapshots.all() {
            if let Some(usage) = self.inner.usages.get(&snapshot.container_id, &snapshot.upper) {
                containers.used_bytes += usage.used_bytes;
                containers.inodes_used += usage.inodes_used;
            }
        }
        let images = self.inner.usages.usage(bytes, inodes);
        Ok(ImageFilesystems {
            images: vec![images],
            containers: vec![containers],
        })
    }
}
