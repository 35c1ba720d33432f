//! The calls about containers and the runtime: what is more than passing a request on.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Service;
use super::messages::{
    ContainerStatsRequest, ContainerStatsResponse, Empty, ExecOutput, ListContainerStatsRequest,
    ListContainerStatsResponse,
};
use crate::model::{
    self, ContainerStatus, ContainerStatusRequest, ContainerStatusResponse, CreateContainerRequest,
    CreateContainerResponse, Error, ExecRequest, Kind, ListContainersRequest, ListContainersResponse,
    RemoveContainerRequest, ReopenContainerLogRequest, Result, StartContainerRequest, StatusRequest,
    StatusResponse, StopContainerRequest, UpdateContainerResourcesRequest, VersionRequest, VersionResponse,
};
use crate::streaming::Output;

/// Bytes of each stream that ExecSync's answer has room for.
const OUTPUT_BYTES: usize = 8 << 20;

impl<R, I> Service<R, I>
where
    R: model::RuntimeService + model::Stats,
    I: model::ImageService + model::Filesystem,
{
    /// Refuses to change a container that another adapter owns, unless the caller insists. One that is not there is left
    /// to the call.
    pub(super) async fn may_change(&self, id: &str, force: bool) -> Result<()> {
        match self.changeable(id, force).await {
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            other => other.map(drop),
        }
    }

    /// The status of a container that may be changed, see [`may_change`](Self::may_change).
    pub(super) async fn changeable(&self, id: &str, force: bool) -> Result<ContainerStatus> {
        named(id)?;
        let request = ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: false,
        };
        let answer = self.runtime.container_status(request).await?;
        let status = answer.status.unwrap_or_default();
        match (self.settings.owner)(&status.tags) {
            Some(owner) if !force => Err(Error::precondition(format!(
                "container {} belongs to {owner}: it is changed by force only",
                status.id
            ))),
            _ => Ok(status),
        }
    }

    pub(super) async fn version(&self, request: VersionRequest) -> Result<VersionResponse> {
        self.runtime.version(request).await
    }

    pub(super) async fn status(&self, request: StatusRequest) -> Result<StatusResponse> {
        self.runtime.status(request).await
    }

    pub(super) async fn create(&self, request: CreateContainerRequest) -> Result<CreateContainerResponse> {
        self.runtime.create_container(request).await
    }

    pub(super) async fn start(&self, request: StartContainerRequest) -> Result<Empty> {
        self.runtime.start_container(request).await?;
        Ok(Empty {})
    }

    pub(super) async fn stop(&self, request: StopContainerRequest) -> Result<Empty> {
        if request.timeout < 0 {
            return Err(Error::invalid(format!("timeout {} is negative", request.timeout)));
        }
        self.runtime.stop_container(request).await?;
        Ok(Empty {})
    }

    pub(super) async fn remove(&self, request: RemoveContainerRequest) -> Result<Empty> {
        let ask = ContainerStatusRequest {
            container_id: request.container_id.clone(),
            verbose: false,
        };
        let status = self.runtime.container_status(ask).await;
        self.runtime.remove_container(request).await?;
        if let Some(status) = status.ok().and_then(|answer| answer.status) {
            self.remove_log(&status.id).await?;
        }
        Ok(Empty {})
    }

    pub(super) async fn list(&self, request: ListContainersRequest) -> Result<ListContainersResponse> {
        self.runtime.list_containers(request).await
    }

    pub(super) async fn container_status(
        &self,
        request: ContainerStatusRequest,
    ) -> Result<ContainerStatusResponse> {
        named(&request.container_id)?;
        self.runtime.container_status(request).await
    }

    pub(super) async fn update(&self, request: UpdateContainerResourcesRequest) -> Result<Empty> {
        if request.linux.is_none() {
            return Err(Error::invalid("linux is missing"));
        }
        self.runtime.update_container_resources(request).await?;
        Ok(Empty {})
    }

    pub(super) async fn reopen_log(&self, request: ReopenContainerLogRequest) -> Result<Empty> {
        self.runtime.reopen_container_log(request).await?;
        Ok(Empty {})
    }

    /// Runs a command to its end. An exit code other than 0 is no error.
    pub(super) async fn exec(&self, mut request: ExecRequest) -> Result<ExecOutput> {
        let (stdout, stderr) = (Output::limited(OUTPUT_BYTES), Output::limited(OUTPUT_BYTES));
        request.stdout = Some(Box::new(stdout.clone()));
        // A terminal has one output.
        request.stderr = (!request.tty).then(|| Box::new(stderr.clone()) as _);
        request.grace = Duration::ZERO;
        request.validate()?;
        let answer = self.runtime.exec_sync(request).await?;
        let truncated = stdout.is_cut() || stderr.is_cut();
        let ((stdout, stdout_base64), (stderr, stderr_base64)) = (text(&stdout), text(&stderr));
        Ok(ExecOutput {
            container_id: answer.container_id,
            exit_code: answer.exit_code,
            stdout,
            stderr,
            stdout_base64,
            stderr_base64,
            truncated,
        })
    }

    pub(super) async fn container_stats(
        &self,
        request: ContainerStatsRequest,
    ) -> Result<ContainerStatsResponse> {
        named(&request.container_id)?;
        let stats = self.runtime.container_stats(&request.container_id).await?;
        Ok(ContainerStatsResponse { stats })
    }

    pub(super) async fn list_container_stats(
        &self,
        request: ListContainerStatsRequest,
    ) -> Result<ListContainerStatsResponse> {
        let filter = request.filter.unwrap_or_default();
        let stats = self.runtime.list_container_stats(filter).await?;
        Ok(ListContainerStatsResponse { stats })
    }
}

fn named(id: &str) -> Result<()> {
    match id.is_empty() {
        true => Err(Error::invalid("containerID is empty")),
        false => Ok(()),
    }
}

/// What a command wrote, as text; and in base64 if text cannot hold it.
fn text(output: &Output) -> (String, Option<String>) {
    let bytes = output.take();
    match std::str::from_utf8(&bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (
            String::from_utf8_lossy(&bytes).into_owned(),
            Some(STANDARD.encode(&bytes)),
        ),
    }
}
