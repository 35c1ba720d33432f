//! Taking a container apart: every trace that creation can leave, whatever came of it. Each step is done, and each
//! failure told, even when an earlier one failed; nothing to do is success, so that it may be repeated.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::record::ContainerRecord;
use super::start::kind_of;
use super::{Core, failed, scope};
use crate::model::{Error, Kind, Result};
use crate::monitor::client::MAKING;
use crate::monitor::{MonitorClient, MonitorError};
use crate::sys::cgroup::Cgroup;
use crate::sys::{fs, mount, step};

/// How long killed processes may take to leave their cgroup.
const DYING: Duration = Duration::from_secs(5);
/// How often it is looked whether they have.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

impl Core {
    /// Removes monitor, processes, cgroups, bundle, writable layer and, last, the record.
    ///
    /// # Errors
    /// All failures together; the record stays then, so that the next removal, or the next start, tries again.
    pub(super) async fn tear_down(
        &self,
        id: &str,
        cgroup: &str,
        monitor: Option<MonitorClient>,
    ) -> Result<()> {
        let mut failures = vec![];
        let dir = self.directory(id);
        step("teardown.monitor");
        let released = self.delete_monitor(&dir, monitor).await;
        let is_released = released.is_ok();
        failures.extend(released.err().map(|e| Error::new(kind_of(&e), e.to_string())));
        step("teardown.cgroup");
        if !cgroup.is_empty() {
            failures.extend(self.remove_group(cgroup, dir.clone()).await.err());
        }
        step("teardown.snapshot");
        failures.extend(self.inner.images.remove_snapshot(id).await.err());
        step("teardown.directory");
        // A creation that was cut short may leave its network namespace pinned.
        let unpinned = mount::detach_if_mounted(&dir.join("net"));
        failures.extend(unpinned.err().map(|e| failed("unmount", &dir.join("net"), e)));
        failures.extend(remove_tree(&self.engine_dir().join(id)).await.err());
        if is_released {
            failures.extend(empty(&dir).await.err());
        }
        // Else its door is there, by which the next removal finds it.
        if !failures.is_empty() {
            return Err(all_of(id, &failures));
        }
        step("teardown.record");
        self.inner.store.remove::<ContainerRecord>(id).await?;
        step("teardown.done");
        // The mark of this boot, see `create`. Left behind, it is swept at the next start.
        remove_tree(&dir).await
    }

    async fn delete_monitor(
        &self,
        dir: &Path,
        monitor: Option<MonitorClient>,
    ) -> std::result::Result<(), MonitorError> {
        let monitor = match monitor {
            Some(monitor) => monitor,
            None => match super::recover::ask(dir).await {
                Ok((monitor, _)) => monitor,
                // It has ended with its container, ends at this moment, or was never there.
                Err(error) if error.is_gone() => return Ok(()),
                Err(error) => return Err(error),
            },
        };
        match monitor.delete().await {
            // Gone before, or while, it was asked: what it would have done is done below.
            Err(error) if !error.is_gone() => Err(error),
            _ => Ok(()),
        }
    }

    /// Kills whatever is there until nobody makes anything any more (what a monitor that was killed has left goes on for an
    /// instant), and removes the group.
    async fn remove_group(&self, path: &str, dir: PathBuf) -> Result<()> {
        let path = path.to_owned();
        let removal = tokio::task::spawn_blocking(move || {
            let group = Cgroup::new(&path)?;
            let making = dir.join(MAKING);
            group.kill()?;
            let until = Instant::now() + DYING;
            while fs::is_held(&making)? && Instant::now() < until {
                // The kernel tells nobody when a lock of somebody else's is gone, unless one waits without an end.
                std::thread::sleep(LOOK_AGAIN);
                group.kill()?;
            }
            scope::claim(&dir);
            scope::remove(&group, DYING)
        });
        match removal.await {
            Ok(result) => result.map_err(|e| Error::internal("cgroup").because(e)),
            Err(error) => Err(Error::internal("removal of cgroup ended badly").because(error)),
        }
    }

    /// Kills whatever is in a container's cgroups.
    pub(super) async fn kill_group(&self, path: &str) {
        let group = path.to_owned();
        let killing = tokio::task::spawn_blocking(move || Cgroup::new(&group)?.kill());
        if let Ok(Err(error)) = killing.await {
            tracing::error!(cgroup = path, %error, "processes of a lost container cannot be killed");
        }
    }
}

/// Every failure of a removal. If something has run out, that is what it failed of: the rest may be its consequence.
fn all_of(id: &str, failures: &[Error]) -> Error {
    let exhausted = |error: &Error| error.kind() == Kind::ResourceExhausted;
    let kind = match failures.iter().any(exhausted) {
        true => Kind::ResourceExhausted,
        false => Kind::Internal,
    };
    let texts: Vec<String> = failures.iter().map(Error::to_string).collect();
    Error::new(
        kind,
        format!("cannot remove container {id}: {}", texts.join("; ")),
    )
}

/// Removes all that is in a directory, and keeps it: with the record it says that the container is of this boot.
async fn empty(dir: &Path) -> Result<()> {
    let list = |e| failed("list", dir, e);
    let mut entries = match tokio::fs::read_dir(dir).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(list)?,
    };
    while let Some(entry) = entries.next_entry().await.map_err(list)? {
        let path = entry.path();
        let kind = entry.file_type().await.map_err(list)?;
        let removed = match kind.is_dir() {
            true => tokio::fs::remove_dir_all(&path).await,
            false => tokio::fs::remove_file(&path).await,
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &path, error));
            }
            _ => {}
        }
    }
    Ok(())
}

async fn remove_tree(dir: &Path) -> Result<()> {
    match tokio::fs::remove_dir_all(dir).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", dir, error)),
        _ => Ok(()),
    }
}
