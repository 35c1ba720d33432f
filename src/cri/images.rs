//! The image service: each call is one of the model's.

use tonic::{Request, Response, Status, async_trait};

use crate::cri::adapter::Runtime;
use crate::cri::convert;
use crate::cri::runtime::Messages;
use crate::cri::sandbox::{Network, Pinner};
use crate::cri::status::answer;
use crate::cri::streams::{batched, fitting};
use crate::cri::wire::v1::{self, image_service_server as rpc};
use crate::model::{
    self, ImageFilter, ImageStatusRequest, ListImagesRequest, PullImageRequest, RemoveImageRequest, Result,
};

type Answer<T> = std::result::Result<Response<T>, Status>;

#[async_trait]
impl<R, I, P, N> rpc::ImageService for Runtime<R, I, P, N>
where
    R: model::RuntimeService + model::Stats + model::Events,
    I: model::ImageService + model::Filesystem,
    P: Pinner,
    N: Network,
{
    async fn list_images(&self, request: Request<v1::ListImagesRequest>) -> Answer<v1::ListImagesResponse> {
        answer(self.images_list(request.into_inner()).await)
    }

    type StreamImagesStream = Messages<v1::StreamImagesResponse>;

    async fn stream_images(
        &self,
        request: Request<v1::StreamImagesRequest>,
    ) -> Answer<Self::StreamImagesStream> {
        answer(self.images_stream(request.into_inner()).await)
    }

    async fn image_status(
        &self,
        request: Request<v1::ImageStatusRequest>,
    ) -> Answer<v1::ImageStatusResponse> {
        answer(self.image_report(request.into_inner()).await)
    }

    async fn pull_image(&self, request: Request<v1::PullImageRequest>) -> Answer<v1::PullImageResponse> {
        answer(self.image_pull(request.into_inner()).await)
    }

    async fn remove_image(
        &self,
        request: Request<v1::RemoveImageRequest>,
    ) -> Answer<v1::RemoveImageResponse> {
        answer(self.image_remove(request.into_inner()).await)
    }

    async fn image_fs_info(&self, _: Request<v1::ImageFsInfoRequest>) -> Answer<v1::ImageFsInfoResponse> {
        answer(self.filesystems().await)
    }
}

impl<R, I, P, N> Runtime<R, I, P, N>
where
    R: model::RuntimeService + model::Stats + model::Events,
    I: model::ImageService + model::Filesystem,
    P: Pinner,
    N: Network,
{
    async fn images_list(&self, request: v1::ListImagesRequest) -> Result<v1::ListImagesResponse> {
        let images = self.images_where(request.filter).await?.collect();
        fitting(v1::ListImagesResponse { images })
    }

    async fn images_stream(
        &self,
        request: v1::StreamImagesRequest,
    ) -> Result<Messages<v1::StreamImagesResponse>> {
        let images = self.images_where(request.filter).await?;
        Ok(batched(images, |images| v1::StreamImagesResponse { images }))
    }

    async fn images_where(
        &self,
        filter: Option<v1::ImageFilter>,
    ) -> Result<impl Iterator<Item = v1::Image> + Send + use<R, I, P, N>> {
        // A filter that names nothing lists everything.
        let named = filter.and_then(|filter| filter.image);
        let named = named
            .filter(|spec| !spec.image.is_empty())
            .map(convert::image_spec);
        let filter = named.map(|image| ImageFilter { image: Some(image) });
        let listed = self.images.list_images(ListImagesRequest { filter }).await?;
        let images: Vec<_> = listed.images.into_iter().map(|it| self.marked(it)).collect();
        Ok(images.into_iter().map(convert::image))
    }

    async fn image_report(&self, request: v1::ImageStatusRequest) -> Result<v1::ImageStatusResponse> {
        let request = ImageStatusRequest {
            image: Some(convert::required_image(request.image, "image")?),
            verbose: request.verbose,
        };
        let answer = self.images.image_status(request).await?;
        Ok(v1::ImageStatusResponse {
            image: answer.image.map(|it| convert::image(self.marked(it))),
            info: answer.info,
        })
    }

    /// Shows as pinned what containers that are in no answer of ours use. Who collects images knows of no use of theirs,
    /// and leaves alone what is pinned.
    fn marked(&self, mut image: model::Image) -> model::Image {
        image.pinned |= self.containers.image_is_used(&image.id);
        image
    }

    async fn image_pull(&self, request: v1::PullImageRequest) -> Result<v1::PullImageResponse> {
        self.check_handler(request.image.as_ref())?;
        let request = PullImageRequest {
            image: Some(convert::required_image(request.image, "image")?),
            auth: request.auth.map(convert::auth),
        };
        let pulled = self.images.pull_image(request).await?;
        Ok(v1::PullImageResponse {
            image_ref: pulled.image_ref,
        })
    }

    /// A handler that an image is pulled for is configured, or a sandbox was run with it. What is asked of images that are
    /// here holds for all handlers.
    fn check_handler(&self, image: Option<&v1::ImageSpec>) -> Result<()> {
        let named = image.map_or("", |image| image.runtime_handler.as_str());
        let Err(unknown) = self.handlers.load().get(named).map(drop) else {
            return Ok(());
        };
        let mut in_use = self.sandboxes.all().into_iter();
        match in_use.any(|sandbox| sandbox.record.config.runtime_handler == named) {
            true => Ok(()),
            false => Err(unknown.within("image")),
        }
    }

    async fn image_remove(&self, request: v1::RemoveImageRequest) -> Result<v1::RemoveImageResponse> {
        let request = RemoveImageRequest {
            image: Some(convert::required_image(request.image, "image")?),
        };
        self.images.remove_image(request).await?;
        Ok(v1::RemoveImageResponse {})
    }

    async fn filesystems(&self) -> Result<v1::ImageFsInfoResponse> {
        let systems = self.images.image_filesystems().await?;
        let all = |systems: Vec<_>| systems.into_iter().map(convert::filesystem).collect();
        Ok(v1::ImageFsInfoResponse {
            image_filesystems: all(systems.images),
            container_filesystems: all(systems.containers),
        })
    }
}
