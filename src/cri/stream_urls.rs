//! Exec: what is asked for is checked, and kept behind a URL that its client brings back.

use crate::cri::adapter::Runtime;
use crate::cri::convert::not_empty;
use crate::cri::sandbox::{Network, Pinner};
use crate::cri::wire::v1;
use crate::model::{
    self, ContainerState, ContainerStatus, ContainerStatusRequest, Error, ExecRequest, ExecResponse, Result,
};
use crate::streaming::{Asked, Backend, Streams};

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
        let asked = Asked::Exec {
            container_id,
            cmd,
            streams,
        };
        let url = self.settings.urls.hand_out(asked)?;
        Ok(v1::ExecResponse { url })
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
}
