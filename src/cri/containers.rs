//! The calls about containers: what is more than converting, one call of the model, and converting back.

use std::time::Duration;

use bytes::Bytes;

use crate::cri::adapter::Runtime;
use crate::cri::convert::{self, ATTEMPT_TAG, NAME_TAG, PidSource, not_empty};
use crate::cri::runtime::Messages;
use crate::cri::sandbox::{Network, Phase, Pinner, Record, TAG};
use crate::cri::streams::{batched, fitting};
use crate::cri::wire::{Encoded, MAX_MESSAGE_BYTES, v1};
use crate::model::{
    self, Container, ContainerConfig, ContainerFilter, ContainerMetadata, ContainerState,
    ContainerStatusRequest, CreateContainerRequest, Error, Kind, ListContainersRequest, Namespace,
    RemoveContainerRequest, ReopenContainerLogRequest, Result, StartContainerRequest, StopContainerRequest,
    UpdateContainerResourcesRequest,
};
use crate::streaming::Output;

/// Bytes of output that ExecSync's answer has room for.
const OUTPUT_BYTES: usize = MAX_MESSAGE_BYTES - 1024;

/// The identity of a container: its sandbox's full id, and its own name and try.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    sandbox: String,
    name: String,
    attempt: u32,
}

impl<R, I, P, N> Runtime<R, I, P, N>
where
    R: model::RuntimeService + model::Stats + model::Events,
    I: model::ImageService + model::Filesystem,
    P: Pinner,
    N: Network,
{
    /// Makes a container. A repeat joins the creation under way, and later gets the id of the created container.
    pub(super) async fn create(
        &self,
        request: v1::CreateContainerRequest,
    ) -> Result<v1::CreateContainerResponse> {
        let sandbox = self.sandboxes.get(&request.pod_sandbox_id)?;
        let missing = || Error::invalid("config is missing");
        let config = request.config.ok_or_else(missing)?;
        let ContainerMetadata { name, attempt } = convert::metadata(&config)?;
        let id = sandbox.record.id.clone();
        let key = Key {
            sandbox: id.clone(),
            name,
            attempt,
        };
        let runtime = self.clone();
        let work = {
            let key = key.clone();
            move || async move { runtime.create_in(&id, key, config).await }
        };
        let container_id = self.creating.join(key, work).await?;
        Ok(v1::CreateContainerResponse { container_id })
    }

    async fn create_in(&self, sandbox: &str, key: Key, config: v1::ContainerConfig) -> Result<String> {
        // The gate keeps a stop waiting until this container is made, and so seen by it.
        let gate = self.sandboxes.get(sandbox)?.gate.read_owned().await;
        let record = self.sandboxes.get(sandbox)?.record;
        if record.phase != Phase::Ready {
            return Err(Error::precondition(format!("pod sandbox {sandbox} is not ready")));
        }
        self.check_image_handler(&config, &record)?;
        let config = self.decode(config, &record).await?;
        if let Some(known) = self.known(&key).await? {
            // What was not started is what an earlier call made, whose caller may never have heard of it.
            return match self.was_started(&known).await? {
                false => Ok(known.id),
                true => Err(Error::new(
                    Kind::AlreadyExists,
                    format!(
                        "container {} (attempt {}) exists: {}",
                        key.name, key.attempt, known.id
                    ),
                )),
            };
        }
        let request = CreateContainerRequest {
            config: Some(config),
            container_id: String::new(),
        };
        let created = self.containers.create_container(request).await?;
        drop(gate);
        Ok(created.container_id)
    }

    /// An image for another handler than that of its sandbox is not what was meant.
    fn check_image_handler(&self, config: &v1::ContainerConfig, sandbox: &Record) -> Result<()> {
        let image = config.image.as_ref();
        let named = image.map_or("", |image| image.runtime_handler.as_str());
        let (own, handlers) = (&sandbox.config.runtime_handler, self.handlers.load());
        match named.is_empty() || handlers.meant(named) == handlers.meant(own) {
            true => Ok(()),
            false => Err(Error::invalid(format!(
                "config.image.runtime_handler {named} is not that of the pod sandbox, {own:?}"
            ))),
        }
    }

    async fn decode(&self, config: v1::ContainerConfig, sandbox: &Record) -> Result<ContainerConfig> {
        let dir = self.sandboxes.dir(&sandbox.id);
        let pid = match convert::pid_source(&config, sandbox, &dir)? {
            PidSource::Is(namespace) => namespace,
            PidSource::Target(id) => self.target(&id, &sandbox.id).await?,
        };
        let config = convert::container(config, sandbox, &dir, pid)?;
        let asked = config.mounts.iter().skip(convert::added_mounts(&config.tags));
        for (index, mount) in asked.enumerate() {
            let path = &mount.host_path;
            if mount.image.is_none() && !tokio::fs::try_exists(path).await.unwrap_or(false) {
                return Err(Error::invalid(format!(
                    "mounts[{index}].host_path {path} does not exist"
                )));
            }
        }
        Ok(config)
    }

    /// The PID namespace of a running container of the same sandbox.
    async fn target(&self, id: &str, sandbox: &str) -> Result<Namespace> {
        const FIELD: &str = "linux.security_context.namespace_options.target_id";
        let request = ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: false,
        };
        let status = self
            .containers
            .container_status(request)
            .await?
            .status
            .unwrap_or_default();
        if status.tags.get(TAG).map(String::as_str) != Some(sandbox) {
            return Err(Error::invalid(format!(
                "{FIELD} {id} is a container of another pod sandbox"
            )));
        }
        match (status.state, status.pid) {
            (ContainerState::Running, Some(pid)) => Ok(Namespace::Join(format!("/proc/{pid}/ns/pid").into())),
            _ => Err(Error::precondition(format!("{FIELD} {id} does not run"))),
        }
    }

    /// The container of an identity, if it was made before.
    async fn known(&self, key: &Key) -> Result<Option<Container>> {
        let tags = [
            (TAG, key.sandbox.clone()),
            (NAME_TAG, key.name.clone()),
            (ATTEMPT_TAG, key.attempt.to_string()),
        ];
        let filter = ContainerFilter {
            tag_selector: tags.map(|(tag, value)| (tag.to_owned(), value)).into(),
            ..ContainerFilter::default()
        };
        let request = ListContainersRequest { filter: Some(filter) };
        let mut listed = self.containers.list_containers(request).await?.containers;
        Ok(listed.pop())
    }

    /// Whether a container runs or ran: one may end before it is started.
    async fn was_started(&self, container: &Container) -> Result<bool> {
        if container.state != ContainerState::Exited {
            return Ok(container.state != ContainerState::Created);
        }
        let request = ContainerStatusRequest {
            container_id: container.id.clone(),
            verbose: false,
        };
        let status = self.containers.container_status(request).await?.status;
        Ok(status.is_none_or(|status| status.started_at != 0))
    }

    pub(super) async fn start(
        &self,
        request: v1::StartContainerRequest,
    ) -> Result<v1::StartContainerResponse> {
        let container_id = container_id(request.container_id)?;
        self.containers
            .start_container(StartContainerRequest { container_id })
            .await?;
        Ok(v1::StartContainerResponse {})
    }

    pub(super) async fn stop(&self, request: v1::StopContainerRequest) -> Result<v1::StopContainerResponse> {
        if request.timeout < 0 {
            return Err(Error::invalid(format!("timeout {} is negative", request.timeout)));
        }
        let request = StopContainerRequest {
            container_id: container_id(request.container_id)?,
            timeout: request.timeout,
        };
        self.containers.stop_container(request).await?;
        Ok(v1::StopContainerResponse {})
    }

    pub(super) async fn remove(
        &self,
        request: v1::RemoveContainerRequest,
    ) -> Result<v1::RemoveContainerResponse> {
        let container_id = container_id(request.container_id)?;
        self.containers
            .remove_container(RemoveContainerRequest { container_id })
            .await?;
        Ok(v1::RemoveContainerResponse {})
    }

    pub(super) async fn list(&self, request: v1::ListContainersRequest) -> Result<Encoded> {
        let items = self.chosen(request.filter).await?;
        fitting(Encoded { items })
    }

    pub(super) async fn list_stream(
        &self,
        request: v1::StreamContainersRequest,
    ) -> Result<Messages<Encoded>> {
        let chosen = self.chosen(request.filter).await?.into_iter();
        Ok(batched(chosen, |items| Encoded { items }))
    }

    async fn chosen(&self, filter: Option<v1::ContainerFilter>) -> Result<Vec<Bytes>> {
        let filter = filter.unwrap_or_default();
        match self.named_sandbox(&filter.pod_sandbox_id) {
            Some(sandbox) => {
                let filter = convert::container_filter(filter, sandbox.as_deref())?;
                let request = ListContainersRequest { filter: Some(filter) };
                self.containers
                    .list_written(request, convert::container_written)
                    .await
            }
            None => Ok(vec![]),
        }
    }

    /// The full id of the sandbox a filter names, if it names one; the outer `None` says that nothing can match.
    pub(super) fn named_sandbox(&self, id: &str) -> Option<Option<String>> {
        if id.is_empty() {
            return Some(None);
        }
        let sandbox = self.sandboxes.find(id).ok()??;
        Some(Some(sandbox.record.id.clone()))
    }

    pub(super) async fn container_report(
        &self,
        request: v1::ContainerStatusRequest,
    ) -> Result<v1::ContainerStatusResponse> {
        let request = ContainerStatusRequest {
            container_id: container_id(request.container_id)?,
            verbose: request.verbose,
        };
        let answer = self.containers.container_status(request).await?;
        Ok(v1::ContainerStatusResponse {
            status: answer.status.map(convert::container_status),
            info: answer.info,
        })
    }

    pub(super) async fn update(
        &self,
        request: v1::UpdateContainerResourcesRequest,
    ) -> Result<v1::UpdateContainerResourcesResponse> {
        let container_id = container_id(request.container_id)?;
        let limits = request.linux.ok_or_else(|| Error::invalid("linux is missing"))?;
        let request = UpdateContainerResourcesRequest {
            container_id,
            linux: Some(convert::resources(limits, "linux")?),
        };
        self.containers.update_container_resources(request).await?;
        Ok(v1::UpdateContainerResourcesResponse {})
    }

    pub(super) async fn reopen_log(
        &self,
        request: v1::ReopenContainerLogRequest,
    ) -> Result<v1::ReopenContainerLogResponse> {
        let container_id = container_id(request.container_id)?;
        self.containers
            .reopen_container_log(ReopenContainerLogRequest { container_id })
            .await?;
        Ok(v1::ReopenContainerLogResponse {})
    }

    /// Runs a command to its end. An exit code other than 0 is no error.
    pub(super) async fn run_command(&self, request: v1::ExecSyncRequest) -> Result<v1::ExecSyncResponse> {
        let timeout = u64::try_from(request.timeout)
            .map_err(|_| Error::invalid(format!("timeout {} is negative", request.timeout)))?;
        let (stdout, stderr) = (Output::limited(OUTPUT_BYTES), Output::limited(OUTPUT_BYTES));
        let request = model::ExecRequest {
            container_id: request.container_id,
            cmd: request.cmd,
            tty: false,
            stdin: None,
            stdout: Some(Box::new(stdout.clone())),
            stderr: Some(Box::new(stderr.clone())),
            resize: None,
            grace: Duration::ZERO,
            timeout: Duration::from_secs(timeout),
        };
        request.validate()?;
        let answer = self.containers.exec_sync(request).await?;
        let (mut stdout, mut stderr) = (stdout.take(), stderr.take());
        // Both go into one message. Errors are short as a rule: they keep half of it at least.
        stdout.truncate(OUTPUT_BYTES - stderr.len().min(OUTPUT_BYTES / 2));
        stderr.truncate(OUTPUT_BYTES - stdout.len());
        Ok(v1::ExecSyncResponse {
            stdout: stdout.into(),
            stderr: stderr.into(),
            exit_code: answer.exit_code,
        })
    }
}

pub(super) fn container_id(id: String) -> Result<String> {
    not_empty(&id, "container_id")?;
    Ok(id)
}
