//! The adapter as a whole: what it is made of, how it opens, and how it ends. What it answers is in the other files.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cri::containers::Key;
use crate::cri::events::Hub;
use crate::cri::flights::Flights;
use crate::cri::handlers::{self, Handlers};
use crate::cri::sandbox::{Network, Parts, Phase, Pinner, Registry, Sandboxes};
use crate::model::{self, Result};
use crate::state::Store;
use crate::streaming::Urls;
use crate::sys::cgroup::Driver;
use crate::sys::selinux::Selinux;

/// The adapter: CRI v1 over a container runtime `R` and an image store `I`, with pods kept by itself. Clones share it.
pub struct Runtime<R, I, P, N> {
    pub(super) containers: Arc<R>,
    pub(super) images: Arc<I>,
    pub(super) sandboxes: Sandboxes<R, P, N>,
    pub(super) creating: Flights<Key, String>,
    pub(super) settings: Arc<Settings>,
    pub(super) handlers: handlers::Current,
    pub(super) events: Arc<Hub>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Where the adapter keeps what it keeps.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Survives a reboot; told to clients that ask.
    pub state_dir: PathBuf,
    /// Need not survive a reboot; sandboxes have their files and pins in `sandboxes` below it.
    pub run_dir: PathBuf,
    /// Who makes the cgroups of containers. The kubelet has to make its own the same way.
    pub cgroup_driver: Driver,
    /// Where streaming requests wait for their clients.
    pub urls: Urls,
    /// The node's SELinux, of which containers without a pod have levels as well.
    pub selinux: Selinux,
    /// The handlers at first; [`Runtime::set_handlers`] replaces them.
    pub handlers: Handlers,
}

/// How many pods there are, and what is owed for those that were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Ready ones.
    pub ready: usize,
    /// Stopped ones, or such that are not whole.
    pub not_ready: usize,
    /// Attachments that could not be undone yet.
    pub network_debts: usize,
    /// New ones can be attached to the node's network.
    pub network_ready: bool,
    /// Plugins let go of what they are asked to, at most after some tries.
    pub network_released: bool,
}

impl<R, I, P, N> Runtime<R, I, P, N>
where
    R: model::RuntimeService + model::Stats + model::Events,
    I: model::ImageService + model::Filesystem,
    P: Pinner,
    N: Network,
{
    /// Loads the sandboxes, repairs what the last run left half done, and is ready to serve.
    ///
    /// # Errors
    /// `Internal`: the store cannot be read.
    pub async fn open(
        containers: Arc<R>,
        images: Arc<I>,
        pinner: P,
        network: N,
        store: Store,
        settings: Settings,
    ) -> Result<Self> {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let registry = Arc::new(Registry::new(settings.selinux.clone()));
        let events = Arc::new(Hub::new(Arc::clone(&registry)));
        let handlers = Arc::new(ArcSwap::from_pointee(settings.handlers.clone()));
        let sandboxes = Sandboxes::open(Parts {
            store,
            containers: Arc::clone(&containers),
            pinner,
            network,
            registry,
            events: Arc::clone(&events),
            handlers: Arc::clone(&handlers),
            dir: settings.run_dir.join("sandboxes"),
            tasks: tasks.clone(),
            stop: stop.clone(),
        });
        Ok(Runtime {
            containers,
            images,
            sandboxes: sandboxes.await?,
            creating: Flights::new(tasks.clone()),
            settings: Arc::new(settings),
            handlers,
            events,
            tasks,
            stop,
        })
    }

    /// Takes other handlers for the pods that come. Those there are keep what they were run with.
    pub fn set_handlers(&self, handlers: Handlers) {
        self.handlers.store(Arc::new(handlers));
    }

    /// How many tasks there are.
    pub(super) fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Counts the pods, from memory.
    pub fn standing(&self) -> Standing {
        let all = self.sandboxes.all();
        let ready = all
            .iter()
            .filter(|sandbox| sandbox.record.phase == Phase::Ready)
            .count();
        Standing {
            ready,
            not_ready: all.len() - ready,
            network_debts: self.sandboxes.debts().len(),
            network_ready: self.sandboxes.network().ready(None).is_ok(),
            network_released: self.sandboxes.debts_told().lasting.is_none(),
        }
    }

    /// Ends the streams that have no end of their own, each in good order. Called when no new calls are to come.
    pub fn hang_up(&self) {
        self.events.end();
    }

    /// Ends what has no end of its own, and returns when the work under way is done. Called after the last request.
    pub async fn drain(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl<R, I, P, N> Clone for Runtime<R, I, P, N> {
    fn clone(&self) -> Self {
        Runtime {
            containers: Arc::clone(&self.containers),
            images: Arc::clone(&self.images),
            sandboxes: self.sandboxes.clone(),
            creating: self.creating.clone(),
            settings: Arc::clone(&self.settings),
            handlers: Arc::clone(&self.handlers),
            events: Arc::clone(&self.events),
            tasks: self.tasks.clone(),
            stop: self.stop.clone(),
        }
    }
}

impl<R, I, P, N> fmt::Debug for Runtime<R, I, P, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
