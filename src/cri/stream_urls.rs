//! Exec, Attach and PortForward: what is asked for is checked, and kept behind a URL that its client brings back.

use std::path::PathBuf;

use crate::cri::adapter::Runtime;
use crate::cri::convert::not_empty;
use crate::cri::sandbox::{Mode, Network, Phase, Pinner};
use crate::cri::wire::v1;
use crate::model::{
    self, AttachRequest, ContainerState, ContainerStatus, ContainerStatusRequest, Error, ExecRequest,
    ExecResponse, Result,
};
use crate::streaming::{Asked, Attach, Backend, Command, Streams};

impl<R, I, P, N> Runtime<R, I, P, N>
where
    R: model::RuntimeService + model::Stats + model::Events,
    I: model::ImageService + model::Filesystem,
    P: Pinner,
    N: Network,
{
    pub(super) async fn exec_url(&self, request: v1::ExecRequest) -> Result<v1::ExecResponse> {
        let v1::ExecRequest {
            container_id,
            cmd,
            tty,
            stdin,
            stdout,
            stderr,
        } = request;
        let streams = checked(Streams {
            stdin,
            stdout,
            stderr,
            tty,
        })?;
        not_empty(&container_id, "container_id")?;
        ExecRequest::check_command(&cmd)?;
        let container_id = self.running(container_id).await?.id;
        let asked = Asked::Exec(Command {
            container_id,
            cmd,
            streams,
        });
        let url = self.settings.urls.hand_out(asked)?;
        Ok(v1::ExecResponse { url })
    }

    pub(super) async fn attach_url(&self, request: v1::AttachRequest) -> Result<v1::AttachResponse> {
        let v1::AttachRequest {
            container_id,
            stdin,
            tty,
            stdout,
            stderr,
        } = request;
        let streams = checked(Streams {
            stdin,
            stdout,
            stderr,
            tty,
        })?;
        not_empty(&container_id, "container_id")?;
        let container = self.running(container_id).await?;
        if tty && !container.tty {
            let text = format!("tty must not be set: container {} has no terminal", container.id);
            return Err(Error::invalid(text));
        }
        if !stdout && !stderr && !container.stdin {
            let text = format!("stdin must not be all: container {} takes none", container.id);
            return Err(Error::invalid(text));
        }
        let container_id = container.id;
        let url = self.settings.urls.hand_out(Asked::Attach(Attach {
            container_id,
            streams,
        }))?;
        Ok(v1::AttachResponse { url })
    }

    /// The ports are the client's to name, for each connection; those in the request are checked, and not needed.
    pub(super) fn forward_url(&self, request: v1::PortForwardRequest) -> Result<v1::PortForwardResponse> {
        for (index, port) in request.port.iter().enumerate() {
            if !(1..=65535).contains(port) {
                return Err(Error::invalid(format!("port[{index}] {port} is not a port")));
            }
        }
        let sandbox = self.sandboxes.get(&request.pod_sandbox_id)?.record;
        if sandbox.phase != Phase::Ready {
            return Err(Error::precondition(format!(
                "pod sandbox {} is not ready",
                sandbox.id
            )));
        }
        let url = self.settings.urls.hand_out(Asked::Forward(sandbox.id.clone()))?;
        Ok(v1::PortForwardResponse { url })
    }

    /// The container of an id, or of the beginning of one, which must run: whoever comes with the URL would only learn
    /// later that it does not.
    async fn running(&self, container_id: String) -> Result<ContainerStatus> {
        let request = ContainerStatusRequest {
            container_id,
            verbose: false,
        };
        let answer = self.containers.container_status(request).await?;
        let status = answer.status.unwrap_or_default();
        match status.state {
            ContainerState::Running => Ok(status),
            state => Err(Error::precondition(format!(
                "container {} is in state {state:?}, not running",
                status.id
            ))),
        }
    }
}

fn checked(streams: Streams) -> Result<Streams> {
    if streams.tty && streams.stderr {
        return Err(Error::invalid("stderr must not be set with tty"));
    }
    if !streams.stdin && !streams.stdout && !streams.stderr {
        return Err(Error::invalid("one of stdin, stdout and stderr must be set"));
    }
    Ok(streams)
}

impl<R, I, P, N> Backend for Runtime<R, I, P, N>
where
    R: model::RuntimeService + model::Stats + model::Events,
    I: model::ImageService + model::Filesystem,
    P: Pinner,
    N: Network,
{
    async fn exec(&self, request: ExecRequest) -> Result<ExecResponse> {
        self.containers.exec_sync(request).await
    }

    async fn attach(&self, request: AttachRequest) -> Result<()> {
        self.containers.attach(request).await
    }

    fn network(&self, target: &str) -> Result<Option<PathBuf>> {
        // Clients know that it is over by these words.
        let closed = || Error::precondition(format!("network namespace for sandbox \"{target}\" is closed"));
        let record = self.sandboxes.get(target).map_err(|_| closed())?.record;
        if record.phase != Phase::Ready {
            return Err(closed());
        }
        match record.config.namespaces.network {
            Mode::Pod => Ok(Some(self.sandboxes.dir(&record.id).join("net"))),
            Mode::Node => Ok(None),
        }
    }
}
