//! The model's [`RuntimeService`] on the core: each call finds its container and goes to its verb.

use bytes::Bytes;

use super::Core;
use crate::model::{
    AttachRequest, Container, ContainerStatusRequest, ContainerStatusResponse, CreateContainerRequest,
    CreateContainerResponse, ExecRequest, ExecResponse, ListContainersRequest, ListContainersResponse,
    RUNTIME_READY, RemoveContainerRequest, ReopenContainerLogRequest, Result, RuntimeCondition,
    RuntimeService, StartContainerRequest, StatusRequest, StatusResponse, StopContainerRequest,
    UpdateContainerResourcesRequest, VersionRequest, VersionResponse,
};

/// Version of the API as its callers name it (CRI `VersionResponse.version`).
const API_VERSION: &str = "0.1.0";

impl RuntimeService for Core {
    async fn version(&self, _: VersionRequest) -> Result<VersionResponse> {
        Ok(VersionResponse {
            version: API_VERSION.into(),
            runtime_name: env!("CARGO_PKG_NAME").into(),
            runtime_version: env!("CARGO_PKG_VERSION").into(),
            runtime_api_version: "v1".into(),
        })
    }

    async fn create_container(&self, request: CreateContainerRequest) -> Result<CreateContainerResponse> {
        let container_id = self.create(request).await?;
        Ok(CreateContainerResponse { container_id })
    }

    async fn start_container(&self, request: StartContainerRequest) -> Result<()> {
        let entry = self.inner.registry.find(&request.container_id)?;
        self.start(entry).await
    }

    async fn stop_container(&self, request: StopContainerRequest) -> Result<()> {
        self.stop(&request).await
    }

    async fn remove_container(&self, request: RemoveContainerRequest) -> Result<()> {
        self.remove(&request.container_id).await
    }

    async fn list_containers(&self, request: ListContainersRequest) -> Result<ListContainersResponse> {
        let chosen = self.inner.registry.select(request.filter.as_ref());
        Ok(ListContainersResponse {
            containers: chosen.iter().map(|entry| entry.summary()).collect(),
        })
    }

    async fn list_written(
        &self,
        request: ListContainersRequest,
        write: fn(Container) -> Option<Bytes>,
    ) -> Result<Vec<Bytes>> {
        let chosen = self.inner.registry.select(request.filter.as_ref());
        Ok(chosen.iter().filter_map(|entry| entry.written(write)).collect())
    }

    async fn container_status(&self, request: ContainerStatusRequest) -> Result<ContainerStatusResponse> {
        let entry = self.inner.registry.find(&request.container_id)?;
        let info = match request.verbose {
            true => self.info(&entry),
            false => Default::default(),
        };
        Ok(ContainerStatusResponse {
            status: Some(self.status_held(&entry)),
            info,
        })
    }

    async fn exec_sync(&self, request: ExecRequest) -> Result<ExecResponse> {
        self.exec(request).await
    }

    async fn attach(&self, request: AttachRequest) -> Result<()> {
        self.attach(request).await
    }

    async fn status(&self, request: StatusRequest) -> Result<StatusResponse> {
        let ready = RuntimeCondition {
            kind: RUNTIME_READY.into(),
            status: true,
            ..Default::default()
        };
        Ok(StatusResponse {
            conditions: vec![ready, self.store_condition()],
            info: match request.verbose {
                true => [
                    ("devices".to_owned(), self.inner.described.info().to_string()),
                    ("selinux".to_owned(), self.inner.labelling.info().to_string()),
                ]
                .into(),
                false => Default::default(),
            },
        })
    }

    async fn update_container_resources(&self, request: UpdateContainerResourcesRequest) -> Result<()> {
        self.update(request).await
    }

    async fn reopen_container_log(&self, request: ReopenContainerLogRequest) -> Result<()> {
        self.reopen_log(&request.container_id).await
    }
}
