//! The fake's images: pulling is taking what was published.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::model::{
    Error, Filesystem, FilesystemUsage, ImageFilesystems, ImageService, ImageSpec, ImageStatusRequest,
    ImageStatusResponse, ListImagesRequest, ListImagesResponse, PullImageRequest, PullImageResponse,
    RemoveImageRequest, Result,
};

use super::Fake;

impl ImageService for Fake {
    async fn list_images(&self, request: ListImagesRequest) -> Result<ListImagesResponse> {
        let state = self.enter("list_images")?;
        let images = match request.filter.and_then(|filter| filter.image) {
            Some(named) => state.image(&named.image).cloned().into_iter().collect(),
            None => state.images.values().cloned().collect(),
        };
        Ok(ListImagesResponse { images })
    }

    async fn image_status(&self, request: ImageStatusRequest) -> Result<ImageStatusResponse> {
        let state = self.enter("image_status")?;
        let named = name(request.image)?;
        Ok(ImageStatusResponse {
            image: state.image(&named).cloned(),
            info: BTreeMap::new(),
        })
    }

    async fn pull_image(&self, request: PullImageRequest) -> Result<PullImageResponse> {
        let mut state = self.enter("pull_image")?;
        let named = name(request.image)?;
        let unknown = || Error::not_found(format!("no image {named}"));
        let image = state.registry.get(&named).ok_or_else(unknown)?.clone();
        let image_ref = image.id.clone();
        state.images.insert(image_ref.clone(), image);
        Ok(PullImageResponse { image_ref })
    }

    async fn remove_image(&self, request: RemoveImageRequest) -> Result<()> {
        let mut state = self.enter("remove_image")?;
        let named = name(request.image)?;
        if let Some(id) = state.image(&named).map(|image| image.id.clone()) {
            state.images.remove(&id);
        }
        Ok(())
    }
}

fn name(spec: Option<ImageSpec>) -> Result<String> {
    let name = spec.unwrap_or_default().image;
    match name.is_empty() {
        true => Err(Error::invalid("image is empty")),
        false => Ok(name),
    }
}

impl Filesystem for Fake {
    async fn image_filesystems(&self) -> Result<ImageFilesystems> {
        let state = self.enter("image_filesystems")?;
        let usage = |used_bytes| FilesystemUsage {
            timestamp: 1,
            mountpoint: PathBuf::from("/"),
            used_bytes,
            inodes_used: 0,
        };
        Ok(ImageFilesystems {
            images: vec![usage(state.images.values().map(|image| image.size).sum())],
            containers: vec![usage(0)],
        })
    }
}
