//! The reduced model as it is, over HTTP and JSON: for clients that want containers and nothing around them.
//!
//! The second adapter beside CRI's, and as that one generic over the model's traits. A call is `POST /v1/<Call>` with the
//! request's JSON as its body; calls, fields and their names are the reduced API's. One table ([`Call`]) is what is
//! dispatched by, what is counted by, and what the OpenAPI document is made of.
//!
//! Containers of another adapter are told by their tags: shown, and changed only when the caller insists.

mod answer;
mod calls;
pub mod client;
mod containers;
mod decode;
mod defaults;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod images;
mod logs;
mod messages;
mod openapi;
mod outcome;
mod route;
mod server;
mod sessions;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use crate::model::{self, Result, Tags};

pub use answer::Refusal;
pub use calls::Call;
pub use messages::{
    ContainerStatsRequest, ContainerStatsResponse, Empty, ExecOutput, ImageFsInfoRequest,
    ListContainerStatsRequest, ListContainerStatsResponse,
};
pub use openapi::document;
pub use server::{Serving, serve};

/// What the adapter is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Directory of the logs of containers that name none. Nothing else is in it.
    pub logs: PathBuf,
    /// Whose a container is, by its tags, for a person to read; `None` is this adapter's.
    pub owner: fn(&Tags) -> Option<String>,
}

/// The calls over a runtime `R` and an image store `I`. Clones share them.
#[derive(Debug)]
pub struct Service<R, I> {
    runtime: Arc<R>,
    images: Arc<I>,
    settings: Settings,
}

impl<R, I> Clone for Service<R, I> {
    fn clone(&self) -> Self {
        Service {
            runtime: Arc::clone(&self.runtime),
            images: Arc::clone(&self.images),
            settings: self.settings.clone(),
        }
    }
}

impl<R, I> Service<R, I>
where
    R: model::RuntimeService + model::Stats,
    I: model::ImageService + model::Filesystem,
{
    /// Makes the directory of logs, and takes away the logs of containers that are no more.
    ///
    /// # Errors
    /// The directory cannot be made or read.
    pub async fn open(runtime: Arc<R>, images: Arc<I>, settings: Settings) -> Result<Self> {
        let service = Service {
            runtime,
            images,
            settings,
        };
        service.sweep_logs().await?;
        Ok(service)
    }
}
