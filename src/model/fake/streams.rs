//! The fake's commands and attached callers.

use tokio::io::AsyncWriteExt;

use super::Fake;
use crate::model::{AttachRequest, ContainerState, Error, ExecRequest, ExecResponse, Kind, Result};

impl Fake {
    /// The command's output is the command; `false` exits with 1, `sleep` runs out of its time.
    pub(super) async fn run_command(&self, request: ExecRequest) -> Result<ExecResponse> {
        request.validate()?;
        let (id, _) = self.running("exec_sync", &request.container_id)?;
        if request.cmd[0] == "sleep" && !request.timeout.is_zero() {
            return Err(Error::new(Kind::DeadlineExceeded, "the command's time is up"));
        }
        if let Some(mut stdout) = request.stdout {
            let failed = |error| Error::internal("cannot write output").because(error);
            stdout
                .write_all(request.cmd.join(" ").as_bytes())
                .await
                .map_err(failed)?;
            stdout.shutdown().await.map_err(failed)?;
        }
        Ok(ExecResponse {
            container_id: id,
            exit_code: i32::from(request.cmd[0] == "false"),
        })
    }

    /// The container says what it hears, until there is nothing more to hear.
    pub(super) async fn join_in(&self, request: AttachRequest) -> Result<()> {
        request.validate()?;
        let (id, tty) = self.running("attach", &request.container_id)?;
        if request.tty && !tty {
            return Err(Error::invalid(format!("tty: container {id} has no terminal")));
        }
        let Some(mut stdout) = request.stdout else {
            return Ok(());
        };
        let failed = |error| Error::internal("cannot write output").because(error);
        if let Some(mut stdin) = request.stdin {
            tokio::io::copy(&mut stdin, &mut stdout).await.map_err(failed)?;
        }
        stdout.shutdown().await.map_err(failed)
    }

    /// The id of a running container, and whether it has a terminal.
    fn running(&self, call: &'static str, id: &str) -> Result<(String, bool)> {
        let mut state = self.enter(call)?;
        let status = &state.get(id)?.status;
        match status.state {
            ContainerState::Running => Ok((status.id.clone(), status.tty)),
            _ => Err(Error::precondition(format!(
                "container {} does not run",
                status.id
            ))),
        }
    }
}
