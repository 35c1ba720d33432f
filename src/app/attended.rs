//! A container that a person stays with: the core over an offline store, without a daemon and without pods.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::error::AppError;
use super::node::core_settings;
use super::offline::Offline;
use super::serve::{make_run_directory, start_zygote};
use crate::config::Config;
use crate::core::{Core, Streams};
use crate::model::{
    CreateContainerRequest, RemoveContainerRequest, Result, RuntimeService, StartContainerRequest,
};
use crate::monitor::protocol::TerminalSize;

/// Where the container's standard streams go.
#[derive(Debug)]
pub enum Attach {
    /// To these three: standard input, output, error.
    Descriptors([OwnedFd; 3]),
    /// To a new terminal of this many columns and rows.
    Terminal(u16, u16),
}

/// One container, created. To be removed by [`Attended::remove`], whatever happens.
#[derive(Debug)]
pub struct Attended {
    core: Core,
    id: String,
    terminal: Option<OwnedFd>,
}

impl Offline {
    /// Whether an image is in the store, by name or id.
    pub fn has_image(&self, name: &str) -> bool {
        self.images().resolve(name).is_some()
    }

    /// Creates a container with its streams attached to the caller.
    ///
    /// # Errors
    /// The core cannot be opened, or refuses the request.
    pub async fn attend(
        &self,
        config: &Config,
        request: CreateContainerRequest,
        attach: Attach,
    ) -> std::result::Result<Attended, AppError> {
        make_run_directory(&config.run_dir)?;
        let zygote = Arc::new(start_zygote(config)?);
        let settings = core_settings(config)?;
        let core = Core::open(settings, self.images().clone(), self.records().clone(), zygote)
            .await
            .map_err(AppError::Core)?;
        let streams = match attach {
            Attach::Descriptors(three) => Streams::Given(three),
            Attach::Terminal(width, height) => Streams::Terminal(TerminalSize { width, height }),
        };
        let (id, terminal) = core
            .create_with(request, streams)
            .await
            .map_err(AppError::Container)?;
        Ok(Attended { core, id, terminal })
    }
}

impl Attended {
    /// The master side of the terminal, once, if one was asked for.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Runs the command; returns when it runs.
    ///
    /// # Errors
    /// Why it cannot be executed.
    pub async fn start(&self) -> Result<()> {
        let container_id = self.id.clone();
        self.core
            .start_container(StartContainerRequest { container_id })
            .await
    }

    /// Returns the exit code when the command has ended.
    ///
    /// # Errors
    /// Nobody can tell how it ended.
    pub async fn wait(&self) -> Result<i32> {
        self.core.wait(&self.id).await
    }

    /// Sends a signal to the command.
    ///
    /// # Errors
    /// It does not run.
    pub async fn signal(&self, signal: i32) -> Result<()> {
        self.core.signal(&self.id, signal).await
    }

    /// Kills what still runs, removes the container, and closes the core.
    ///
    /// # Errors
    /// What could not be removed.
    pub async fn remove(self) -> Result<()> {
        let container_id = self.id.clone();
        let removed = self
            .core
            .remove_container(RemoveContainerRequest { container_id })
            .await;
        self.core.close().await;
        removed
    }
}
