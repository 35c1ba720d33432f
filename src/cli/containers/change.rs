//! `coracle start`, `stop` and `rm`: one call for each container that is named.

use std::process::ExitCode;

use clap::Args;

use super::place::Place;
use crate::app::client::{Call, Insistence};
use crate::cli::CliError;
use crate::model::{ContainerState, RemoveContainerRequest, StartContainerRequest, StopContainerRequest};

/// Whose containers may be changed.
#[derive(Clone, Copy, Debug, Args)]
pub(in crate::cli) struct Whose {
    /// Changes containers of the kubelet, too. It does not know, and may start them anew
    #[arg(long)]
    force: bool,
}

impl Whose {
    pub(super) fn insistence(self) -> Insistence {
        match self.force {
            true => Insistence::Force,
            false => Insistence::Polite,
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Start {
    #[command(flatten)]
    whose: Whose,
    /// Ids, beginnings of ids, or names
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Stop {
    /// Seconds that a container has to end by itself
    #[arg(short, long, value_name = "SECONDS", default_value_t = 10)]
    time: u32,
    #[command(flatten)]
    whose: Whose,
    /// Ids, beginnings of ids, or names
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Remove {
    /// Removes containers that run, too, and those of the kubelet
    #[arg(short, long)]
    force: bool,
    /// Ids, beginnings of ids, or names
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) async fn start(place: &Place, options: Start) -> Result<ExitCode, CliError> {
    let insistence = options.whose.insistence();
    place
        .each(&options.containers, async |container| {
            let request = StartContainerRequest {
                container_id: container.id.clone(),
            };
            let action = || format!("start {}", container.id);
            place
                .change(Call::StartContainer, insistence, &request, action)
                .await
        })
        .await
}

pub(super) async fn stop(place: &Place, options: Stop) -> Result<ExitCode, CliError> {
    let insistence = options.whose.insistence();
    place
        .each(&options.containers, async |container| {
            let request = StopContainerRequest {
                container_id: container.id.clone(),
                timeout: options.time.into(),
            };
            let action = || format!("stop {}", container.id);
            place
                .change(Call::StopContainer, insistence, &request, action)
                .await
        })
        .await
}

pub(super) async fn remove(place: &Place, options: Remove) -> Result<ExitCode, CliError> {
    let insistence = Whose { force: options.force }.insistence();
    place
        .each(&options.containers, async |container| {
            if container.state == ContainerState::Running && !options.force {
                return Err(CliError::Running(container.id.clone()));
            }
            let request = RemoveContainerRequest {
                container_id: container.id.clone(),
            };
            let action = || format!("remove {}", container.id);
            place
                .change(Call::RemoveContainer, insistence, &request, action)
                .await
        })
        .await
}
