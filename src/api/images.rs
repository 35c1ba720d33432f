//! The calls about images: a name is there, and the request is passed on.

use super::Service;
use super::messages::{Empty, ImageFsInfoRequest};
use crate::model::{
    self, Error, ImageFilesystems, ImageSpec, ImageStatusRequest, ImageStatusResponse, ListImagesRequest,
    ListImagesResponse, PullImageRequest, PullImageResponse, RemoveImageRequest, Result,
};

impl<R, I> Service<R, I>
where
    R: model::RuntimeService + model::Stats,
    I: model::ImageService + model::Filesystem,
{
    pub(super) async fn list_images(&self, request: ListImagesRequest) -> Result<ListImagesResponse> {
        self.images.list_images(request).await
    }

    pub(super) async fn image_status(&self, request: ImageStatusRequest) -> Result<ImageStatusResponse> {
        named(request.image.as_ref())?;
        self.images.image_status(request).await
    }

    pub(super) async fn pull_image(&self, request: PullImageRequest) -> Result<PullImageResponse> {
        named(request.image.as_ref())?;
        self.images.pull_image(request).await
    }

    pub(super) async fn remove_image(&self, request: RemoveImageRequest) -> Result<Empty> {
        named(request.image.as_ref())?;
        self.images.remove_image(request).await?;
        Ok(Empty {})
    }

    pub(super) async fn image_fs_info(&self, _: ImageFsInfoRequest) -> Result<ImageFilesystems> {
        self.images.image_filesystems().await
    }
}

fn named(image: Option<&ImageSpec>) -> Result<()> {
    match image {
        Some(image) if !image.image.is_empty() => Ok(()),
        _ => Err(Error::invalid("image.image is empty")),
    }
}
