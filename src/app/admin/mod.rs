//! The admin service: what our command line asks of a daemon beyond CRI.
//!
//! Served on the daemon's socket beside CRI, and by [`super::offline`] to the command line itself when no daemon
//! runs: there is one way to an image, whoever holds the store.

mod check;
mod import;
mod pull;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use crate::image::{ImageRecord, Images, Imported};
use crate::model::{Image, ImageService, ImageSpec, ListImagesRequest, RemoveImageRequest};

use super::check::Look;
use super::dump::Dump;
use crate::cri::status::refuse;
use wire::admin_server::Admin;

/// The messages, the client and the server of `proto/coracle/admin/v1/admin.proto`.
pub mod wire {
    #![allow(
        clippy::all,
        missing_debug_implementations,
        unreachable_pub,
        rustdoc::all,
        reason = "generated code"
    )]

    tonic::include_proto!("coracle.admin.v1");
}

/// Describes package `coracle.admin.v1` as an encoded `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("admin-v1");

/// Bytes of an archive in one message of an import.
pub const ARCHIVE_PIECE: usize = 1 << 20;

/// The service over one image store.
#[derive(Clone)]
pub struct AdminService {
    images: Images,
    /// Directory on the store's file system, for archives on their way in.
    spool: std::path::PathBuf,
    /// What the daemon is compared with the machine by; none without a daemon.
    look: Option<Look>,
    /// What a dump is made of; none without a daemon.
    dump: Option<Dump>,
}

impl AdminService {
    /// Serves `images`. Archives are kept in `spool`, without a name, while they are read.
    pub fn new(images: Images, spool: std::path::PathBuf) -> AdminService {
        AdminService {
            images,
            spool,
            look: None,
            dump: None,
        }
    }

    /// Answers to checks by `look`.
    #[must_use]
    pub(super) fn checked_by(self, look: Look) -> AdminService {
        let look = Some(look);
        AdminService { look, ..self }
    }

    /// Answers with dumps of `dump`.
    #[must_use]
    pub(super) fn dumped_by(self, dump: Dump) -> AdminService {
        let dump = Some(dump);
        AdminService { dump, ..self }
    }

    /// The service for a server, with its limits.
    pub fn into_server(self) -> wire::admin_server::AdminServer<AdminService> {
        wire::admin_server::AdminServer::new(self)
            .max_decoding_message_size(crate::cri::wire::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(crate::cri::wire::MAX_MESSAGE_BYTES)
    }
}

impl std::fmt::Debug for AdminService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminService")
            .field("spool", &self.spool)
            .finish_non_exhaustive()
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn list_images(
        &self,
        _request: Request<wire::ListImagesRequest>,
    ) -> Result<Response<wire::ListImagesResponse>, Status> {
        let answer = self
            .images
            .list_images(ListImagesRequest::default())
            .await
            .map_err(refuse)?;
        let mut images: Vec<_> = answer.images.into_iter().map(wire::Image::from).collect();
        images.sort_by(|a, b| a.names.cmp(&b.names));
        Ok(Response::new(wire::ListImagesResponse { images }))
    }

    type PullImageStream = BoxStream<'static, Result<wire::PullImageResponse, Status>>;

    async fn pull_image(
        &self,
        request: Request<wire::PullImageRequest>,
    ) -> Result<Response<Self::PullImageStream>, Status> {
        let name = request.into_inner().name;
        if name.is_empty() {
            return Err(Status::invalid_argument("name is empty"));
        }
        Ok(Response::new(pull::pull(self.images.clone(), name).boxed()))
    }

    async fn import_images(
        &self,
        request: Request<Streaming<wire::ImportImagesRequest>>,
    ) -> Result<Response<wire::ImportImagesResponse>, Status> {
        let images = self.import(request.into_inner()).await?;
        Ok(Response::new(wire::ImportImagesResponse { images }))
    }

    async fn check(
        &self,
        request: Request<wire::CheckRequest>,
    ) -> Result<Response<wire::CheckResponse>, Status> {
        let Some(look) = &self.look else {
            return Err(Status::failed_precondition(
                "no daemon runs: a check is made at rest",
            ));
        };
        let report = look.check(request.into_inner().into()).await.map_err(refuse)?;
        Ok(Response::new(report.into()))
    }

    async fn dump(
        &self,
        _request: Request<wire::DumpRequest>,
    ) -> Result<Response<wire::DumpResponse>, Status> {
        let Some(dump) = &self.dump else {
            return Err(Status::failed_precondition("no daemon runs"));
        };
        let json = dump.text();
        Ok(Response::new(wire::DumpResponse { json }))
    }

    async fn remove_image(
        &self,
        request: Request<wire::RemoveImageRequest>,
    ) -> Result<Response<wire::RemoveImageResponse>, Status> {
        let name = request.into_inner().name;
        if name.is_empty() {
            return Err(Status::invalid_argument("name is empty"));
        }
        let request = RemoveImageRequest {
            image: Some(ImageSpec::named(name)),
        };
        self.images.remove_image(request).await.map_err(refuse)?;
        Ok(Response::new(wire::RemoveImageResponse {}))
    }
}

impl From<Image> for wire::Image {
    fn from(image: Image) -> wire::Image {
        wire::Image {
            id: image.id,
            names: [image.repo_tags, image.repo_digests].concat(),
            size: image.size,
        }
    }
}

impl From<&ImageRecord> for wire::Image {
    fn from(image: &ImageRecord) -> wire::Image {
        wire::Image {
            id: image.id.clone(),
            names: image.names().map(str::to_owned).collect(),
            size: image.size,
        }
    }
}

impl From<Imported> for wire::Image {
    fn from(image: Imported) -> wire::Image {
        wire::Image {
            id: image.id,
            names: vec![image.name],
            size: 0,
        }
    }
}
