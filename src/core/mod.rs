//! The runtime core: implements the reduced model's [`RuntimeService`], [`Stats`] and [`Events`] over images,
//! specification and monitors.
//!
//! [`Core`] holds handles and no logic: one file a verb. Each call that moves a container through its life runs in a
//! task of the core's own, so that a caller who gives up leaves nothing half done; [`Core::close`] waits for them.
//! Containers outlive the core: their monitors do, and [`Core::open`] finds them again.

mod apparmor;
mod attach;
mod attended;
pub mod audit;
mod bundle;
pub mod cdi;
mod create;
mod devices;
mod dump;
mod entry;
mod events;
mod exec;
mod files;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod health;
mod host;
mod index;
mod info;
mod lookup;
mod metrics;
mod mounted;
mod observe;
mod record;
mod recover;
mod registry;
mod remove;
mod scope;
mod selinux;
mod service;
mod start;
mod stats;
mod stop;
mod teardown;
mod update;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::image::Images;
use crate::model::{Error, Result};
use crate::spec::Host;
use crate::state::Store;
use crate::sys::cgroup::Driver;
use crate::sys::selinux::Selinux;
use crate::sys::zygote::Zygote;
use apparmor::Apparmor;
use cdi::Described;
use registry::Registry;
use selinux::Labelling;

pub use create::Streams;
pub use host::host;
pub use info::Census;

/// How long the death of killed commands is waited for.
const KILL: Duration = Duration::from_secs(2);

/// Where the core keeps what, and its defaults.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Directory for what a reboot may take: bundles, sockets, observations. On tmpfs in production.
    pub run_dir: PathBuf,
    /// Who makes the cgroups of containers.
    pub cgroup_driver: Driver,
    /// Most processes a container may have at first, see [`Core::limit_processes`]; 0 is no limit.
    pub pids_limit: i64,
    /// Directories of descriptions of devices, the first one the least in rank.
    pub device_dirs: Vec<PathBuf>,
    /// What this machine has, for the specification.
    pub host: Host,
    /// This machine's SELinux, with the levels that others have of it.
    pub selinux: Selinux,
}

/// The runtime core. Clones share everything.
#[derive(Clone, Debug)]
pub struct Core {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    /// Most processes of containers that are yet to be made.
    pids_limit: AtomicI64,
    images: Images,
    store: Store,
    zygote: Arc<Zygote>,
    registry: Registry,
    apparmor: Apparmor,
    labelling: Labelling,
    described: Described,
    transitions: events::Transitions,
    /// Calls under way that their callers may give up on, and one observer a living container.
    tasks: TaskTracker,
    /// Commands in containers. None outlives the core.
    execs: TaskTracker,
    closing: CancellationToken,
}

impl Core {
    /// Opens the core and finds the containers of its predecessor again.
    ///
    /// # Errors
    /// When the runtime directory or the record store cannot be used. A single container's trouble is no error: it is
    /// logged, and the container's state tells.
    pub async fn open(settings: Settings, images: Images, store: Store, zygote: Arc<Zygote>) -> Result<Core> {
        let containers = settings.run_dir.join("containers");
        files::private_dir(&containers)
            .map_err(|e| Error::internal(format!("cannot make {}", containers.display())).because(e))?;
        let (registry, tasks) = (Registry::default(), TaskTracker::new());
        let described = Described::new(settings.device_dirs.clone());
        let closing = CancellationToken::new();
        tasks.spawn(described.clone().follow(closing.clone()));
        let core = Core {
            inner: Arc::new(Inner {
                apparmor: Apparmor::new(settings.host.apparmor),
                labelling: Labelling::new(settings.selinux.clone()),
                pids_limit: AtomicI64::new(settings.pids_limit),
                settings,
                images,
                store,
                zygote,
                registry,
                described,
                transitions: events::Transitions::default(),
                tasks,
                execs: TaskTracker::new(),
                closing,
            }),
        };
        let mounts = core.mounts_dir();
        files::passable_dir(&mounts).map_err(|e| failed("make", &mounts, e))?;
        core.recover().await?;
        Ok(core)
    }

    /// Kills the commands in containers whose callers have not let go of them, and waits for the calls under way.
    /// Containers and their monitors go on.
    pub async fn close(&self) {
        self.inner.closing.cancel();
        self.inner.execs.close();
        if tokio::time::timeout(KILL, self.inner.execs.wait()).await.is_err() {
            tracing::warn!("commands in containers outlive the core");
        }
        self.inner.tasks.close();
        // Observers wait for the end of containers; they are given up, the next core takes over.
        for entry in self.inner.registry.all() {
            let _idle = entry.operation.lock().await;
        }
    }

    /// Limits the processes of containers that are made from now on; 0 is no limit.
    pub fn limit_processes(&self, limit: i64) {
        self.inner.pids_limit.store(limit, Ordering::Relaxed);
    }

    fn pids_limit(&self) -> i64 {
        self.inner.pids_limit.load(Ordering::Relaxed)
    }

    /// An empty directory that others may pass, though not list: create workers mount there what the root of a user
    /// namespace has to reach, each in a mount namespace of its own.
    pub fn mounts_dir(&self) -> PathBuf {
        self.inner.settings.run_dir.join("mounts")
    }

    /// The directory of one container below the runtime directory.
    fn directory(&self, id: &str) -> PathBuf {
        self.inner.settings.run_dir.join("containers").join(id)
    }

    /// Directory of libcontainer's own state.
    fn engine_dir(&self) -> PathBuf {
        self.inner.settings.run_dir.join("engine")
    }

    /// Directory of compiled system call filters.
    fn filter_dir(&self) -> PathBuf {
        self.inner.settings.run_dir.join("seccomp")
    }

    /// Runs a call in a task of its own: it goes on when the caller has gone.
    async fn detached<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let task = self.inner.tasks.spawn(call.in_current_span());
        task.await
            .unwrap_or_else(|e| Err(Error::internal("call ended badly").because(e)))
    }
}

/// Puts an input/output error in words.
fn failed(what: &str, path: &Path, error: std::io::Error) -> Error {
    Error::internal(format!("cannot {what} {}", path.display())).because(error)
}
