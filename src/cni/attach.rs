//! The verbs of an attachment over the plugins of its network: `ADD`, `DEL` and `CHECK` (CNI specification, section 3
//! "Execution of Network Configurations"). `GC` is in `collect`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Map;
use tokio::time::Instant;

use crate::cni::cache::{Cache, Entry, Named};
use crate::cni::conflist::{Injected, PluginConf};
use crate::cni::exec::{REAP, Run, Subject};
use crate::cni::request::join_args;
use crate::cni::version::Version;
use crate::cni::{
    AddRequest, AddResult, Attachment, CacheError, DelRequest, ExecError, Network, NetworkConf, NetworkError,
    Verb,
};
use crate::sys::{pidfd, planted, step};

/// How long after an `ADD` that was cut short what it set in motion may still come to an end: a process that left the
/// plugin's group, or a daemon that the plugin only passed the request to.
const SETTLES: Duration = Duration::from_secs(20);
/// `statfs` of a network namespace's file, `NSFS_MAGIC`.
const NSFS_MAGIC: u64 = 0x6e73_6673;

/// How far an `ADD` came.
#[derive(Debug, Default)]
struct Progress {
    /// Plugins that were run, the failed one included.
    begun: usize,
    /// The last result there was.
    result: Option<AddResult>,
}

impl Network {
    /// Attaches a namespace: runs `ADD` of each plugin in order and returns the last one's result.
    ///
    /// Before the first plugin runs, the attachment is recorded durably. When a plugin fails, those run so far undo
    /// their part by `DEL`; when that fails too, the record remains and [`Network::del`] tries again. An attachment
    /// that is recorded already is removed first, since plugins must not see a second `ADD`.
    ///
    /// Cancel safety: a dropped call kills the plugin that runs and leaves the record; call [`Network::del`].
    ///
    /// # Errors
    ///
    /// [`NetworkError::NotConfigured`], [`NetworkError::Request`], [`NetworkError::NotANamespace`] and a missing plugin's
    /// [`NetworkError::Plugin`] come before anything has been done.
    pub async fn add(&self, request: &AddRequest) -> Result<AddResult, NetworkError> {
        let view = self.shared.view();
        let Some(conf) = view.conf.clone() else {
            return Err(NetworkError::NotConfigured {
                reason: view.reason(),
            });
        };
        let args = join_args(&request.args)?;
        if !is_namespace(&request.netns) {
            return Err(NetworkError::NotANamespace {
                path: request.netns.clone(),
            });
        }
        for plugin in conf.plugin_types() {
            self.shared.path.find(plugin)?;
        }

        let _gate = self.shared.gate.read().await;
        self.remove_recorded(&request.attachment, Some(&request.netns))
            .await?;
        let mut entry = Entry::begin(&conf, request.attachment.clone(), request.netns.clone());
        entry.args = args;
        entry.capabilities = request.capabilities.to_json();
        let entry = self.record(entry).await?;

        let mut progress = Progress::default();
        let added = match self.add_plugins(&conf, &entry, &mut progress).await {
            Ok(result) => {
                let complete = Entry {
                    result: Some(result.to_json().clone()),
                    complete: true,
                    ..entry.clone()
                };
                self.record(complete).await.map(|_| result)
            }
            Err(error) => Err(error),
        };
        match added {
            Ok(result) => Ok(result),
            Err(error) => Err(self.undo(entry, progress, error).await),
        }
    }

    /// Detaches a namespace: runs `DEL` of each plugin in reverse order, with the configuration, arguments and result
    /// of its `ADD`, and forgets the attachment. Of one that is not recorded nothing was begun: it is detached.
    ///
    /// The first plugin that fails ends it, as the specification has it: the plugins after it release the address,
    /// and rules that lead to it may still stand. The record remains and the call may be repeated.
    ///
    /// An `ADD` that was cut short (a deadline, a crash of this process) may have an effect after the `DEL` that undoes
    /// it: such an attachment is forgotten by the first `DEL` that succeeds once that cannot be any more.
    ///
    /// Cancel safety: a dropped call kills the plugin that runs; repeat the call.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Plugin`] of the plugin that failed, [`NetworkError::Cache`] when the record cannot be read and no
    /// configuration is loaded to do without, [`NetworkError::Unsettled`] when it has to be repeated later.
    pub async fn del(&self, request: &DelRequest) -> Result<(), NetworkError> {
        let _gate = self.shared.gate.read().await;
        self.remove_recorded(&request.attachment, request.netns.as_deref())
            .await
    }

    /// Checks that an attachment is as its `ADD` left it. Does nothing where the configuration is older than 0.4.0 or
    /// disables it.
    ///
    /// # Errors
    ///
    /// [`NetworkError::NotAttached`] without a completed `ADD`, [`NetworkError::Plugin`] of the plugin that found a difference.
    pub async fn check(&self, attachment: &Attachment, netns: &Path) -> Result<(), NetworkError> {
        let _gate = self.shared.gate.read().await;
        let missing = || NetworkError::NotAttached {
            attachment: attachment.clone(),
        };
        let entry = self.recorded(attachment).await?.ok_or_else(missing)?;
        let conf = NetworkConf::from_json(&entry.source, entry.conf.clone())?;
        if !conf.checks() {
            return Ok(());
        }
        let run = self.run(Verb::Check, Some(subject(&entry, Some(netns))));
        for plugin in conf.plugins() {
            let injected = Injected {
                prev_result: entry.result.clone(),
                capabilities: Some(&entry.capabilities),
                extra: Map::new(),
            };
            run.plugin(plugin.kind(), &conf.derive(plugin, injected)).await?;
        }
        Ok(())
    }

    /// Returns the attachments recorded: made, or begun and not undone.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Cache`] when the directory cannot be listed.
    pub async fn attachments(&self) -> Result<Vec<Attachment>, NetworkError> {
        let mut all: Vec<_> = self
            .blocking(Cache::list)
            .await?
            .into_iter()
            .map(|named| named.attachment)
            .collect();
        all.dedup();
        Ok(all)
    }

    /// Returns the result a completed `ADD` left.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Cache`] when the record cannot be read, [`NetworkError::Result`] when the result in it is none.
    pub async fn attached(&self, attachment: &Attachment) -> Result<Option<AddResult>, NetworkError> {
        let Some(entry) = self.recorded(attachment).await? else {
            return Ok(None);
        };
        let conf = NetworkConf::from_json(&entry.source, entry.conf)?;
        let damaged = |source| NetworkError::Result {
            plugin: entry.network.clone(),
            source,
        };
        entry
            .result
            .map(|raw| AddResult::from_json(raw, conf.version()))
            .transpose()
            .map_err(damaged)
    }

    async fn add_plugins(
        &self,
        conf: &NetworkConf,
        entry: &Entry,
        progress: &mut Progress,
    ) -> Result<AddResult, NetworkError> {
        let run = self.run(Verb::Add, Some(subject(entry, Some(&entry.netns))));
        for plugin in conf.plugins() {
            let injected = Injected {
                prev_result: progress.result.as_ref().map(|result| result.to_json().clone()),
                capabilities: Some(&entry.capabilities),
                extra: Map::new(),
            };
            progress.begun += 1;
            let answer = run.plugin(plugin.kind(), &conf.derive(plugin, injected)).await?;
            let result =
                AddResult::parse(&answer, conf.version()).map_err(|source| NetworkError::Result {
                    plugin: plugin.kind().to_owned(),
                    source,
                })?;
            progress.result = Some(result);
        }
        Ok(progress
            .result
            .clone()
            .expect("a configuration has at least one plugin"))
    }

    /// Undoes what an `ADD` began and returns the error to report.
    async fn undo(&self, entry: Entry, progress: Progress, error: NetworkError) -> NetworkError {
        // Plugins that refuse work they could do yesterday: worth asking them how they are.
        self.shared.doubt.notify_one();
        let cut_short = matches!(
            error,
            NetworkError::Plugin(ExecError::Deadline { .. } | ExecError::Io { .. })
        );
        let entry = Entry {
            begun: progress.begun,
            result: progress.result.map(|result| result.to_json().clone()),
            ended: !cut_short,
            ..entry
        };
        if planted("network-undo") {
            return error;
        }
        let undone = match self.record(entry).await {
            Ok(entry) => self.remove_recorded(&entry.attachment, Some(&entry.netns)).await,
            Err(unrecorded) => Err(unrecorded),
        };
        match undone {
            Ok(()) => error,
            Err(undo) => NetworkError::Undo {
                add: Box::new(error),
                undo: Box::new(undo),
            },
        }
    }

    pub(super) async fn remove_recorded(
        &self,
        attachment: &Attachment,
        netns: Option<&Path>,
    ) -> Result<(), NetworkError> {
        let wanted = attachment.clone();
        let mut errors = Vec::new();
        for named in self.blocking(move |cache| cache.find(&wanted)).await? {
            errors.extend(self.remove(&named, netns).await.err());
        }
        NetworkError::join(errors)
    }

    /// Runs `DEL` for one record and removes it.
    pub(super) async fn remove(&self, named: &Named, netns: Option<&Path>) -> Result<(), NetworkError> {
        let this = named.clone();
        let (conf, entry) = match self.blocking(move |cache| cache.read(&this)).await {
            Ok(entry) => {
                let conf = NetworkConf::from_json(&entry.source, entry.conf.clone())?;
                (Arc::new(conf), entry)
            }
            // Without the record the configuration of today serves: plugins know their attachments by id.
            Err(NetworkError::Cache(error @ (CacheError::Damaged { .. } | CacheError::Format { .. }))) => {
                let conf = self
                    .conf()
                    .filter(|conf| conf.name() == named.network)
                    .ok_or(error)?;
                let entry = Entry::begin(&conf, named.attachment.clone(), Default::default());
                (conf, Entry { ended: true, ..entry })
            }
            Err(error) => return Err(error),
        };
        let entry = self.settling(entry).await?;
        let netns = netns.or(Some(&entry.netns)).filter(|path| is_namespace(path));
        let run = self.run(Verb::Del, Some(subject(&entry, netns)));
        let begun: &[PluginConf] = &conf.plugins()[..entry.begun.min(conf.plugins().len())];
        for plugin in begun.iter().rev() {
            let injected = Injected {
                // Before 0.4.0 plugins do not expect it at `DEL`.
                prev_result: (entry.result.clone())
                    .filter(|_| conf.version() >= Version::V0_4_0 && !planted("network-order")),
                capabilities: Some(&entry.capabilities),
                extra: Map::new(),
            };
            run.plugin(plugin.kind(), &conf.derive(plugin, injected)).await?;
        }
        if entry.settles_at.is_some_and(|at| seconds() < at) {
            return Err(NetworkError::Unsettled {
                attachment: named.attachment.clone(),
            });
        }
        let this = named.clone();
        self.blocking(move |cache| cache.remove(&this)).await
    }

    /// Gives an attachment whose `ADD` was cut short the time until which its `DEL` has to be repeated.
    async fn settling(&self, entry: Entry) -> Result<Entry, NetworkError> {
        if entry.complete || entry.ended || entry.settles_at.is_some() {
            return Ok(entry);
        }
        self.end_adding(&entry.attachment).await?;
        let settles = SETTLES.min(self.shared.settings.deadline);
        // One more for the part of a second that the clock's reading leaves out.
        let settles_at = Some(seconds() + settles.as_secs() + 1);
        self.record(Entry { settles_at, ..entry }).await
    }

    /// Ends plugins that still attach, for a daemon that was killed: a `DEL` beside them would miss what they do after it.
    async fn end_adding(&self, attachment: &Attachment) -> Result<(), NetworkError> {
        let started_with = [
            format!("CNI_COMMAND={}", Verb::Add),
            format!("CNI_CONTAINERID={}", attachment.id()),
            format!("CNI_IFNAME={}", attachment.ifname()),
        ];
        let of = attachment.clone();
        self.blocking(move |_| {
            step("network.orphans");
            match pidfd::kill_started_with(&started_with, REAP) {
                Ok(0) => {}
                Ok(killed) => tracing::info!(attachment = %of, killed, "ended plugins of an earlier daemon"),
                Err(error) => {
                    tracing::warn!(attachment = %of, %error, "plugins of an earlier daemon may still run")
                }
            }
            Ok(())
        })
        .await
    }

    /// Returns the record of a completed `ADD`.
    async fn recorded(&self, attachment: &Attachment) -> Result<Option<Entry>, NetworkError> {
        let wanted = attachment.clone();
        let read = move |cache: &Cache| {
            let entries: Result<Vec<Entry>, CacheError> = cache
                .find(&wanted)?
                .iter()
                .map(|named| cache.read(named))
                .collect();
            Ok(entries?.into_iter().find(|entry| entry.complete))
        };
        self.blocking(read).await
    }

    pub(super) async fn record(&self, entry: Entry) -> Result<Entry, NetworkError> {
        step("network.record");
        let stored = self
            .blocking(move |cache| cache.store(&entry).map(|()| entry))
            .await;
        step("network.recorded");
        stored
    }

    /// Reads or writes records where waiting for the disk holds up nobody.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Cache) -> Result<T, CacheError> + Send + 'static,
    ) -> Result<T, NetworkError> {
        let cache = self.shared.cache.clone();
        let done = tokio::task::spawn_blocking(move || work(&cache)).await;
        done.expect("the cache does not panic")
            .map_err(NetworkError::from)
    }

    fn run<'a>(&'a self, verb: Verb, subject: Option<Subject<'a>>) -> Run<'a> {
        Run {
            verb,
            path: &self.shared.path,
            subject,
            deadline: Instant::now() + self.shared.settings.deadline,
        }
    }
}

/// Seconds of the clock that outlives this process.
fn seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn subject<'a>(entry: &'a Entry, netns: Option<&'a Path>) -> Subject<'a> {
    Subject {
        id: entry.attachment.id(),
        ifname: entry.attachment.ifname(),
        netns,
        args: &entry.args,
    }
}

/// Returns whether `path` is a namespace's file: one whose mount is gone leaves an empty file of its name behind.
fn is_namespace(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|stat| u64::try_from(stat.f_type) == Ok(NSFS_MAGIC))
}

#[cfg(test)]
mod real_tests;
#[cfg(test)]
mod tests;
