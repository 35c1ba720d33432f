//! The trait pair of the reduced model, and the three narrow traits beside it.
//!
//! Every call may be repeated. Futures may be dropped at any await: what was begun is finished or undone by the
//! implementation, never left half done (each call says which).

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;

use super::attach::AttachRequest;
use super::container::{
    Container, ContainerFilter, ContainerStatus, ContainerStatusRequest, ContainerStatusResponse,
    CreateContainerRequest, CreateContainerResponse, ListContainersRequest, ListContainersResponse,
    RemoveContainerRequest, ReopenContainerLogRequest, StartContainerRequest, StopContainerRequest,
    UpdateContainerResourcesRequest,
};
use super::error::Result;
use super::events::Observer;
use super::exec::{ExecRequest, ExecResponse};
use super::image::{
    ImageStatusRequest, ImageStatusResponse, ListImagesRequest, ListImagesResponse, PullImageRequest,
    PullImageResponse, RemoveImageRequest,
};
use super::metrics::ContainerMetrics;
use super::runtime::{StatusRequest, StatusResponse, VersionRequest, VersionResponse};
use super::stats::{ContainerStats, GroupStats, ImageFilesystems};

/// The life of containers.
pub trait RuntimeService: Send + Sync + 'static {
    /// Tells name and version of the runtime.
    fn version(&self, request: VersionRequest) -> impl Future<Output = Result<VersionResponse>> + Send;

    /// Makes a container out of an image that is in the store, ready to start.
    ///
    /// # Errors
    /// `NotFound`: no such image. `InvalidArgument`: a field cannot be met. `AlreadyExists`: the id is in use.
    ///
    /// Cancel safety: creation goes on to its end; the container, if any, is listed.
    fn create_container(
        &self,
        request: CreateContainerRequest,
    ) -> impl Future<Output = Result<CreateContainerResponse>> + Send;

    /// Executes the container's command. Answers after execve has succeeded or failed; a failed one leaves the
    /// container exited, with code 128 and reason `StartError`.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition`: it is not in state created.
    fn start_container(&self, request: StartContainerRequest) -> impl Future<Output = Result<()>> + Send;

    /// Sends the stop signal, waits, kills. A container that was created and not started is killed at once, and has then
    /// ended. Stopping a stopped or unknown container succeeds.
    ///
    /// Cancel safety: the signal is not taken back; a later call waits on, or shortens the wait.
    fn stop_container(&self, request: StopContainerRequest) -> impl Future<Output = Result<()>> + Send;

    /// Removes a container, killing it first if it runs. Removing an unknown container succeeds.
    fn remove_container(&self, request: RemoveContainerRequest) -> impl Future<Output = Result<()>> + Send;

    /// Lists containers.
    fn list_containers(
        &self,
        request: ListContainersRequest,
    ) -> impl Future<Output = Result<ListContainersResponse>> + Send;

    /// Lists containers as the caller writes them, without those of which it writes nothing. Whoever keeps what was written
    /// calls `write` once for a container and state, so a container is always written the same way: there is one caller.
    fn list_written(
        &self,
        request: ListContainersRequest,
        write: fn(Container) -> Option<Bytes>,
    ) -> impl Future<Output = Result<Vec<Bytes>>> + Send {
        async move {
            let listed = self.list_containers(request).await?.containers;
            Ok(listed.into_iter().filter_map(write).collect())
        }
    }

    /// Tells all about one container.
    ///
    /// # Errors
    /// `NotFound`.
    fn container_status(
        &self,
        request: ContainerStatusRequest,
    ) -> impl Future<Output = Result<ContainerStatusResponse>> + Send;

    /// Runs a command in a running container, until it ends or its time is up.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition`: the container does not run; `DeadlineExceeded`: the time was up, and every
    /// process of the command is dead; `InvalidArgument`: see [`ExecRequest::validate`].
    ///
    /// Cancel safety: the command and its processes are killed, after the request's `grace`.
    fn exec_sync(&self, request: ExecRequest) -> impl Future<Output = Result<ExecResponse>> + Send;

    /// Attaches to a running container's own streams, from now on. Any number of callers may: each has all of the output,
    /// and their inputs go to the container as they arrive. Neither the container nor its log waits for one.
    ///
    /// Returns when the container's streams have ended; or when the input has ended, unless the container's own ends with
    /// it (`stdin_once`, without a terminal).
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition`: the container does not run; `InvalidArgument`: see [`AttachRequest::validate`], or
    /// the container has no terminal; `ResourceExhausted`: the caller takes the output too slowly, or there are too many.
    ///
    /// Cancel safety: the caller is detached, and its input has ended; the container goes on.
    fn attach(&self, request: AttachRequest) -> impl Future<Output = Result<()>> + Send;

    /// Tells what is ready.
    fn status(&self, request: StatusRequest) -> impl Future<Output = Result<StatusResponse>> + Send;

    /// Changes the limits of a created or running container.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition`: the container has ended; `InvalidArgument`: the kernel refuses a value.
    fn update_container_resources(
        &self,
        request: UpdateContainerResourcesRequest,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Opens a running container's log file anew. After an error no new file exists.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition`: the container does not run.
    fn reopen_container_log(
        &self,
        request: ReopenContainerLogRequest,
    ) -> impl Future<Output = Result<()>> + Send;
}

/// The images in the store.
pub trait ImageService: Send + Sync + 'static {
    /// Lists images.
    fn list_images(
        &self,
        request: ListImagesRequest,
    ) -> impl Future<Output = Result<ListImagesResponse>> + Send;

    /// Tells about one image; an unknown one is an answer without an image, not an error.
    fn image_status(
        &self,
        request: ImageStatusRequest,
    ) -> impl Future<Output = Result<ImageStatusResponse>> + Send;

    /// Brings an image into the store.
    ///
    /// # Errors
    /// `NotFound`: the registry has no such image; `PermissionDenied`; `Unavailable`: no registry answers;
    /// `InvalidArgument`: the name is malformed.
    ///
    /// Cancel safety: callers that ask for the same share one pull; an abandoned one ends after a while.
    fn pull_image(&self, request: PullImageRequest)
    -> impl Future<Output = Result<PullImageResponse>> + Send;

    /// Removes an image with all its names. Removing an unknown image succeeds.
    fn remove_image(&self, request: RemoveImageRequest) -> impl Future<Output = Result<()>> + Send;
}

/// What containers use.
pub trait Stats: Send + Sync + 'static {
    /// Measures one container.
    ///
    /// # Errors
    /// `NotFound`.
    fn container_stats(&self, id: &str) -> impl Future<Output = Result<ContainerStats>> + Send;

    /// Measures the containers that match and run.
    fn list_container_stats(
        &self,
        filter: ContainerFilter,
    ) -> impl Future<Output = Result<Vec<ContainerStats>>> + Send;

    /// Measures all that can be of the containers that match and run. Costs more than their statistics.
    fn list_container_metrics(
        &self,
        filter: ContainerFilter,
    ) -> impl Future<Output = Result<Vec<ContainerMetrics>>> + Send;

    /// A control group that holds containers, by its path, for as long as it is of interest.
    fn group(&self, path: &str) -> Arc<dyn Group>;

    /// Measures groups.
    fn group_stats(
        &self,
        groups: Vec<Arc<dyn Group>>,
    ) -> impl Future<Output = Result<Vec<GroupStats>>> + Send;

    /// Tells whether a container without tags, which is no adapter's, uses an image: as its own, or mounted. Lists
    /// nothing. An adapter knows of its own containers.
    fn image_is_used(&self, image_id: &str) -> bool;
}

/// A control group that is measured again and again. What it keeps open for that goes with it.
pub trait Group: fmt::Debug + Send + Sync {
    /// Measures it; empty if it is not there. Rates are left to the caller. Blocks.
    fn measure(&self) -> GroupStats;
}

/// What happens to containers.
pub trait Events: Send + Sync + 'static {
    /// Tells an observer of every transition from now on, and first of the ends that were found at start. It takes the
    /// place of the one before.
    fn observe(&self, observer: Arc<dyn Observer>);

    /// Does something between two transitions, with the statuses of the containers that match. It must not wait.
    fn between<T>(&self, filter: &ContainerFilter, act: impl FnOnce(Vec<ContainerStatus>) -> T) -> T;
}

/// What images take on disk.
pub trait Filesystem: Send + Sync + 'static {
    /// Tells where images and writable layers lie, and their size. Walks nothing.
    fn image_filesystems(&self) -> impl Future<Output = Result<ImageFilesystems>> + Send;
}
