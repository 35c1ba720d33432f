//! The logs of containers that name none: one file a container, in one directory, taken away with the container.

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::{Service, defaults};
use crate::model::{self, Error, ListContainersRequest, Result};
use crate::sys::{fs, step};

impl<R, I> Service<R, I>
where
    R: model::RuntimeService + model::Stats,
    I: model::ImageService + model::Filesystem,
{
    /// Makes the directory, and takes away what a removal that was cut short has left in it.
    pub(super) async fn sweep_logs(&self) -> Result<()> {
        let dir = &self.settings.logs;
        let failed =
            |e| Error::internal(format!("cannot use the directory of logs {}", dir.display())).because(e);
        // Before the listing: a log that is there by then has a container, or had one.
        let found = made_and_listed(dir).map_err(failed)?;
        let all = self
            .runtime
            .list_containers(ListContainersRequest::default())
            .await?;
        let owned: BTreeSet<String> = all
            .containers
            .iter()
            .map(|container| defaults::log_name(&container.id))
            .collect();
        for name in found.difference(&owned) {
            tracing::info!(log = name, "no container has this log, removing it");
            remove(&dir.join(name))?;
        }
        Ok(())
    }

    /// Takes away the log of a container that is no more, if it was here.
    pub(super) async fn remove_log(&self, id: &str) -> Result<()> {
        step("api.log.remove");
        remove(&self.settings.logs.join(defaults::log_name(id)))
    }
}

fn made_and_listed(dir: &Path) -> std::io::Result<BTreeSet<String>> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    fs::names(dir)
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::internal(format!("cannot remove log {}", path.display())).because(error))
        }
        _ => Ok(()),
    }
}
