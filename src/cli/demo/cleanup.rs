//! Removes what a demo has made: every step is tried, every failure is told.

use std::fs;

use k8s_cri::v1 as wire;

use super::Demo;
use crate::cli::CliError;
use crate::cli::client::During;
use crate::cli::error::chain;

impl Demo {
    pub(super) async fn clean_up(&mut self) -> Result<(), CliError> {
        let mut failures = Vec::new();
        let mut note =
            |result: Result<(), CliError>| failures.extend(result.err().map(|error| chain(&error)));
        if let Some(id) = self.made.container.take() {
            note(self.remove_container(id).await);
        }
        if let Some(id) = self.made.pod.take() {
            note(self.stop_pod(id.clone()).await);
            note(self.remove_pod(id).await);
        }
        if self.made.image {
            note(self.remove_image().await);
        }
        note(self.remove_logs());
        if failures.is_empty() {
            return Ok(());
        }
        Err(CliError::Demo(format!(
            "something is left over: {}",
            failures.join("; ")
        )))
    }

    /// Kills it first if it runs.
    async fn remove_container(&mut self, container_id: String) -> Result<(), CliError> {
        let request = wire::RemoveContainerRequest { container_id };
        let answer = self.cri.runtime.remove_container(request).await;
        answer.during("remove the container").map(drop)
    }

    async fn stop_pod(&mut self, pod_sandbox_id: String) -> Result<(), CliError> {
        let request = wire::StopPodSandboxRequest { pod_sandbox_id };
        let answer = self.cri.runtime.stop_pod_sandbox(request).await;
        answer.during("stop the pod").map(drop)
    }

    async fn remove_pod(&mut self, pod_sandbox_id: String) -> Result<(), CliError> {
        let request = wire::RemovePodSandboxRequest { pod_sandbox_id };
        let answer = self.cri.runtime.remove_pod_sandbox(request).await;
        answer.during("remove the pod").map(drop)
    }

    async fn remove_image(&mut self) -> Result<(), CliError> {
        let request = wire::RemoveImageRequest {
            image: Some(self.image_spec()),
        };
        let answer = self.cri.images.remove_image(request).await;
        answer.during("remove the image").map(drop)
    }

    fn remove_logs(&self) -> Result<(), CliError> {
        fs::remove_dir_all(&self.logs).map_err(|source| CliError::File {
            action: "remove the log directory",
            path: self.logs.clone(),
            source,
        })
    }
}
