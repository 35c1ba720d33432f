//! The parts of a daemon, opened in the order in which they need each other and closed the other way round.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::admin::{AdminService, FILE_DESCRIPTOR_SET};
use super::check::{Daemon, Look};
use super::driver;
use super::dump::Dump;
use super::error::AppError;
use super::handlers::{conf_dirs, handlers};
use super::images::{self, image_root, open_images, open_records};
use super::readings::readings;
use crate::api::{self, Service};
use crate::cni::{self, Networks};
use crate::config::{self, Config};
use crate::core::{self, Core};
use crate::cri::server::Services;
use crate::cri::{self, Runtime, ZygotePinner};
use crate::image::Images;
use crate::state::Store;
use crate::streaming::{self, Certificate, Server, Serving};
use crate::sys::idmap;
use crate::sys::selinux::Selinux;
use crate::sys::zygote::Zygote;
use crate::telemetry::{self, Scrape, Scraping, Wanted};

/// CRI over the core, the image store, the zygote's namespaces and CNI plugins.
pub(super) type Adapter = Runtime<Core, Images, ZygotePinner, Networks>;

/// Everything that answers calls.
pub(super) struct Node {
    records: Store,
    images: Images,
    networks: Networks,
    core: Core,
    adapter: Adapter,
    zygote: Arc<Zygote>,
    admin: AdminService,
    streaming: Serving,
    metrics: Option<Scraping>,
}

impl Node {
    /// Opens every part. Each finds what its predecessor left: images, then containers, then pods, since a pod is
    /// judged by its containers and a container by its image.
    pub(super) async fn open(config: &Config, zygote: Arc<Zygote>) -> Result<Node, AppError> {
        let settings = core_settings(config)?;
        let (cgroup_driver, selinux) = (settings.cgroup_driver, settings.selinux.clone());
        tracing::info!(driver = ?cgroup_driver, "cgroups");
        let streaming = Server::bind(streaming(&config.streaming)).await?;
        let metrics = metrics(config).await?;
        let records = open_records(config)?;
        let images = open_images(config, &records).await?;
        let networks = Networks::open(network(config)).await.map_err(AppError::Network)?;
        let core = Core::open(settings, images.clone(), records.clone(), Arc::clone(&zygote))
            .await
            .map_err(AppError::Core)?;
        let user_namespaces = user_namespaces(config, &core, Arc::clone(&zygote));
        let adapter = Runtime::open(
            Arc::new(core.clone()),
            Arc::new(images.clone()),
            ZygotePinner::new(Arc::clone(&zygote), user_namespaces),
            networks.clone(),
            records.clone(),
            cri::Settings {
                state_dir: config.state_dir.clone(),
                run_dir: config.run_dir.clone(),
                cgroup_driver,
                urls: streaming.urls(),
                selinux,
                handlers: handlers(config),
            },
        )
        .await
        .map_err(AppError::Adapter)?;
        let dump = Dump {
            config: config.clone(),
            core: core.clone(),
            adapter: adapter.clone(),
            zygote: Arc::clone(&zygote),
        };
        let daemon = Daemon {
            core: core.clone(),
            images: images.clone(),
            networks: networks.clone(),
            zygote: Arc::clone(&zygote),
        };
        let look = Look::new(config, network(config), records.clone(), Some(daemon));
        let (containers, pods) = (core.clone(), adapter.clone());
        let source = move || readings(containers.census(), pods.standing());
        Ok(Node {
            metrics: metrics.map(|metrics| metrics.serve(source)),
            admin: AdminService::new(images.clone(), image_root(&config.state_dir))
                .checked_by(look)
                .dumped_by(dump),
            records,
            images,
            networks,
            core,
            streaming: streaming.serve(adapter.clone()),
            adapter,
            zygote,
        })
    }

    /// Waits for the zygote, which sets itself up while all else is opened and the first calls are served. What needs it
    /// waits too.
    pub(super) async fn ready(&self) -> Result<(), AppError> {
        let zygote = Arc::clone(&self.zygote);
        let waited = tokio::task::spawn_blocking(move || zygote.wait_until_ready());
        waited
            .await
            .map_or(Ok(()), |waited| waited.map_err(AppError::Zygote))
    }

    /// What is served on the socket.
    pub(super) fn services(&self) -> Services {
        let adapter = Arc::new(self.adapter.clone());
        let admin = self.admin.clone().into_server();
        Services::new(Arc::clone(&adapter), adapter)
            .with(FILE_DESCRIPTOR_SET, |routes| routes.add_service(admin))
    }

    /// The calls of the reduced API.
    ///
    /// # Errors
    /// The directory of its logs cannot be used.
    pub(super) async fn api(&self, config: &Config) -> Result<Service<Core, Images>, AppError> {
        let settings = api::Settings {
            logs: config.state_dir.join("logs"),
            owner: cri::owner,
        };
        let (runtime, images) = (Arc::new(self.core.clone()), Arc::new(self.images.clone()));
        Service::open(runtime, images, settings)
            .await
            .map_err(AppError::Api)
    }

    /// The parts that take a changed configuration.
    pub(super) fn live(&self) -> Live {
        Live {
            images: self.images.clone(),
            networks: self.networks.clone(),
            core: self.core.clone(),
            adapter: self.adapter.clone(),
        }
    }

    /// Ends the streams that would go on for ever.
    pub(super) fn hang_up(&self) {
        self.adapter.hang_up();
    }

    /// Finishes what is under way and writes what is to be written. Containers and their monitors go on.
    pub(super) async fn close(self) {
        if let Some(metrics) = self.metrics {
            metrics.stop().await;
        }
        self.streaming.stop().await;
        self.adapter.drain().await;
        self.core.close().await;
        self.networks.stop().await;
        self.images.close().await;
        self.records.close().await;
    }
}

/// The parts of a daemon that take what can change while they work.
#[derive(Debug)]
pub(super) struct Live {
    images: Images,
    networks: Networks,
    core: Core,
    adapter: Adapter,
}

impl Live {
    /// Takes the live keys of a configuration that is valid.
    pub(super) fn apply(&self, config: &Config) {
        if let Err(error) = telemetry::change(wanted(config)) {
            tracing::error!(%error, "what is logged stays as it was");
        }
        // Networks are there before handlers that use them, and go after.
        let (dirs, before) = (conf_dirs(config), self.networks.further_dirs());
        self.networks.have(&dirs.union(&before).cloned().collect());
        self.adapter.set_handlers(handlers(config));
        self.networks.have(&dirs);
        self.core.limit_processes(config.containers.pids_limit.into());
        self.images.pull_by(images::settings(config));
    }
}

/// What is to be logged.
pub fn wanted(config: &Config) -> Wanted<'_> {
    Wanted {
        level: config.log.level.name(),
        filter: config.log.filter.as_deref(),
    }
}

/// The server that metrics are asked of, if there is to be one.
async fn metrics(config: &Config) -> Result<Option<Scrape>, AppError> {
    let Some(address) = config.metrics.address else {
        return Ok(None);
    };
    let bound = Scrape::bind(address).await;
    bound
        .map(Some)
        .map_err(|source| AppError::Metrics { address, source })
}

/// Begins to find out why there can be no pods in user namespaces, if there cannot.
fn user_namespaces(
    config: &Config,
    core: &Core,
    zygote: Arc<Zygote>,
) -> impl Future<Output = Result<(), String>> + Send + 'static {
    let places = idmap::Places {
        layers: image_root(&config.state_dir),
        mounts: core.mounts_dir(),
    };
    let tried = tokio::task::spawn_blocking(move || {
        idmap::probe(&zygote, &places)
            .inspect_err(|why| tracing::info!(why, "pods cannot have user namespaces"))
    });
    tried.map(|tried| tried.unwrap_or_else(|e| Err(e.to_string())))
}

pub(super) fn network(config: &Config) -> cni::Settings {
    cni::Settings {
        conf_dir: config.cni.conf_dir.clone(),
        further_conf_dirs: conf_dirs(config),
        plugin_dirs: config.cni.bin_dirs.clone(),
        cache_dir: config.state_dir.join("cni"),
        template: config.cni.conf_template.clone(),
        deadline: Duration::from_secs(config.cni.timeout_seconds.get().into()),
    }
}

fn streaming(settings: &config::Streaming) -> streaming::Options {
    let seconds = |number: NonZeroU32| Duration::from_secs(number.get().into());
    let files = settings.tls_certificate.clone().zip(settings.tls_key.clone());
    streaming::Options {
        address: settings.address,
        certificate: files.map(|(certificates, key)| Certificate { certificates, key }),
        idle_timeout: seconds(settings.idle_timeout_seconds),
        creation_timeout: seconds(settings.creation_timeout_seconds),
    }
}

/// What the core is opened with.
///
/// # Errors
/// The machine cannot be looked at, or has not what the settings ask for.
pub(super) fn core_settings(config: &Config) -> Result<core::Settings, AppError> {
    let cgroup_driver = driver::driver(config)?;
    let parent = driver::parent(config, cgroup_driver)?;
    Ok(core::Settings {
        run_dir: config.run_dir.clone(),
        host: core::host(&parent).map_err(AppError::Host)?,
        cgroup_driver,
        pids_limit: config.containers.pids_limit.into(),
        device_dirs: config.cdi.spec_dirs.clone(),
        selinux: match config.containers.selinux {
            true => selinux(),
            false => Selinux::default(),
        },
    })
}

/// The node's SELinux; one that containers can have no labels of is as good as none.
fn selinux() -> Selinux {
    match Selinux::of_node() {
        Ok(found) => {
            if let Some(policy) = found.policy() {
                tracing::info!(process = %policy.process, files = %policy.files, "containers have SELinux labels");
            }
            found
        }
        Err(error) => {
            tracing::warn!(%error, "SELinux is on, and containers have no labels");
            Selinux::default()
        }
    }
}

/// A path of the configuration as text: validation has seen that it is UTF-8.
pub(super) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
