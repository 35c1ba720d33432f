//! What becomes of the sandboxes when the daemon starts: those that were being made are cleaned up, those that a
//! reboot took are not ready any more, the others are as they were.

use std::sync::Arc;

use futures_util::StreamExt;

use crate::cri::wire::v1::ContainerEventType;
use crate::model::{self, Result};
use crate::sys::planted;

use super::debts::{Debt, FirstTry};
use super::namespaces::Held;
use super::record::{Attachment, Phase, Record};
use super::{Network, Pinner, Sandboxes, Shared};

/// Sandboxes repaired side by side: what they write goes to disk together.
const REPAIRS: usize = 512;

impl<R, P, N> Sandboxes<R, P, N>
where
    R: model::RuntimeService + model::Events,
    P: Pinner,
    N: Network,
{
    /// Loads and repairs. A single sandbox that cannot be repaired stays, not ready; it stops nothing.
    pub(super) async fn recover(&self) -> Result<()> {
        let records = self.shared.store.load::<Record>()?;
        for (_, record) in &records {
            self.shared.registry.put(record.clone());
        }
        // Containers that ended meanwhile are told of before the sandboxes that are not whole any more.
        let events = Arc::clone(&self.shared.events);
        self.shared.containers.observe(events);
        let ready = records.iter().filter(|(_, record)| record.phase == Phase::Ready);
        let held: Vec<Held> = ready.map(|(_, record)| self.shared.held(record)).collect();
        let mut whole = self.shared.pinner.hold(held).await.into_iter();
        let looked_at = records.into_iter().map(|(_, record)| {
            let whole = record.phase != Phase::Ready || planted("reboot") || whole.next() == Some(true);
            (record, whole)
        });
        futures_util::stream::iter(looked_at)
            .for_each_concurrent(REPAIRS, async |(record, whole)| {
                let id = record.id.clone();
                if let Err(error) = self.shared.recover(record, whole).await {
                    tracing::warn!(sandbox = id, %error, "pod sandbox is not recovered");
                }
            })
            .await;
        if let Err(error) = self.shared.recover_attachments().await {
            tracing::warn!(%error, "network attachments are not looked through");
        }
        Ok(())
    }
}

impl<R, P, N> Shared<R, P, N>
where
    R: model::RuntimeService + model::Events,
    P: Pinner,
    N: Network,
{
    async fn recover(self: &Arc<Self>, record: Record, whole: bool) -> Result<()> {
        let phase = match record.phase {
            Phase::Making if !planted("half-made") => return self.clean(record).await,
            Phase::Ready if !whole => {
                tracing::info!(
                    sandbox = record.id,
                    "pod sandbox is gone from the kernel, not ready any more"
                );
                Phase::NotReady
            }
            phase => phase,
        };
        if phase == record.phase {
            return Ok(());
        }
        let record = Record { phase, ..record };
        self.registry.put(record.clone());
        self.save(record.clone()).await?;
        self.tell(&record, ContainerEventType::ContainerStoppedEvent);
        Ok(())
    }

    /// Makes debts of attachments that belong to no sandbox: of one whose record was lost, say.
    async fn recover_attachments(&self) -> Result<()> {
        let held = self.attached();
        let owed = self.debts.all();
        for id in self.network.recorded().await? {
            if !held.contains(&id) && !owed.contains_key(&id) {
                let debt = Debt {
                    sandbox: "unknown".to_owned(),
                    reason: "no pod sandbox has this attachment".to_owned(),
                };
                self.debts.add(&id, debt, FirstTry::AtOnce).await?;
            }
        }
        Ok(())
    }

    /// Takes back what a sandbox had when the daemon ended in the middle of making it. Its id was never told, so
    /// nobody asks for it; what the network plugins hold becomes a debt, since they may be slow.
    async fn clean(&self, record: Record) -> Result<()> {
        // Shown first: if cleaning fails, the kubelet sees it and removes it.
        let phase = Phase::NotReady;
        self.registry.put(Record {
            phase,
            ..record.clone()
        });
        if record.network == Attachment::Held {
            let debt = Debt {
                sandbox: record.config.key.to_string(),
                reason: "the daemon ended while the sandbox was made".to_owned(),
            };
            self.debts.add(&record.id, debt, FirstTry::AtOnce).await?;
        }
        self.release(&record).await?;
        self.discard(&record.id).await
    }
}
