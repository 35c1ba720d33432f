//! The reduced, sandbox-free container model: its types, the two service traits and the error every layer speaks.
//!
//! The model is the Kubernetes CRI with everything that concerns pods taken out: a container has a configuration,
//! namespaces it makes, shares with the host or joins by path, and a life of four states. Who made a joined
//! namespace, and what the opaque [`Tags`] on a container mean, is none of its business; the adapter above knows.
//!
//! The pair is [`RuntimeService`] (nine calls, the two that declare only requests, and attach) and [`ImageService`] (four).
//! Types keep the fields and the JSON of the reduced Go API they mirror; what CRI needs beyond it are further
//! fields, absent from the JSON while unset. What the pair leaves out is in three narrow traits, so that each consumer
//! sees only its own: [`Stats`], [`Events`] and [`Filesystem`].
//!
//! A container runs through the pair alone, and no pod is anywhere:
//!
//! ```
//! use coracle::model::*;
//!
//! async fn run<R: RuntimeService, I: ImageService>(runtime: &R, images: &I, name: &str) -> Result<i32> {
//!     let image = Some(ImageSpec::named(name));
//!     images.pull_image(PullImageRequest { image: image.clone(), auth: None }).await?;
//!
//!     let config = Some(ContainerConfig { image, command: vec!["true".into()], ..Default::default() });
//!     let request = CreateContainerRequest { config, ..Default::default() };
//!     let container_id = runtime.create_container(request).await?.container_id;
//!     runtime.start_container(StartContainerRequest { container_id: container_id.clone() }).await?;
//!
//!     let stop = StopContainerRequest { container_id: container_id.clone(), timeout: 10 };
//!     runtime.stop_container(stop).await?;
//!     let ask = ContainerStatusRequest { container_id: container_id.clone(), verbose: false };
//!     let status = runtime.container_status(ask).await?.status.unwrap_or_default();
//!     assert_eq!(status.state, ContainerState::Exited);
//!
//!     runtime.remove_container(RemoveContainerRequest { container_id }).await?;
//!     Ok(status.exit_code)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! let fake = fake::Fake::with_images(["registry.example/hello:1"]);
//! assert_eq!(run(&fake, &fake, "registry.example/hello:1").await?, 143);
//! # Ok(())
//! # }
//! ```

mod attach;
pub mod audit;
mod config;
mod container;
mod error;
mod events;
mod exec;
pub mod fake;
mod ids;
mod image;
mod json;
mod metrics;
mod runtime;
mod security;
mod service;
mod stats;

#[cfg(test)]
mod golden;

pub use attach::AttachRequest;
pub use config::{
    ContainerConfig, ContainerMetadata, Device, HugepageLimit, ImageSpec, KeyValue, LinuxContainerConfig,
    LinuxContainerResources, Mount, MountFlag, MountPropagation, Namespace, Namespaces, Tags,
};
pub use container::{
    CONTAINER_STATE_NAMES, Container, ContainerFilter, ContainerState, ContainerStateValue, ContainerStatus,
    ContainerStatusRequest, ContainerStatusResponse, ContainerUser, CreateContainerRequest,
    CreateContainerResponse, ListContainersRequest, ListContainersResponse, RemoveContainerRequest,
    ReopenContainerLogRequest, StartContainerRequest, StopContainerRequest, UpdateContainerResourcesRequest,
    container_state_value,
};
pub use error::{Error, Kind, Result, SHORTAGES, is_shortage};
pub use events::{Change, Observer, Transition};
pub use exec::{ExecRequest, ExecResponse, Reader, Resizes, TerminalSize, Writer};
pub use ids::{IdMapping, UserNamespace};
pub use image::{
    AuthConfig, Image, ImageFilter, ImageStatusRequest, ImageStatusResponse, ListImagesRequest,
    ListImagesResponse, PullImageRequest, PullImageResponse, RemoveImageRequest,
};
pub use metrics::{Capacity, ContainerMetrics, Detail, Disk};
pub use runtime::{
    NETWORK_READY, RUNTIME_READY, RuntimeCondition, STORE_HEALTHY, StatusRequest, StatusResponse,
    VersionRequest, VersionResponse,
};
pub use security::{Capabilities, GroupsPolicy, Profile, Security, SelinuxLabel, User};
pub use service::{Events, Filesystem, Group, ImageService, RuntimeService, Stats};
pub use stats::{
    ContainerStats, CpuUsage, FilesystemUsage, GroupStats, ImageFilesystems, MemoryUsage, Pressure, Stall,
};
