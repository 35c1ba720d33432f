//! Network debts: attachments whose `DEL` did not succeed in time while their sandbox was stopped.
//!
//! A failing plugin must not keep a pod from being deleted, and an address must not be lost either. So what could not
//! be detached becomes a record of its own, which a single task pays back: at start, and again with growing pauses.
//! While there is no debt the task sleeps.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::model::Result;
use crate::state::{self, Store};

use super::network::Network;

/// The pause before a debt is tried again: the first, doubled each time up to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LAST_PAUSE: Duration = Duration::from_secs(300);
/// How long one try may take.
pub(super) const TRY: Duration = Duration::from_secs(30);

/// An attachment that the network plugins may still hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cri) struct Debt {
    /// The identity of the sandbox it was for, for a person.
    pub(in crate::cri) sandbox: String,
    /// Why the last try failed.
    pub(in crate::cri) reason: String,
}

impl state::Record for Debt {
    const TABLE: &'static str = "network-debts-v1";
}

/// The debts, by the id of their sandbox.
#[derive(Debug)]
pub(in crate::cri) struct Debts {
    store: Store,
    open: Mutex<BTreeMap<String, Open>>,
    more: Notify,
}

#[derive(Clone, Debug)]
struct Open {
    debt: Debt,
    pause: Duration,
    next: Instant,
}

impl Debts {
    /// Loads the debts that were left.
    pub(super) fn load(store: Store) -> Result<Arc<Debts>> {
        let now = Instant::now();
        let open = |debt| Open {
            debt,
            pause: FIRST_PAUSE,
            next: now,
        };
        let loaded = store.load::<Debt>()?;
        Ok(Arc::new(Debts {
            store,
            open: Mutex::new(loaded.into_iter().map(|(id, debt)| (id, open(debt))).collect()),
            more: Notify::new(),
        }))
    }

    /// Takes on a debt. It is on disk when this returns.
    pub(super) async fn add(&self, id: &str, debt: Debt) -> Result<()> {
        self.store.put(id, &debt).await?;
        tracing::warn!(
            sandbox = id,
            reason = debt.reason,
            "network is not detached yet, tries again later"
        );
        let open = Open {
            debt,
            pause: FIRST_PAUSE,
            next: Instant::now() + FIRST_PAUSE,
        };
        self.lock().insert(id.to_owned(), open);
        self.more.notify_one();
        Ok(())
    }

    /// What is owed, by sandbox id.
    pub(in crate::cri) fn all(&self) -> BTreeMap<String, Debt> {
        let open = self.lock();
        open.iter()
            .map(|(id, open)| (id.clone(), open.debt.clone()))
            .collect()
    }

    /// Pays back until told to stop.
    pub(super) async fn pay<N: Network>(self: Arc<Self>, network: Arc<N>, stop: CancellationToken) {
        loop {
            let next = self.lock().iter().map(|(id, open)| (open.next, id.clone())).min();
            let due = async {
                match &next {
                    Some((at, _)) => tokio::time::sleep_until(*at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.more.notified() => continue,
                () = due => {}
            }
            if let Some((_, id)) = next {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.try_one(&id, network.as_ref()) => {}
                }
            }
        }
    }

    async fn try_one<N: Network>(&self, id: &str, network: &N) {
        let reason = match tokio::time::timeout(TRY, network.detach(id, None)).await {
            Ok(Ok(())) => match self.store.remove::<Debt>(id).await {
                Ok(()) => {
                    tracing::info!(sandbox = id, "network is detached at last");
                    self.lock().remove(id);
                    return;
                }
                Err(error) => error.to_string(),
            },
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer after {} s", TRY.as_secs()),
        };
        tracing::debug!(sandbox = id, reason, "network is still not detached");
        if let Some(open) = self.lock().get_mut(id) {
            open.debt.reason = reason;
            open.pause = (open.pause * 2).min(LAST_PAUSE);
            open.next = Instant::now() + open.pause;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Open>> {
        self.open.lock().expect("no panic happens under this lock")
    }
}
