//! The table of calls. Each row is a name, the types on the wire, the method that answers, and whom it concerns:
//! `any` nobody in particular, `owned` one container, which must not be another adapter's, `made` one that is to be.

use schemars::{Schema, SchemaGenerator};

use super::messages::{
    ContainerStatsRequest, ContainerStatsResponse, Empty, ExecOutput, ImageFsInfoRequest,
    ListContainerStatsRequest, ListContainerStatsResponse,
};
use super::{Service, decode, defaults};
use crate::model::{
    self, ContainerStatusRequest, ContainerStatusResponse, CreateContainerRequest, CreateContainerResponse,
    ExecRequest, ImageFilesystems, ImageStatusRequest, ImageStatusResponse, ListContainersRequest,
    ListContainersResponse, ListImagesRequest, ListImagesResponse, PullImageRequest, PullImageResponse,
    RemoveContainerRequest, RemoveImageRequest, ReopenContainerLogRequest, Result, StartContainerRequest,
    StatusRequest, StatusResponse, StopContainerRequest, UpdateContainerResourcesRequest, VersionRequest,
    VersionResponse,
};

macro_rules! calls {
    ($($(#[doc = $about:literal])+ $name:ident($request:ty) -> $response:ty = $method:ident, $concerns:tt;)*) => {
        /// A call, named as the reduced API names it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each is documented in the table, for the OpenAPI document")]
        pub enum Call { $($name),* }

        impl Call {
            /// Every call, in the order of the table.
            pub const ALL: &[Call] = &[$(Call::$name),*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Call::$name => stringify!($name)),* }
            }

            /// Its name among those that metrics count.
            pub(super) fn meter(self) -> &'static str {
                match self { $(Call::$name => concat!("api.", stringify!($name))),* }
            }

            /// What it does.
            pub(super) fn about(self) -> String {
                let lines: &[&str] = match self { $(Call::$name => &[$($about),+]),* };
                lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
            }

            /// It concerns one container, which another adapter may own.
            pub(super) fn is_owned(self) -> bool {
                match self { $(Call::$name => stringify!($concerns) == "owned"),* }
            }

            /// The schemas of its request and its answer.
            pub(super) fn schemas(self, of: &mut SchemaGenerator) -> (Schema, Schema) {
                match self {
                    $(Call::$name => (of.subschema_for::<$request>(), of.subschema_for::<$response>())),*
                }
            }

            /// Reads a body as the request it should be, and writes that again.
            #[cfg(any(test, feature = "fuzzing"))]
            pub(super) fn echo(self, body: &[u8]) -> Result<Vec<u8>> {
                match self { $(Call::$name => decode::encode(&decode::decode::<$request>(body)?)),* }
            }
        }

        impl<R, I> Service<R, I>
        where
            R: model::RuntimeService + model::Stats,
            I: model::ImageService + model::Filesystem,
        {
            /// Makes a call: body in, body out. `force` is the caller's word that a container of another's is meant.
            pub(super) async fn call(&self, call: Call, body: &[u8], force: bool) -> Result<Vec<u8>> {
                match call {
                    $(Call::$name => {
                        #[allow(unused_mut, reason = "requests for what is to be made are completed")]
                        let mut request = decode::decode::<$request>(body)?;
                        prepare!($concerns, self, request, body, force);
                        decode::encode(&self.$method(request).await?)
                    })*
                }
            }
        }
    };
}

macro_rules! prepare {
    (any, $service:ident, $request:ident, $body:ident, $force:ident) => {};
    (owned, $service:ident, $request:ident, $body:ident, $force:ident) => {
        $service.may_change(&$request.container_id, $force).await?
    };
    (made, $service:ident, $request:ident, $body:ident, $force:ident) => {
        defaults::complete(&mut $request, $body, &$service.settings.logs)?
    };
}

calls! {
    /// Tells name and version of the runtime.
    Version(VersionRequest) -> VersionResponse = version, any;
    /// Tells what is ready.
    Status(StatusRequest) -> StatusResponse = status, any;
    /// Makes a container out of an image that is in the store, ready to start. What `config.linux.security` does not say
    /// is the default of confinement: the runtime's filter and profile, files of the kernel hidden or read-only. A
    /// container that names no log has one of the daemon's. A repeat makes another container, unless `containerID` is given.
    CreateContainer(CreateContainerRequest) -> CreateContainerResponse = create, made;
    /// Executes a created container's command.
    StartContainer(StartContainerRequest) -> Empty = start, owned;
    /// Sends the stop signal, waits `timeout` seconds, kills. Stopping a stopped or unknown container succeeds.
    StopContainer(StopContainerRequest) -> Empty = stop, owned;
    /// Removes a container, killing it first if it runs, and with it the log that the daemon has kept. Removing an unknown
    /// container succeeds.
    RemoveContainer(RemoveContainerRequest) -> Empty = remove, owned;
    /// Lists containers, whoever made them.
    ListContainers(ListContainersRequest) -> ListContainersResponse = list, any;
    /// Tells all about one container.
    ContainerStatus(ContainerStatusRequest) -> ContainerStatusResponse = container_status, any;
    /// Changes the limits of a created or running container.
    UpdateContainerResources(UpdateContainerResourcesRequest) -> Empty = update, owned;
    /// Opens a running container's log file anew, after it was moved away.
    ReopenContainerLog(ReopenContainerLogRequest) -> Empty = reopen_log, owned;
    /// Runs a command in a running container and answers when it has ended, with what it wrote. By GET and an upgrade of
    /// the connection to WebSocket its streams are the caller's instead.
    ExecSync(ExecRequest) -> ExecOutput = exec, owned;
    /// Measures one container.
    ContainerStats(ContainerStatsRequest) -> ContainerStatsResponse = container_stats, any;
    /// Measures the containers that match and run.
    ListContainerStats(ListContainerStatsRequest) -> ListContainerStatsResponse = list_container_stats, any;
    /// Lists images.
    ListImages(ListImagesRequest) -> ListImagesResponse = list_images, any;
    /// Tells about one image; of an unknown one the answer has none.
    ImageStatus(ImageStatusRequest) -> ImageStatusResponse = image_status, any;
    /// Brings an image into the store.
    PullImage(PullImageRequest) -> PullImageResponse = pull_image, any;
    /// Removes an image with all its names. Removing an unknown image succeeds.
    RemoveImage(RemoveImageRequest) -> Empty = remove_image, any;
    /// Tells where images and writable layers lie, and what they take.
    ImageFsInfo(ImageFsInfoRequest) -> ImageFilesystems = image_fs_info, any;
}

impl Call {
    /// The call of a name.
    pub(super) fn named(name: &str) -> Option<Call> {
        Call::ALL.iter().copied().find(|call| call.name() == name)
    }
}
