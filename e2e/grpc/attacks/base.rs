//! Good requests, for attacks to spoil.

use coracle::cri::wire;
use k8s_cri::v1;
use prost::Message;

use crate::harness::container::Made;
use crate::harness::daemon::Daemon;
use crate::harness::pod::{self, Pod};

/// A pod and a container that runs in it.
pub(super) struct Base<'a> {
    pod: Pod<'a>,
    container: Made<'a>,
    /// A pod that is not there.
    config: v1::PodSandboxConfig,
}

impl<'a> Base<'a> {
    pub(super) async fn make(daemon: &'a Daemon) -> Base<'a> {
        let pod = Pod::run(daemon, "attacked").await;
        let container = pod.idle("first").await;
        let mut config = pod::config(daemon, "another");
        pod::host_network(&mut config);
        Base {
            pod,
            container,
            config,
        }
    }

    pub(super) async fn remove(self) {
        self.pod.remove().await;
    }

    /// The good part of a call's request: what is to be there for any other field to matter, and harms nobody if it is
    /// carried out.
    pub(super) fn request(&self, method: &str) -> Vec<u8> {
        let container_id = self.container.id.clone();
        match method {
            "RunPodSandbox" => v1::RunPodSandboxRequest {
                config: Some(self.config.clone()),
                ..Default::default()
            }
            .encode_to_vec(),
            "CreateContainer" => {
                let config = self.pod.container_config("attacked", &["true"]);
                self.pod.create_request(config).encode_to_vec()
            }
            "ContainerStatus" => v1::ContainerStatusRequest {
                container_id,
                verbose: true,
            }
            .encode_to_vec(),
            "ContainerStats" => v1::ContainerStatsRequest { container_id }.encode_to_vec(),
            "UpdateContainerResources" => v1::UpdateContainerResourcesRequest {
                container_id,
                linux: Some(v1::LinuxContainerResources::default()),
                ..Default::default()
            }
            .encode_to_vec(),
            "UpdatePodSandboxResources" => wire::v1::UpdatePodSandboxResourcesRequest {
                pod_sandbox_id: self.pod.id.clone(),
                ..Default::default()
            }
            .encode_to_vec(),
            "ExecSync" => self.container.exec_request(&["true"], 5).encode_to_vec(),
            "PodSandboxStatus" => v1::PodSandboxStatusRequest {
                pod_sandbox_id: self.pod.id.clone(),
                verbose: true,
            }
            .encode_to_vec(),
            // Whatever stops or removes is not given anything that is there.
            _ => Vec::new(),
        }
    }
}
