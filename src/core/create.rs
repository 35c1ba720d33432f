//! CreateContainer: image, writable layer, specification, bundle, monitor.
//!
//! The record is on disk before the first side effect; a creation that fails is taken apart whole, and one that is cut
//! short by a crash is taken apart at the next start.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bundle::{self, Places};
use super::entry::{Entry, Live, Phase};
use super::lookup::{self, Joined};
use super::mounted::{self, Mounted};
use super::observe::unknown;
use super::record::{Observation, VERSION, record};
use super::start::kind_of;
use super::{Core, failed, files, selinux};
use crate::image::{ImageRecord, Snapshot};
use crate::model::{Change, ContainerConfig, CreateContainerRequest, Error, Result};
use crate::monitor::client::CreateDescriptors;
use crate::monitor::protocol::{CreateRequest, Created, Process, StagedTree, Stdio, TerminalSize};
use crate::monitor::seccomp;
use crate::monitor::{MonitorClient, MonitorError};
use crate::spec::{self, Labels, Output, Volume};
use crate::sys::zygote::PinRequest;
use crate::sys::{cgroup, mount, step};
use crate::telemetry::{self, Stage, traces};

/// Where a container's standard streams go.
#[derive(Debug, Default)]
pub enum Streams {
    /// To its log, by way of its monitor.
    #[default]
    Logged,
    /// To these three descriptors.
    Given([OwnedFd; 3]),
    /// To a terminal whose master side the caller gets.
    Terminal(TerminalSize),
}

impl Core {
    pub(super) async fn create(&self, request: CreateContainerRequest) -> Result<String> {
        let (id, _) = self.create_with(request, Streams::Logged).await?;
        Ok(id)
    }

    /// Creates a container as [`RuntimeService::create_container`](crate::model::RuntimeService::create_container)
    /// does, with its streams where the caller wants them. The second value is a terminal's master side.
    ///
    /// # Errors
    /// As that call.
    pub async fn create_with(
        &self,
        request: CreateContainerRequest,
        streams: Streams,
    ) -> Result<(String, Option<OwnedFd>)> {
        let config = request
            .config
            .ok_or_else(|| Error::invalid("config is missing"))?;
        let id = match request.container_id.is_empty() {
            true => new_id(),
            false => checked_id(request.container_id)?,
        };
        let core = self.clone();
        self.detached(async move { core.create_now(id, config, streams).await })
            .await
    }

    async fn create_now(
        &self,
        id: String,
        mut config: ContainerConfig,
        streams: Streams,
    ) -> Result<(String, Option<OwnedFd>)> {
        let _underway = telemetry::begin(Stage::Create);
        traces::about("container.id", &id);
        let image = self.image_of(&config)?;
        let level = self.inner.labelling.give_level(&mut config)?;
        // Everything that can be wrong with the request is found out before anything is made.
        let plan = self.plan(&id, &config, &image).await?;
        let record = record(&config, &image, &plan.mounted, &plan.output);
        let entry = Arc::new(Entry::new(id.clone(), record, Phase::Creating));
        entry.hold(level);
        self.inner.registry.insert(Arc::clone(&entry))?;
        let _operation = entry.operation.lock().await;
        match self.make(&entry, &image, plan, streams).await {
            Ok((live, terminal)) => {
                let monitor = live.monitor.clone();
                self.transit(&entry, Change::Created, || entry.set_phase(Phase::Created(live)));
                self.follow(&entry, monitor);
                Ok((id, terminal))
            }
            Err(error) => {
                let error = error.within(format!("cannot create container {id}"));
                match self.tear_down(&id, &entry.record.cgroup, None).await {
                    Ok(()) => {
                        self.inner.registry.remove(&id);
                    }
                    // Listed, so that whoever asked for it can remove it, and with it what is left.
                    Err(left) => {
                        tracing::error!(container = id, error = %left, "failed creation leaves something behind");
                        self.end(&entry, unknown(0, &error.to_string())).await;
                    }
                }
                Err(error)
            }
        }
    }

    fn image_of(&self, config: &ContainerConfig) -> Result<Arc<ImageRecord>> {
        let name = config
            .image
            .as_ref()
            .map(|i| i.image.as_str())
            .unwrap_or_default();
        if name.is_empty() {
            return Err(Error::invalid("config.image.image is empty"));
        }
        self.inner
            .images
            .find(name)?
            .ok_or_else(|| Error::not_found(format!("image {name} is not in the store")))
            .and_then(|image| match &image.artifact {
                None => Ok(image),
                Some(kind) => Err(Error::invalid(format!(
                    "image {name} is an artifact of type {kind:?}: it can be mounted as a volume, and not run"
                ))),
            })
    }

    async fn plan(&self, id: &str, config: &ContainerConfig, image: &ImageRecord) -> Result<Plan> {
        let mut config = config.clone();
        let images = &self.inner.images;
        let found = lookup::find(&config, image, images, &self.inner.described).await?;
        found.brought.amend(&mut config);
        let joined = lookup::namespaces(&mut config)?;
        if let Some(linux) = &mut config.linux {
            self.inner.apparmor.resolve(&mut linux.security).await?;
        }
        let volumes = lookup::volumes(id, &config, image, images);
        let labels = self.inner.labelling.labels(&config)?;
        let relabelled = match labels {
            Some(_) => selinux::relabelled(&config, &found.binds, &volumes)?,
            None => vec![],
        };
        let cgroup_name = self.group_name(id, &mut config)?;
        let places = self.places(id, &config);
        let mut output = spec::generate(&spec::Input {
            id,
            cgroup_name: &cgroup_name,
            config: &config,
            image: image.config.config().as_ref(),
            passwd: found.passwd.as_deref(),
            group: found.group.as_deref(),
            host: &self.inner.settings.host,
            rootfs: &places.rootfs,
            binds: &found.binds,
            volumes: &volumes,
            devices: &found.devices,
            added: &found.brought.added,
            staging: &places.staging,
            seccomp_profile: found.seccomp_profile.as_deref(),
            labels: labels.as_ref(),
        })?;
        bundle::limit_processes(&mut output.spec, self.pids_limit());
        Ok(Plan {
            joined,
            volumes,
            labels,
            relabelled,
            host_mounts: !found.brought.added.hooks.is_empty(),
            mounted: found.mounted,
            output,
            places,
            tty: config.tty,
            stdin: config.stdin,
        })
    }

    /// Makes everything. What it leaves when it fails, the caller takes apart.
    async fn make(
        &self,
        entry: &Entry,
        image: &ImageRecord,
        mut plan: Plan,
        streams: Streams,
    ) -> Result<(Live, Option<OwnedFd>)> {
        let dir = self.directory(&entry.id);
        // First of all, the mark of this boot: a record without it and without an end was cut off by a reboot.
        step("create.mark");
        files::private_dir(&dir).map_err(|e| failed("make", &dir, e))?;
        step("create.record");
        self.inner.store.put(&entry.id, &entry.record).await?;
        step("create.cgroup");
        let place = self.new_group(entry).await?;
        // The first process's move, which has to wait for the kernel, comes after much that has not.
        let announced = tokio::task::spawn_blocking(cgroup::announce_move);
        step("create.snapshot");
        let snapshot = self
            .inner
            .images
            .prepare(&entry.id, image, plan.mounted.values().map(Arc::as_ref))
            .await?;
        if let Some(user) = bundle::user_of(&entry.record.config) {
            self.inner.images.give_to(&entry.id, user).await?;
        }
        for volume in &plan.volumes {
            step("create.volume");
            self.inner
                .images
                .volume_source(&entry.id, &volume.container_path)
                .await?;
        }
        if let Some(labels) = &plan.labels {
            step("create.label");
            selinux::label(std::mem::take(&mut plan.relabelled), labels.files.clone()).await?;
        }
        step("create.directory");
        let process = self.process(&plan.output).await?;
        bundle::write(&dir, &plan.places, &plan.output.spec, &process)?;
        if plan.joined.own_network {
            step("create.network");
            plan.joined.descriptors.push(self.new_network(&dir).await?);
        }
        step("create.monitor");
        let wrap = |error: MonitorError| Error::new(kind_of(&error), "monitor").because(error);
        let monitor = MonitorClient::spawn(&self.inner.zygote, &dir)
            .await
            .map_err(wrap)?;
        let namespaces = std::mem::take(&mut plan.joined.descriptors);
        let (request, mut descriptors) = self.request(entry, &plan, &snapshot, process.clone(), streams)?;
        descriptors.namespaces = namespaces;
        step("create.container");
        let (created, terminal) = monitor.create(request, descriptors).await.map_err(wrap)?;
        drop(place);
        if let Ok(Err(error)) = announced.await {
            tracing::debug!(container = entry.id, %error, "the kernel was not told of the move to come");
        }
        step("create.observation");
        let live = live(monitor, &created, process);
        let observation = Observation {
            version: VERSION,
            pid: live.pid,
            start_time: live.start_time,
            started_at: 0,
        };
        observation
            .save(&dir)
            .map_err(|e| failed("write below", &dir, e))?;
        step("create.done");
        for warning in plan.output.warnings.iter().chain(&created.warnings) {
            tracing::warn!(
                container = entry.id,
                warning,
                "container is not quite as asked for"
            );
        }
        Ok((live, terminal))
    }

    /// A network namespace for this container alone, with its loopback up; the container is its only holder.
    async fn new_network(&self, dir: &Path) -> Result<OwnedFd> {
        let (zygote, pin) = (Arc::clone(&self.inner.zygote), dir.join("net"));
        let made = tokio::task::spawn_blocking(move || -> Result<OwnedFd> {
            let request = PinRequest {
                net: Some(pin.clone()),
                ..PinRequest::default()
            };
            zygote
                .pin(request)
                .map_err(|e| Error::internal("cannot make a network namespace").because(e))?;
            let open = std::fs::File::open(&pin).map_err(|e| failed("open", &pin, e));
            // The pin has done its work once the namespace is open.
            mount::detach(&pin).map_err(|e| failed("unmount", &pin, e))?;
            Ok(open?.into())
        });
        made.await
            .map_err(|e| Error::internal("network namespace").because(e))?
    }

    /// The first process in the monitor's terms, its filter compiled.
    async fn process(&self, output: &Output) -> Result<Process> {
        let mut process = lookup::process(output);
        if let Some(profile) = output.seccomp.clone() {
            let dir = self.filter_dir();
            let compiled = tokio::task::spawn_blocking(move || seccomp::compile(&profile, &dir)).await;
            let compiled = compiled.map_err(|e| Error::internal("compilation ended badly").because(e))?;
            process.seccomp = Some(compiled.map_err(|e| Error::invalid("seccomp profile").because(e))?);
        }
        Ok(process)
    }

    fn staged(&self, entry: &Entry, plan: &Plan) -> Result<Vec<StagedTree>> {
        let tree = |mount| {
            let image = mounted::tree(mount, &entry.record.config, &plan.mounted, &self.inner.images)?;
            let label = plan.labels.iter().map(Labels::mount_option).collect();
            Ok(lookup::staged(mount, image, label))
        };
        plan.output.staged.iter().map(tree).collect()
    }

    fn request(
        &self,
        entry: &Entry,
        plan: &Plan,
        snapshot: &Snapshot,
        process: Process,
        streams: Streams,
    ) -> Result<(CreateRequest, CreateDescriptors)> {
        let dir = self.directory(&entry.id);
        let options = entry.record.config.mount_options.iter().cloned();
        let options = options
            .chain(plan.labels.iter().map(Labels::mount_option))
            .collect();
        let logged = matches!(streams, Streams::Logged) && !entry.record.log_path.is_empty();
        let mut descriptors = CreateDescriptors {
            stdio: None,
            trees: lookup::trees(&plan.output.staged)?,
            namespaces: vec![],
        };
        let stdio = match streams {
            Streams::Given(three) => {
                descriptors.stdio = Some(three);
                Stdio::Given
            }
            Streams::Terminal(size) => Stdio::GivenTerminal(size),
            Streams::Logged if plan.tty => Stdio::Terminal(None),
            Streams::Logged => Stdio::Pipes {
                stdin: plan.stdin,
                stdin_once: entry.record.config.stdin_once,
            },
        };
        let unmapped = || Error::internal("the first process's ids are not mapped");
        let wants_staging = !plan.output.staged.is_empty() || plan.joined.user.is_some();
        let request = CreateRequest {
            id: entry.id.clone(),
            bundle: dir.join("bundle"),
            state_root: self.engine_dir(),
            cgroup: plan.output.cgroup.clone(),
            stdio_owner: match bundle::user_of(&entry.record.config) {
                Some(user) => user.to_host(process.uid, process.gid).ok_or_else(unmapped)?,
                None => (process.uid, process.gid),
            },
            process,
            stdio,
            log: logged.then(|| entry.record.log_file()),
            rootfs: Some(bundle::overlay(snapshot, &plan.places.rootfs, options)),
            staging: wants_staging.then(|| plan.places.staging.clone()),
            trees: self.staged(entry, plan)?,
            namespaces: 0,
            idmap: plan.joined.user,
            host_mounts: plan.host_mounts,
        };
        Ok((request, descriptors))
    }
}

/// All that is known before anything is made.
struct Plan {
    joined: Joined,
    volumes: Vec<Volume>,
    labels: Option<Labels>,
    /// Files of the host that get the label of the container's.
    relabelled: Vec<PathBuf>,
    mounted: Mounted,
    /// Its hooks find the host's files where they are.
    host_mounts: bool,
    output: Output,
    places: Places,
    tty: bool,
    stdin: bool,
}

fn live(monitor: MonitorClient, created: &Created, process: Process) -> Live {
    Live {
        monitor,
        pid: u32::try_from(created.pid).unwrap_or(0),
        start_time: created.start_time,
        started_at: 0,
        process: Arc::new(process),
    }
}

/// An id of 256 random bits, in the form that every tool of the field expects.
fn new_id() -> String {
    let bits: [u8; 32] = rand::random();
    bits.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn checked_id(id: String) -> Result<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match id.len() <= 128 && id.chars().all(plain) && !id.starts_with('.') {
        true => Ok(id),
        false => Err(Error::invalid(format!(
            "container_id {id:?} is not made of letters, digits, '-', '_' and '.'"
        ))),
    }
}
