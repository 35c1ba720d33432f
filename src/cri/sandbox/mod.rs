//! The trivial sandbox: a record, pinned namespaces, a network attachment. No process, no image, no container.
//!
//! ```text
//!  run            attached            stop
//! -----> Making ----------> Ready ------------> NotReady ---remove---> (gone)
//!           |                 ^                    ^
//!           |                 | a repeat of run    |
//!           |                 | returns its id     |
//!           +--- failed, or the daemon ended: undone and gone,
//!                or, if that fails too, kept ------+
//! ```
//!
//! A sandbox is on disk before its first side effect, so that nothing it made is ever without an owner. Containers
//! belong to it by a tag that only the adapter understands.

pub(crate) mod audit;
mod bandwidth;
mod collect;
mod debts;
mod files;
mod namespaces;
mod network;
mod pins;
mod plugins;
mod record;
mod recover;
mod registry;
mod run;
mod stop;
mod undo;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cri::events::Hub;
use crate::cri::flights::Flights;
use crate::cri::handlers;
use crate::cri::wire::v1::ContainerEventType;
use crate::model::{self, ContainerFilter, Error, Result};
use crate::state::Store;
use crate::sys::clock::now;
use crate::sys::step;

pub(super) use bandwidth::bandwidth;
pub(super) use debts::{Debt, Told};
pub(super) use files::{hostname, mounts};
pub use namespaces::{Held, PinRequest, Pinner};
pub(super) use namespaces::{check_sysctls, shared, user};
pub use network::{AttachRequest, Network};
pub use pins::ZygotePinner;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) use record::Attachment;
pub(super) use record::{
    Config, Dns, Key, Mappings, Mode, Modes, Phase, PidMode, Port, Protocol, Record, Resources,
};
pub(super) use registry::{Registry, Sandbox};
use undo::gather;

/// The tag that says which sandbox a container belongs to.
pub(super) const TAG: &str = "cri.sandbox";

/// All sandboxes, and what it takes to run and stop them. Clones share everything.
#[derive(Debug)]
pub(super) struct Sandboxes<R, P, N> {
    shared: Arc<Shared<R, P, N>>,
}

impl<R, P, N> Clone for Sandboxes<R, P, N> {
    fn clone(&self) -> Self {
        Sandboxes {
            shared: Arc::clone(&self.shared),
        }
    }
}

#[derive(Debug)]
struct Shared<R, P, N> {
    registry: Arc<Registry>,
    events: Arc<Hub>,
    handlers: handlers::Current,
    store: Store,
    containers: Arc<R>,
    pinner: P,
    network: Arc<N>,
    debts: Arc<debts::Debts>,
    /// The sandboxes' directories are here, by id. Need not survive a reboot.
    dir: PathBuf,
    running: Flights<Key, String>,
    stopping: Flights<String, ()>,
    removing: Flights<String, ()>,
    tasks: TaskTracker,
}

/// What sandboxes are made with.
pub(super) struct Parts<R, P, N> {
    pub(super) store: Store,
    pub(super) containers: Arc<R>,
    pub(super) pinner: P,
    pub(super) network: N,
    /// Empty.
    pub(super) registry: Arc<Registry>,
    /// Is told what happens to sandboxes.
    pub(super) events: Arc<Hub>,
    pub(super) handlers: handlers::Current,
    pub(super) dir: PathBuf,
    /// Owns every task.
    pub(super) tasks: TaskTracker,
    /// Ends the tasks that have no end of their own.
    pub(super) stop: CancellationToken,
}

impl<R, P, N> Sandboxes<R, P, N>
where
    R: model::RuntimeService + model::Events,
    P: Pinner,
    N: Network,
{
    /// Loads the sandboxes and cleans up those that were being made.
    ///
    /// # Errors
    /// `Internal`: the store cannot be read.
    pub(super) async fn open(parts: Parts<R, P, N>) -> Result<Self> {
        let Parts {
            store,
            containers,
            pinner,
            network,
            registry,
            events,
            handlers,
            dir,
            tasks,
            stop,
        } = parts;
        let wanted = Arc::new(Notify::new());
        let debts = debts::Debts::load(store.clone(), Arc::clone(&wanted), stop.clone())?;
        let shared = Arc::new(Shared {
            registry,
            events,
            handlers,
            store,
            containers,
            pinner,
            network: Arc::new(network),
            debts: Arc::clone(&debts),
            dir,
            running: Flights::new(tasks.clone()),
            stopping: Flights::new(tasks.clone()),
            removing: Flights::new(tasks.clone()),
            tasks: tasks.clone(),
        });
        let sandboxes = Sandboxes { shared };
        sandboxes.recover().await?;
        tasks.spawn(debts.pay(Arc::clone(&sandboxes.shared)));
        tasks.spawn(collect::keep(Arc::clone(&sandboxes.shared), wanted, stop));
        Ok(sandboxes)
    }

    /// The sandbox of an id, or of the unique beginning of one, that is past its making.
    pub(super) fn find(&self, id: &str) -> Result<Option<Sandbox>> {
        if id.is_empty() {
            return Err(Error::invalid("pod_sandbox_id is empty"));
        }
        let found = self.shared.registry.find(id)?;
        Ok(found.filter(|sandbox| sandbox.record.phase != Phase::Making))
    }

    /// As [`Sandboxes::find`]; an unknown id is an error.
    pub(super) fn get(&self, id: &str) -> Result<Sandbox> {
        let unknown = || Error::not_found(format!("no pod sandbox {id}"));
        self.find(id)?.ok_or_else(unknown)
    }

    /// What a filter's id leaves: all without one; nothing, if it is unknown or begins several.
    pub(super) fn candidates(&self, id: &str) -> Vec<Sandbox> {
        match id {
            "" => self.all(),
            id => self.find(id).ok().flatten().into_iter().collect(),
        }
    }

    /// Every sandbox past its making.
    pub(super) fn all(&self) -> Vec<Sandbox> {
        let mut all = self.everything();
        all.retain(|sandbox| sandbox.record.phase != Phase::Making);
        all
    }

    /// Every sandbox with its locks, those in the making too.
    pub(super) fn everything(&self) -> Vec<Sandbox> {
        self.shared.registry.all()
    }

    /// How many sandboxes are being run, stopped and removed by calls that others join.
    pub(super) fn in_flight(&self) -> (usize, usize, usize) {
        let Shared {
            running,
            stopping,
            removing,
            ..
        } = self.shared.as_ref();
        (running.len(), stopping.len(), removing.len())
    }

    /// Keeps what the pod as a whole may use. What is not told stays.
    ///
    /// # Errors
    /// `FailedPrecondition`: the sandbox is not ready.
    ///
    /// Cancel safety: the change goes on.
    pub(super) async fn update(&self, id: &str, resources: Resources) -> Result<()> {
        let (shared, sandbox) = (Arc::clone(&self.shared), self.get(id)?);
        let edit = move |record: &mut Record| {
            if record.phase != Phase::Ready {
                let id = &record.id;
                return Err(Error::precondition(format!("pod sandbox {id} is not ready")));
            }
            let kept = &mut record.config.resources;
            kept.overhead = resources.overhead.or(kept.overhead.take());
            kept.containers = resources.containers.or(kept.containers.take());
            step("adapter.update.record");
            Ok(())
        };
        let change = async move { shared.change(&sandbox, edit).await.map(drop) };
        let lost = |error| Error::internal("the change ended badly").because(error);
        self.shared.tasks.spawn(change).await.map_err(lost)?
    }

    /// What the network plugins may still hold for sandboxes that were stopped.
    pub(super) fn debts(&self) -> BTreeMap<String, Debt> {
        self.shared.debts.all()
    }

    /// What was done about them since the start.
    pub(super) fn debts_told(&self) -> Told {
        self.shared.debts.told()
    }

    /// The network.
    pub(super) fn network(&self) -> &N {
        &self.shared.network
    }

    /// Whether sandboxes can have user namespaces of their own.
    pub(super) async fn user_namespaces(&self) -> bool {
        self.shared.pinner.user_namespaces().await.is_ok()
    }

    /// Where a sandbox's files and pins are.
    pub(super) fn dir(&self, id: &str) -> PathBuf {
        self.shared.dir.join(id)
    }
}

impl<R, P, N> Shared<R, P, N> {
    fn dir(&self, id: &str) -> PathBuf {
        self.dir.join(id)
    }

    /// The sandboxes that hold a network attachment, those being made among them.
    fn attached(&self) -> BTreeSet<String> {
        let all = self.registry.all().into_iter();
        all.map(|sandbox| sandbox.record)
            .filter(|record| record.network == record::Attachment::Held)
            .map(|record| record.id.clone())
            .collect()
    }

    fn held(&self, record: &Record) -> Held {
        Held {
            dir: self.dir(&record.id),
            pins: namespaces::pins(record.config.namespaces),
        }
    }

    /// Writes a record to disk, then shows it.
    async fn save(&self, record: Record) -> Result<()> {
        self.store.put(&record.id, &record).await?;
        self.registry.put(record);
        Ok(())
    }

    /// Replaces the record of a sandbox by an edited one, unless the edit changes nothing. Edits of one sandbox follow each
    /// other, each upon the outcome of the one before.
    async fn change(
        &self,
        sandbox: &Sandbox,
        edit: impl FnOnce(&mut Record) -> Result<()>,
    ) -> Result<Record> {
        let _writing = sandbox.writing.lock().await;
        let id = &sandbox.record.id;
        let now = self.registry.find(id)?;
        let now = now
            .ok_or_else(|| Error::not_found(format!("no pod sandbox {id}")))?
            .record;
        let mut record = Record::clone(&now);
        edit(&mut record)?;
        if record != *now {
            self.save(record.clone()).await?;
        }
        Ok(record)
    }

    /// Removes a record from disk, then from sight.
    async fn forget(&self, id: &str) -> Result<()> {
        self.store.remove::<Record>(id).await?;
        self.registry.remove(id);
        Ok(())
    }
}

impl<R: model::Events, P, N> Shared<R, P, N> {
    /// Tells subscribers what has happened to a sandbox.
    fn tell(&self, record: &Record, kind: ContainerEventType) {
        // Statuses that nobody hears of are not gathered.
        if !self.events.is_heard() {
            return;
        }
        let filter = ContainerFilter {
            tag_selector: [(TAG.to_owned(), record.id.clone())].into(),
            ..ContainerFilter::default()
        };
        let tell = |statuses| self.events.tell(record, kind, now(), statuses);
        self.containers.between(&filter, tell);
    }
}

/// Runs blocking work of a sandbox off the threads that serve calls.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let lost = |error| Error::internal("blocking work ended").because(error);
    let span = tracing::Span::current();
    let work = move || span.in_scope(work);
    tokio::task::spawn_blocking(work).await.map_err(lost)?
}
