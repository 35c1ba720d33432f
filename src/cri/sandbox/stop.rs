//! StopPodSandbox and RemovePodSandbox: every step is taken, whatever the others came to, and all errors are told.

use std::sync::Arc;

use futures_util::future::join_all;
use tracing::Instrument as _;

use crate::cri::wire::v1::ContainerEventType;
use crate::model::{
    self, ContainerFilter, Error, Kind, ListContainersRequest, RemoveContainerRequest, Result,
    StopContainerRequest,
};

use super::debts::{Debt, Detaching, FirstTry, PATIENCE, ended};
use super::pins::NETWORK;
use super::record::{Attachment, Phase, Record};
use super::run::remove_dir;
use super::{Network, Pinner, Sandbox, Sandboxes, Shared, TAG, blocking, gather};
use crate::sys::{planted, step};

impl<R, P, N> Sandboxes<R, P, N>
where
    R: model::RuntimeService + model::Events,
    P: Pinner,
    N: Network,
{
    /// Kills what runs in a sandbox and lets go of its network and namespaces. A repeat joins the stop under way;
    /// stopping a stopped or unknown sandbox succeeds.
    ///
    /// # Errors
    /// All that failed. The sandbox is not ready any more even then, and may be stopped again.
    ///
    /// Cancel safety: the stop goes on.
    pub(in crate::cri) async fn stop(&self, id: &str) -> Result<()> {
        match self.find(id)? {
            Some(sandbox) => self.shared.join_stop(&sandbox.record.id).await,
            None => Ok(()),
        }
    }

    /// Stops a sandbox, removes its containers, and forgets it. Removing an unknown sandbox succeeds.
    ///
    /// # Errors
    /// All that failed. The sandbox stays listed then.
    ///
    /// Cancel safety: the removal goes on.
    pub(in crate::cri) async fn remove(&self, id: &str) -> Result<()> {
        let Some(sandbox) = self.find(id)? else {
            return Ok(());
        };
        let (shared, id) = (Arc::clone(&self.shared), sandbox.record.id.clone());
        let work = || {
            let id = id.clone();
            async move { shared.remove(&id).await }
        };
        self.shared.removing.join(id.clone(), work).await
    }
}

impl<R, P, N> Shared<R, P, N>
where
    R: model::RuntimeService + model::Events,
    P: Pinner,
    N: Network,
{
    async fn join_stop(self: &Arc<Self>, id: &str) -> Result<()> {
        let (shared, key) = (Arc::clone(self), id.to_owned());
        let work = || {
            let id = key.clone();
            async move { shared.stop(&id).await }
        };
        self.stopping.join(key.clone(), work).await
    }

    async fn stop(&self, id: &str) -> Result<()> {
        let Some(sandbox) = self.registry.find(id)? else {
            return Ok(());
        };
        let record = self.close(&sandbox).await?;
        let mut errors = vec![];
        step("adapter.stop.containers");
        errors.extend(self.stop_containers(id).await.err());
        if sandbox.record.phase == Phase::Ready {
            self.tell(&record, ContainerEventType::ContainerStoppedEvent);
        }
        // Containers first: what they still send must not come from an address that is given to another.
        if record.network == Attachment::Held {
            step("adapter.stop.network");
            errors.extend(self.detach(&sandbox, &record).await.err());
        }
        step("adapter.stop.release");
        errors.extend(self.release(&record).await.err());
        let outcome = gather(errors);
        match &outcome {
            Ok(()) => tracing::info!(sandbox = id, "pod sandbox is stopped"),
            Err(_) => tracing::debug!(sandbox = id, "pod sandbox is stopped in part"),
        }
        outcome.map_err(|error| error.within(format!("cannot stop pod sandbox {id}")))
    }

    /// Ends readiness, and waits for containers that are being made: afterwards there comes no new one.
    async fn close(&self, sandbox: &Sandbox) -> Result<Record> {
        let unready = |record: &mut Record| {
            if record.phase == Phase::Ready {
                record.phase = Phase::NotReady;
                step("adapter.stop.record");
            }
            Ok(())
        };
        let record = self.change(sandbox, unready).await?;
        drop(sandbox.gate.write().await);
        Ok(record)
    }

    async fn stop_containers(&self, id: &str) -> Result<()> {
        let stops = self.containers(id).await?.into_iter().map(|container_id| {
            let request = StopContainerRequest {
                container_id,
                timeout: 0,
            };
            self.containers.stop_container(request)
        });
        gather(
            join_all(stops)
                .await
                .into_iter()
                .filter_map(absent_is_fine)
                .collect(),
        )
    }

    /// Detaches the network, or makes a debt of it: a failing plugin keeps no pod from being deleted.
    async fn detach(&self, sandbox: &Sandbox, record: &Record) -> Result<()> {
        self.let_go(record).await?;
        step("adapter.stop.detached");
        let detached = |record: &mut Record| {
            record.network = Attachment::None;
            record.ips = vec![];
            Ok(())
        };
        self.change(sandbox, detached).await.map(drop)
    }

    /// Lets go of the network, now or later. Plugins that take long are not cut short: their end is the debt's first try.
    pub(super) async fn let_go(&self, record: &Record) -> Result<()> {
        let id = &record.id;
        let (network, netns, of) = (Arc::clone(&self.network), self.dir(id).join(NETWORK), id.clone());
        let detach = async move { network.detach(&of, Some(&netns)).await };
        let mut detaching = Detaching::new(self.tasks.spawn(detach.in_current_span()));
        let (reason, first) = match tokio::time::timeout(PATIENCE, &mut detaching).await {
            Ok(done) => match ended(done) {
                Ok(()) => return Ok(()),
                Err(error) => (error.to_string(), FirstTry::Failed),
            },
            Err(_) => {
                let reason = format!("no answer after {} s", PATIENCE.as_secs());
                (reason, FirstTry::UnderWay(detaching))
            }
        };
        if planted("debt") {
            return Ok(());
        }
        let sandbox = record.config.key.to_string();
        self.debts.add(id, Debt { sandbox, reason }, first).await
    }

    /// Lets go of what the kernel holds for a sandbox. As long as its network is not detached that namespace stays: plugins
    /// find in it what they have to take back.
    pub(super) async fn release(&self, record: &Record) -> Result<()> {
        let but: &[&str] = match self.debts.is_open(&record.id) {
            true => &[NETWORK],
            false => &[],
        };
        self.pinner.release(self.dir(&record.id), but).await
    }

    /// Removes a sandbox's directory and then its record. A directory with a network namespace that is still needed is left
    /// to [`Shared::settle`].
    pub(super) async fn discard(&self, id: &str) -> Result<()> {
        let settling = self.debts.hold(id).await;
        if settling.is_none() {
            let dir = self.dir(id);
            step("adapter.remove.directory");
            blocking(move || remove_dir(&dir)).await?;
        }
        step("adapter.remove.record");
        self.forget(id).await
    }

    /// Takes away what a debt has kept of its sandbox, now that it is paid.
    pub(super) async fn settle(&self, id: &str) -> Result<()> {
        let dir = self.dir(id);
        step("adapter.settle.release");
        self.pinner.release(dir.clone(), &[]).await?;
        if self.registry.find(id)?.is_none() {
            step("adapter.settle.directory");
            blocking(move || remove_dir(&dir)).await?;
        }
        Ok(())
    }

    async fn remove(self: &Arc<Self>, id: &str) -> Result<()> {
        self.join_stop(id).await?;
        let within = |error: Error| error.within(format!("cannot remove pod sandbox {id}"));
        step("adapter.remove.containers");
        self.remove_containers(id).await.map_err(within)?;
        let last = self.registry.find(id)?;
        self.discard(id).await.map_err(within)?;
        if let Some(sandbox) = last {
            self.tell(&sandbox.record, ContainerEventType::ContainerDeletedEvent);
        }
        step("adapter.remove.done");
        tracing::info!(sandbox = id, "pod sandbox is removed");
        Ok(())
    }

    async fn remove_containers(&self, id: &str) -> Result<()> {
        let removals = self.containers(id).await?.into_iter().map(|container_id| {
            self.containers
                .remove_container(RemoveContainerRequest { container_id })
        });
        gather(
            join_all(removals)
                .await
                .into_iter()
                .filter_map(absent_is_fine)
                .collect(),
        )
    }

    /// The ids of a sandbox's containers.
    async fn containers(&self, id: &str) -> Result<Vec<String>> {
        let filter = ContainerFilter {
            tag_selector: [(TAG.to_owned(), id.to_owned())].into(),
            ..ContainerFilter::default()
        };
        let request = ListContainersRequest { filter: Some(filter) };
        let listed = self.containers.list_containers(request).await?;
        Ok(listed
            .containers
            .into_iter()
            .map(|container| container.id)
            .collect())
    }
}

/// A container that went away meanwhile needs no stopping.
fn absent_is_fine(outcome: Result<()>) -> Option<Error> {
    outcome.err().filter(|error| error.kind() != Kind::NotFound)
}
