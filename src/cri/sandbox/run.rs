//! RunPodSandbox: record, directory, namespaces, network, files, ready. A failure undoes all of it.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use crate::cri::wire::v1::ContainerEventType;
use crate::model::{self, Error, Result};
use crate::sys::clock::now;

use super::bandwidth::bandwidth;
use super::namespaces::PinRequest;
use super::network::AttachRequest;
use super::record::{Attachment, Config, Mode, Phase, Record};
use super::undo::Undo;
use super::{Network, Pinner, Sandboxes, Shared, blocking, files};
use crate::sys::selinux::Context;
use crate::sys::{planted, step};
use crate::telemetry::traces;

impl<R, P, N> Sandboxes<R, P, N>
where
    R: model::RuntimeService + model::Events,
    P: Pinner,
    N: Network,
{
    /// Makes a sandbox and returns its id. One of the same identity that is ready is returned; one that is being made
    /// is waited for.
    ///
    /// # Errors
    /// `AlreadyExists`: one of the same identity was stopped and waits for its removal. `InvalidArgument`: its handler is
    /// not configured, or adds an annotation that means nothing.
    ///
    /// Cancel safety: the sandbox is made all the same; the caller's retry gets it.
    pub(in crate::cri) async fn run(&self, config: Config) -> Result<String> {
        let shared = Arc::clone(&self.shared);
        let key = config.key.clone();
        let work = || async move { shared.run(config).await };
        self.shared.running.join(key, work).await
    }
}

impl<R, P, N> Shared<R, P, N>
where
    R: model::RuntimeService + model::Events,
    P: Pinner,
    N: Network,
{
    async fn run(self: Arc<Self>, mut config: Config) -> Result<String> {
        let key = config.key.clone();
        traces::about("k8s.pod.name", &key.name);
        traces::about("k8s.namespace.name", &key.namespace);
        traces::about("k8s.pod.uid", &key.uid);
        if let Some(known) = self.registry.by_key(&key) {
            return match known.record.phase {
                Phase::Ready => Ok(known.record.id.clone()),
                _ => Err(Error::new(
                    model::Kind::AlreadyExists,
                    format!("pod sandbox {key} exists and is not ready: {}", known.record.id),
                )),
            };
        }
        config.handler = self.handlers.load().get(&config.runtime_handler)?.clone();
        bandwidth(&config.handler.annotations(&config.annotations))?;
        if config.namespaces.user.is_some() {
            let refused = |why| {
                let text =
                    format!("pod sandbox {key}: user namespaces are not supported on this node: {why}");
                Error::new(model::Kind::Unimplemented, text)
            };
            self.pinner.user_namespaces().await.map_err(refused)?;
        }
        // Kept for the sandbox once that is in the registry, and until then by this value.
        let level = self.registry.selinux().give(&mut config.selinux.level);
        let _level = level.map_err(|e| Error::new(model::Kind::ResourceExhausted, e.to_string()))?;
        let label = self.label(&config)?;
        let record = Record {
            id: new_id(),
            created_at: now(),
            phase: Phase::Making,
            network: match config.namespaces.network {
                Mode::Pod => Attachment::Held,
                Mode::Node => Attachment::None,
            },
            ips: vec![],
            config,
        };
        let id = record.id.clone();
        self.make(record, label)
            .await
            .map_err(|error| error.within(format!("cannot run pod sandbox {key}")))?;
        Ok(id)
    }

    /// The label of files of a sandbox that asks for none but its own; none where there are no labels.
    ///
    /// # Errors
    /// `InvalidArgument`: the node's policy does not know the labels that are asked for.
    fn label(&self, config: &Config) -> Result<Option<String>> {
        let selinux = self.registry.selinux();
        let Some(policy) = selinux.policy() else {
            return Ok(None);
        };
        let asked = &config.selinux;
        let asked = Context::of([&asked.user, &asked.role, &asked.kind, &asked.level]);
        let files = policy.files_of(&asked);
        for label in [&policy.process.with(&asked), &files] {
            selinux.check(label).map_err(|error| match error.kind() {
                io::ErrorKind::InvalidInput => Error::invalid(format!(
                    "config.linux.security_context.selinux_options: the node's policy does not know the label {label}"
                )),
                _ => Error::internal(format!("cannot look up the SELinux label {label}")).because(error),
            })?;
        }
        Ok(Some(files.to_string()))
    }

    /// Takes the steps; undoes them when one fails. What cannot be undone stays to be seen, stopped and removed.
    async fn make(self: &Arc<Self>, record: Record, label: Option<String>) -> Result<()> {
        let id = record.id.clone();
        // The intent is durable before the first side effect: from here on every trace has an owner.
        step("adapter.run.record");
        self.save(record.clone()).await?;
        let mut undo = Undo::default();
        let (error, record) = match self.steps(record.clone(), label, &mut undo).await {
            Ok(()) => {
                undo.commit();
                return Ok(());
            }
            Err(failed) => failed,
        };
        let undone = match undo.run().await {
            Ok(()) => self.discard(&id).await,
            Err(left) => Err(left),
        };
        if let Err(left) = undone {
            tracing::warn!(sandbox = id, error = %left, "failed pod sandbox is kept until it can be removed");
            let phase = Phase::NotReady;
            let record = Record { phase, ..record };
            self.save(record.clone()).await?;
            self.tell(&record, ContainerEventType::ContainerCreatedEvent);
        }
        Err(error)
    }

    /// The steps, in order. A failure comes with the record as it then was.
    async fn steps(
        self: &Arc<Self>,
        mut record: Record,
        label: Option<String>,
        undo: &mut Undo,
    ) -> std::result::Result<(), (Error, Record)> {
        match self.try_steps(&mut record, label, undo).await {
            Ok(()) => Ok(()),
            Err(error) => Err((error, record)),
        }
    }

    async fn try_steps(
        self: &Arc<Self>,
        record: &mut Record,
        label: Option<String>,
        undo: &mut Undo,
    ) -> Result<()> {
        let dir = self.dir(&record.id);
        step("adapter.run.directory");
        make_dir(&dir).await?;

        let request = PinRequest {
            label,
            ..PinRequest::of(&record.config, dir.clone(), files::node_name)
        };
        if !planted("undo-namespaces") {
            self.push_release(record, undo);
        }
        step("adapter.run.pin");
        self.pinner.pin(request).await?;

        if record.network == Attachment::Held {
            self.debts.room().await?;
            if !planted("undo-network") {
                self.push_detach(record, undo);
            }
            step("adapter.run.network");
            record.ips = self.network.attach(attach_request(record, &dir)?).await?;
            step("adapter.run.attached");
        }

        let (config, ips) = (record.config.clone(), record.ips.clone());
        step("adapter.run.files");
        blocking(move || files::write(&dir, &config, &ips)).await?;

        step("adapter.run.ready");
        record.phase = Phase::Ready;
        self.save(record.clone()).await?;
        step("adapter.run.done");
        tracing::info!(sandbox = record.id, pod = %record.config.key, "pod sandbox is ready");
        self.tell(record, ContainerEventType::ContainerCreatedEvent);
        self.tell(record, ContainerEventType::ContainerStartedEvent);
        Ok(())
    }

    fn push_release(self: &Arc<Self>, record: &Record, undo: &mut Undo) {
        let (shared, record) = (Arc::clone(self), record.clone());
        undo.push("release the sandbox's namespaces", async move {
            shared.release(&record).await
        });
    }

    /// Plugins may hold something even when `ADD` failed (CNI specification, section 2 "ADD"). What they do not let go of
    /// becomes a debt: a pod that could not be made leaves nothing for the caller to remove.
    fn push_detach(self: &Arc<Self>, record: &Record, undo: &mut Undo) {
        let (shared, record) = (Arc::clone(self), record.clone());
        undo.push("detach the sandbox's network", async move {
            shared.let_go(&record).await
        });
    }
}

fn attach_request(record: &Record, dir: &Path) -> Result<AttachRequest> {
    let annotations = record.config.handler.annotations(&record.config.annotations);
    Ok(AttachRequest {
        id: record.id.clone(),
        netns: dir.join("net"),
        key: record.config.key.clone(),
        ports: record.config.ports.clone(),
        dns: record.config.dns.clone(),
        cgroup_parent: record.config.cgroup_parent.clone(),
        bandwidth: bandwidth(&annotations)?,
        annotations,
        conf_dir: record.config.handler.cni_conf_dir.clone(),
    })
}

/// Makes a sandbox's directory. Others may pass, since containers of any user read files in it, but not list it.
async fn make_dir(dir: &Path) -> Result<()> {
    let dir = dir.to_owned();
    blocking(move || {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(&dir)
            .map_err(|error| Error::internal(format!("cannot make {}", dir.display())).because(error))
    })
    .await
}

/// Removes a sandbox's directory, which holds no mount any more; an absent one is fine.
pub(super) fn remove_dir(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::internal(format!("cannot remove {}", dir.display())).because(error))
        }
        _ => Ok(()),
    }
}

fn new_id() -> String {
    rand::random::<[u8; 32]>()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
