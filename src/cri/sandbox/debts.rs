//! Network debts: attachments whose `DEL` did not succeed in time while their sandbox was stopped.
//!
//! A failing plugin must not keep a pod from being deleted, and an address must not be lost either. So what could not
//! be detached becomes a record of its own, which a single task pays back: at start, and again with growing pauses, a
//! few at a time, so that one that hangs does not hold up the others. While there is no debt the task sleeps.
//!
//! What plugins take back they find in the sandbox's network namespace: a debt keeps that, and the directory it is pinned in,
//! also when the sandbox is removed, and takes them away when it is paid.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex as Lock, MutexGuard as Guard, Notify};
use tokio::task::JoinError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::model::{self, Error, Result};
use crate::state::{self, Store};

use super::{Network, Pinner, Shared};

/// The pause before a debt is tried again: the first, doubled each time up to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LAST_PAUSE: Duration = Duration::from_secs(300);
/// How long one try may take.
const TRY: Duration = Duration::from_secs(30);
/// How long stopping a sandbox waits for its network before that becomes a debt.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How many debts are tried at a time.
const AT_ONCE: usize = 8;
/// Debts not tried yet beyond which nothing new is attached.
const ROOM: usize = 16;
/// A debt that was tried in vain so often is worth telling in the node's conditions.
const LASTING: u32 = 4;

/// A detaching that is under way. It ends with this value.
pub(super) type Detaching = AbortOnDropHandle<Result<()>>;

/// What was done about a debt before it was one.
#[derive(Debug)]
pub(super) enum FirstTry {
    /// Nothing.
    AtOnce,
    /// Something that goes on.
    UnderWay(Detaching),
    /// In vain.
    Failed,
}

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

/// What has become of the debts since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cri) struct Told {
    /// How many there are.
    pub(in crate::cri) open: u64,
    /// How many were taken on.
    pub(in crate::cri) taken_on: u64,
    /// How many were paid.
    pub(in crate::cri) paid: u64,
    /// Tries that failed.
    pub(in crate::cri) failed_tries: u64,
    /// Times that plugins were asked to let go of what nothing holds.
    pub(in crate::cri) collections: u64,
    /// Times that they could not.
    pub(in crate::cri) failed_collections: u64,
    /// The debt that was tried most often in vain, when that is lasting.
    #[serde(skip)]
    pub(in crate::cri) lasting: Option<Debt>,
}

/// The debts, by the id of their sandbox.
#[derive(Debug)]
pub(in crate::cri) struct Debts {
    store: Store,
    books: Mutex<Books>,
    more: Notify,
    /// Told of each try that has ended.
    tried: Notify,
    stop: CancellationToken,
    /// Held by who takes away what a debt has kept, and by who removes a sandbox that has a debt.
    settling: Lock<()>,
    /// Told of each debt: where there is one there may be more than is known.
    wanted: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Books {
    open: BTreeMap<String, Open>,
    told: Told,
}

#[derive(Debug)]
struct Open {
    debt: Debt,
    /// A try that is under way since before it was a debt.
    underway: Option<Detaching>,
    pause: Duration,
    /// When it is tried again; none while it is being tried.
    next: Option<Instant>,
    tries: u32,
}

impl Open {
    fn new(debt: Debt, next: Instant) -> Open {
        Open {
            debt,
            underway: None,
            pause: FIRST_PAUSE,
            next: Some(next),
            tries: 0,
        }
    }
}

impl Debts {
    /// Loads the debts that were left. They are paid until told to stop.
    pub(super) fn load(store: Store, wanted: Arc<Notify>, stop: CancellationToken) -> Result<Arc<Debts>> {
        let now = Instant::now();
        let loaded = store.load::<Debt>()?.into_iter();
        let books = Books {
            open: loaded.map(|(id, debt)| (id, Open::new(debt, now))).collect(),
            told: Told::default(),
        };
        Ok(Arc::new(Debts {
            store,
            books: Mutex::new(books),
            more: Notify::new(),
            tried: Notify::new(),
            stop,
            settling: Lock::default(),
            wanted,
        }))
    }

    /// Takes on a debt. It is on disk when this returns.
    pub(super) async fn add(&self, id: &str, debt: Debt, first: FirstTry) -> Result<()> {
        self.store.put(id, &debt).await?;
        tracing::warn!(
            sandbox = id,
            reason = debt.reason,
            "network is not detached yet, tries again later"
        );
        {
            let mut books = self.lock();
            books.told.taken_on += 1;
            let mut open = Open::new(debt, Instant::now());
            match first {
                FirstTry::AtOnce => {}
                FirstTry::UnderWay(detaching) => open.underway = Some(detaching),
                FirstTry::Failed => {
                    open.next = Some(Instant::now() + FIRST_PAUSE);
                    open.tries = 1;
                }
            }
            books.open.insert(id.to_owned(), open);
        }
        self.more.notify_one();
        self.wanted.notify_one();
        Ok(())
    }

    /// Whether something is owed for a sandbox.
    pub(super) fn is_open(&self, id: &str) -> bool {
        self.lock().open.contains_key(id)
    }

    /// Waits while many debts were not tried even once: a daemon that is killed again and again would attach faster than it
    /// detaches, until a bridge has no port or a range no address left.
    ///
    /// # Errors
    /// `Unavailable`: told to stop.
    pub(super) async fn room(&self) -> Result<()> {
        loop {
            let tried = self.tried.notified();
            if self.untried() <= ROOM {
                return Ok(());
            }
            tokio::select! {
                () = tried => {}
                () = self.stop.cancelled() => {
                    return Err(Error::new(model::Kind::Unavailable, "the daemon stops"));
                }
            }
        }
    }

    fn untried(&self) -> usize {
        self.lock().open.values().filter(|open| open.tries == 0).count()
    }

    /// Keeps a debt from being settled, if it is open.
    pub(super) async fn hold(&self, id: &str) -> Option<Guard<'_, ()>> {
        if !self.is_open(id) {
            return None;
        }
        let held = self.settling.lock().await;
        self.is_open(id).then_some(held)
    }

    /// What is owed, by sandbox id.
    pub(in crate::cri) fn all(&self) -> BTreeMap<String, Debt> {
        let books = self.lock();
        let open = books.open.iter();
        open.map(|(id, open)| (id.clone(), open.debt.clone())).collect()
    }

    /// What has become of the debts.
    pub(super) fn told(&self) -> Told {
        let books = self.lock();
        let worst = books.open.values().max_by_key(|open| open.tries);
        Told {
            open: books.open.len() as u64,
            lasting: worst
                .filter(|open| open.tries >= LASTING)
                .map(|open| open.debt.clone()),
            ..books.told.clone()
        }
    }

    /// Counts a collection.
    pub(super) fn collected(&self, done: bool) {
        let told = &mut self.lock().told;
        match done {
            true => told.collections += 1,
            false => told.failed_collections += 1,
        }
    }

    /// Pays back until told to stop.
    pub(super) async fn pay<R, P, N>(self: Arc<Self>, shared: Arc<Shared<R, P, N>>)
    where
        R: model::RuntimeService + model::Events,
        P: Pinner,
        N: Network,
    {
        let mut tries = FuturesUnordered::new();
        loop {
            let next = self.next().filter(|_| tries.len() < AT_ONCE);
            let due = async {
                match &next {
                    Some((at, _)) => tokio::time::sleep_until(*at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.more.notified() => continue,
                Some(()) = tries.next() => {
                    self.tried.notify_waiters();
                    continue;
                }
                () = due => {}
            }
            if let Some((_, id)) = next
                && let Some(open) = self.lock().open.get_mut(&id)
            {
                open.next = None;
                tries.push(self.try_one(id, open.underway.take(), &shared));
            }
        }
    }

    fn next(&self) -> Option<(Instant, String)> {
        let books = self.lock();
        let waiting = books
            .open
            .iter()
            .filter_map(|(id, open)| Some((open.next?, id.clone())));
        waiting.min()
    }

    async fn try_one<R, P, N>(&self, id: String, underway: Option<Detaching>, shared: &Shared<R, P, N>)
    where
        R: model::RuntimeService + model::Events,
        P: Pinner,
        N: Network,
    {
        let detached = async {
            match underway {
                Some(detaching) => ended(detaching.await),
                None => shared.network.detach(&id, None).await,
            }
        };
        let reason = match tokio::time::timeout(TRY, detached).await {
            Ok(Ok(())) => match self.settle(&id, shared).await {
                Ok(()) => return,
                Err(error) => error.to_string(),
            },
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer after {} s", TRY.as_secs()),
        };
        tracing::debug!(sandbox = id, reason, "network is still not detached");
        let mut books = self.lock();
        books.told.failed_tries += 1;
        if let Some(open) = books.open.get_mut(&id) {
            open.debt.reason = reason;
            open.tries += 1;
            open.pause = (open.pause * 2).min(LAST_PAUSE);
            open.next = Some(Instant::now() + open.pause);
        }
    }

    async fn settle<R, P, N>(&self, id: &str, shared: &Shared<R, P, N>) -> Result<()>
    where
        R: model::RuntimeService + model::Events,
        P: Pinner,
        N: Network,
    {
        let _settling = self.settling.lock().await;
        shared.settle(id).await?;
        self.store.remove::<Debt>(id).await?;
        tracing::info!(sandbox = id, "network is detached at last");
        let mut books = self.lock();
        books.open.remove(id);
        books.told.paid += 1;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().expect("no panic happens under this lock")
    }
}

/// What a detaching came to that ran as a task.
pub(super) fn ended(done: std::result::Result<Result<()>, JoinError>) -> Result<()> {
    done.unwrap_or_else(|error| Err(Error::internal("detaching ended badly").because(error)))
}
