//! The steps, in the order in which they are shown.

use std::time::Duration;

use indicatif::BinaryBytes;
use k8s_cri::v1 as wire;

use super::request::{EXEC, GREETING};
use super::{Demo, quote};
use crate::cli::CliError;
use crate::cli::client::During;

/// How long the container may take to print its first line.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the container may take to end when asked to.
const GRACE_SECONDS: i64 = 10;

impl Demo {
    /// Every step until the container has ended. What was made is in `self.made`, also after an error.
    pub(super) async fn show(&mut self) -> Result<(), CliError> {
        let network = self.greet().await?;
        self.interrupt.check()?;
        self.image().await?;
        self.interrupt.check()?;
        let host_network = self.options.host_network || !network;
        let config = self.pod(host_network);
        let pod = self.start_pod(config.clone(), host_network).await?;
        self.interrupt.check()?;
        let container = self.start_container(pod, config, host_network).await?;
        self.interrupt.check()?;
        self.state(&container).await?;
        self.log().await?;
        self.exec(&container).await?;
        self.interrupt.check()?;
        self.stop(&container).await
    }

    /// Answers whether pods can have a network of their own.
    async fn greet(&mut self) -> Result<bool, CliError> {
        let version = self
            .cri
            .runtime
            .version(wire::VersionRequest::default())
            .await
            .during("ask for the version")?;
        let status = self
            .cri
            .runtime
            .status(wire::StatusRequest::default())
            .await
            .during("ask for the status")?;
        let conditions = status.status.unwrap_or_default().conditions;
        let find = |name: &str| conditions.iter().find(|condition| condition.r#type == name);
        self.say(&format!(
            "The runtime is {} {}, and speaks CRI {}.",
            version.runtime_name, version.runtime_version, version.runtime_api_version
        ))?;
        if let Some(condition) = find("RuntimeReady").filter(|condition| !condition.status) {
            return Err(CliError::Demo(format!(
                "the runtime is not ready: {}",
                condition.message
            )));
        }
        match find("NetworkReady").filter(|condition| !condition.status) {
            None => Ok(true),
            Some(condition) => {
                self.say(&format!(
                    "It has no network for pods ({}), so the pod will use the host's.",
                    condition.message
                ))?;
                Ok(false)
            }
        }
    }

    async fn image(&mut self) -> Result<(), CliError> {
        let name = self.options.image.clone();
        if let Some(image) = self.find_image().await? {
            let size = BinaryBytes(image.size);
            return self.say(&format!("The image {name} is in the store already, {size}."));
        }
        let request = wire::PullImageRequest {
            image: Some(self.image_spec()),
            ..wire::PullImageRequest::default()
        };
        let mut images = self.cri.images.clone();
        tokio::select! {
            answer = images.pull_image(request) => answer.during(format!("pull the image {name}"))?,
            interrupted = self.interrupt.wait() => return Err(interrupted),
        };
        self.made.image = true;
        let size = self.find_image().await?.map_or(0, |image| image.size);
        self.say(&format!("The image {name} is pulled, {}.", BinaryBytes(size)))
    }

    async fn find_image(&mut self) -> Result<Option<wire::Image>, CliError> {
        let request = wire::ImageStatusRequest {
            image: Some(self.image_spec()),
            verbose: false,
        };
        let answer = self
            .cri
            .images
            .image_status(request)
            .await
            .during("look for the image")?;
        Ok(answer.image)
    }

    async fn start_pod(
        &mut self,
        config: wire::PodSandboxConfig,
        host_network: bool,
    ) -> Result<String, CliError> {
        let request = wire::RunPodSandboxRequest {
            config: Some(config),
            runtime_handler: String::new(),
        };
        let pod = self
            .cri
            .runtime
            .run_pod_sandbox(request)
            .await
            .during("run the pod")?
            .pod_sandbox_id;
        self.made.pod = Some(pod.clone());
        let request = wire::PodSandboxStatusRequest {
            pod_sandbox_id: pod.clone(),
            verbose: false,
        };
        let status = self
            .cri
            .runtime
            .pod_sandbox_status(request)
            .await
            .during("ask for the pod's status")?
            .status
            .unwrap_or_default();
        let place = match status.network {
            Some(network) if !host_network => format!("with the address {}", network.ip),
            _ => "in the host's network".to_owned(),
        };
        let name = self.pod_name();
        self.say(&format!("The pod {name} runs, {place}."))?;
        Ok(pod)
    }

    async fn start_container(
        &mut self,
        pod: String,
        pod_config: wire::PodSandboxConfig,
        host_network: bool,
    ) -> Result<String, CliError> {
        let request = wire::CreateContainerRequest {
            pod_sandbox_id: pod,
            config: Some(self.container(host_network)),
            sandbox_config: Some(pod_config),
        };
        let id = self
            .cri
            .runtime
            .create_container(request)
            .await
            .during("create the container")?
            .container_id;
        self.made.container = Some(id.clone());
        let request = wire::StartContainerRequest {
            container_id: id.clone(),
        };
        self.cri
            .runtime
            .start_container(request)
            .await
            .during("start the container")?;
        let short = id.get(..12).unwrap_or(&id).to_owned();
        self.say(&format!("The container {short} is created in it, and started."))?;
        Ok(id)
    }

    async fn status(&mut self, id: &str) -> Result<wire::ContainerStatus, CliError> {
        let request = wire::ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: false,
        };
        let answer = self
            .cri
            .runtime
            .container_status(request)
            .await
            .during("ask for the container's status")?;
        Ok(answer.status.unwrap_or_default())
    }

    async fn state(&mut self, id: &str) -> Result<(), CliError> {
        let status = self.status(id).await?;
        if status.state() != wire::ContainerState::ContainerRunning {
            return Err(CliError::Demo(format!(
                "the container does not run but is {} with code {}: {}",
                status.state().as_str_name(),
                status.exit_code,
                status.message
            )));
        }
        self.say(&format!("Its state is {}.", status.state().as_str_name()))
    }

    async fn log(&mut self) -> Result<(), CliError> {
        let path = self.logs.join("shell.log");
        let complete = |text: &str| text.lines().count() >= 2 && text.contains(GREETING);
        let read = async {
            loop {
                match tokio::fs::read_to_string(&path).await {
                    Ok(text) if complete(&text) => break text,
                    _ => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let text = tokio::select! {
            text = tokio::time::timeout(PATIENCE, read) => text,
            interrupted = self.interrupt.wait() => return Err(interrupted),
        };
        let text =
            text.map_err(|_| CliError::Demo(format!("no line came to {} in {PATIENCE:?}", path.display())))?;
        self.say(&format!(
            "Its log, {}:\n{}",
            path.display(),
            quote(&text).trim_end()
        ))
    }

    async fn exec(&mut self, id: &str) -> Result<(), CliError> {
        let request = wire::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: EXEC.map(str::to_owned).to_vec(),
            timeout: GRACE_SECONDS,
        };
        let answer = self
            .cri
            .runtime
            .exec_sync(request)
            .await
            .during("execute a command in the container")?;
        let output = String::from_utf8_lossy(&answer.stdout).into_owned();
        if answer.exit_code != 0 {
            let errors = String::from_utf8_lossy(&answer.stderr).into_owned();
            return Err(CliError::Demo(format!(
                "the command in the container ended with code {}: {errors}",
                answer.exit_code
            )));
        }
        self.say(&format!(
            "A command executed in it answers:\n{}",
            quote(&output).trim_end()
        ))
    }

    async fn stop(&mut self, id: &str) -> Result<(), CliError> {
        let request = wire::StopContainerRequest {
            container_id: id.to_owned(),
            timeout: GRACE_SECONDS,
        };
        self.cri
            .runtime
            .stop_container(request)
            .await
            .during("stop the container")?;
        let status = self.status(id).await?;
        if status.exit_code != 0 {
            return Err(CliError::Demo(format!(
                "the container ended with code {} ({}) when asked to stop",
                status.exit_code, status.reason
            )));
        }
        self.say(&format!(
            "Asked to stop, it says goodbye. Its state is {}, with code {}.",
            status.state().as_str_name(),
            status.exit_code
        ))
    }
}
