//! A caller as patient as the kubelet: a call that breaks with the daemon is made again, on the next daemon.

use coracle::cri::wire::v1 as ours;
use k8s_cri::v1;
use serde_json::Value;
use tonic::{Response, Status};

use crate::lane::{Clients, Lane};

/// Makes calls on a lane, and counts.
pub(crate) struct Caller<'a> {
    pub(crate) lane: &'a Lane,
    /// Calls that broke with their daemon, and were made again.
    pub(crate) repeated: u32,
}

impl<'a> Caller<'a> {
    pub(crate) fn new(lane: &'a Lane) -> Caller<'a> {
        Caller { lane, repeated: 0 }
    }

    /// Makes one call, again when the daemon dies under it. What a daemon answers is returned, errors too.
    pub(crate) async fn call<T>(
        &mut self,
        call: impl AsyncFn(Clients) -> Result<Response<T>, Status>,
    ) -> Result<T, Status> {
        loop {
            let clients = self.lane.clients().await;
            match call(clients.clone()).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) if is_broken(&status) && self.lane.lost(&clients).await => self.repeated += 1,
                Err(status) => return Err(status),
            }
        }
    }

    pub(crate) async fn run_pod(&mut self, config: &v1::PodSandboxConfig) -> Result<String, Status> {
        let request = v1::RunPodSandboxRequest {
            config: Some(config.clone()),
            ..Default::default()
        };
        let call = async |mut c: Clients| c.runtime.run_pod_sandbox(request.clone()).await;
        Ok(self.call(call).await?.pod_sandbox_id)
    }

    pub(crate) async fn update_pod(&mut self, id: &str, bytes: i64) -> Result<(), Status> {
        let request = ours::UpdatePodSandboxResourcesRequest {
            pod_sandbox_id: id.to_owned(),
            overhead: None,
            resources: Some(ours::LinuxContainerResources {
                memory_limit_in_bytes: bytes,
                ..Default::default()
            }),
        };
        let call = async |mut c: Clients| c.own.update_pod_sandbox_resources(request.clone()).await;
        self.call(call).await.map(drop)
    }

    /// What a pod's own record says of that.
    pub(crate) async fn pod_memory(&mut self, id: &str) -> Result<Option<i64>, Status> {
        let request = v1::PodSandboxStatusRequest {
            pod_sandbox_id: id.to_owned(),
            verbose: true,
        };
        let call = async |mut c: Clients| c.runtime.pod_sandbox_status(request.clone()).await;
        let info: Value = serde_json::from_str(&self.call(call).await?.info["info"]).unwrap();
        Ok(info["sandbox"]["config"]["resources"]["containers"]["memoryLimitInBytes"].as_i64())
    }

    pub(crate) async fn create(&mut self, request: &ours::CreateContainerRequest) -> Result<String, Status> {
        let call = async |mut c: Clients| c.own.create_container(request.clone()).await;
        Ok(self.call(call).await?.container_id)
    }

    pub(crate) async fn start(&mut self, id: &str) -> Result<(), Status> {
        let request = v1::StartContainerRequest {
            container_id: id.to_owned(),
        };
        let call = async |mut c: Clients| c.runtime.start_container(request.clone()).await;
        self.call(call).await.map(drop)
    }

    pub(crate) async fn status(&mut self, id: &str) -> Result<v1::ContainerStatus, Status> {
        let request = v1::ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: false,
        };
        let call = async |mut c: Clients| c.runtime.container_status(request.clone()).await;
        Ok(self.call(call).await?.status.unwrap())
    }

    pub(crate) async fn update(&mut self, id: &str, shares: i64) -> Result<(), Status> {
        let request = v1::UpdateContainerResourcesRequest {
            container_id: id.to_owned(),
            linux: Some(v1::LinuxContainerResources {
                cpu_shares: shares,
                ..Default::default()
            }),
            ..Default::default()
        };
        let call = async |mut c: Clients| c.runtime.update_container_resources(request.clone()).await;
        self.call(call).await.map(drop)
    }

    pub(crate) async fn exec(&mut self, id: &str, command: &[&str]) -> Result<v1::ExecSyncResponse, Status> {
        let request = v1::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command.iter().map(|word| (*word).to_owned()).collect(),
            timeout: 30,
        };
        let call = async |mut c: Clients| c.runtime.exec_sync(request.clone()).await;
        self.call(call).await
    }

    pub(crate) async fn stop(&mut self, id: &str, seconds: i64) -> Result<(), Status> {
        let request = v1::StopContainerRequest {
            container_id: id.to_owned(),
            timeout: seconds,
        };
        let call = async |mut c: Clients| c.runtime.stop_container(request.clone()).await;
        self.call(call).await.map(drop)
    }

    pub(crate) async fn remove(&mut self, id: &str) -> Result<(), Status> {
        let request = v1::RemoveContainerRequest {
            container_id: id.to_owned(),
        };
        let call = async |mut c: Clients| c.runtime.remove_container(request.clone()).await;
        self.call(call).await.map(drop)
    }

    pub(crate) async fn stop_pod(&mut self, id: &str) -> Result<(), Status> {
        let request = v1::StopPodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        let call = async |mut c: Clients| c.runtime.stop_pod_sandbox(request.clone()).await;
        self.call(call).await.map(drop)
    }

    pub(crate) async fn remove_pod(&mut self, id: &str) -> Result<(), Status> {
        let request = v1::RemovePodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        let call = async |mut c: Clients| c.runtime.remove_pod_sandbox(request.clone()).await;
        self.call(call).await.map(drop)
    }

    pub(crate) async fn pods(&mut self) -> Vec<v1::PodSandbox> {
        let call = async |mut c: Clients| {
            c.runtime
                .list_pod_sandbox(v1::ListPodSandboxRequest::default())
                .await
        };
        self.call(call).await.unwrap().items
    }

    pub(crate) async fn containers(&mut self) -> Vec<v1::Container> {
        let call = async |mut c: Clients| {
            c.runtime
                .list_containers(v1::ListContainersRequest::default())
                .await
        };
        self.call(call).await.unwrap().containers
    }

    pub(crate) async fn images(&mut self) -> Vec<v1::Image> {
        let call = async |mut c: Clients| c.images.list_images(v1::ListImagesRequest::default()).await;
        self.call(call).await.unwrap().images
    }

    pub(crate) async fn pull(&mut self, name: &str) -> Result<String, Status> {
        let request = v1::PullImageRequest {
            image: spec(name),
            ..Default::default()
        };
        let call = async |mut c: Clients| c.images.pull_image(request.clone()).await;
        Ok(self.call(call).await?.image_ref)
    }

    pub(crate) async fn remove_image(&mut self, name: &str) -> Result<(), Status> {
        let request = v1::RemoveImageRequest { image: spec(name) };
        let call = async |mut c: Clients| c.images.remove_image(request.clone()).await;
        self.call(call).await.map(drop)
    }
}

fn spec(name: &str) -> Option<v1::ImageSpec> {
    Some(v1::ImageSpec {
        image: name.to_owned(),
        ..Default::default()
    })
}

/// The connection broke, rather than that a daemon answered with an error.
fn is_broken(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}
