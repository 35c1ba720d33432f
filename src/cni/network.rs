//! The handle: what is loaded, whether it is ready, and what the verbs and the keeper share. The verbs themselves are
//! in `attach`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Notify, RwLock, watch};
use tokio::time::Instant;

use crate::cni::cache::{Cache, write_durably};
use crate::cni::exec::{PluginPath, Run};
use crate::cni::keeper::Keeper;
use crate::cni::{
    Cidr, NetworkConf, NetworkError, ResultError, TemplateError, TemplateOutcome, Verb, Version, conflist,
    template,
};
use crate::sys::watch::DirWatch;
use crate::telemetry::chain;

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Configurations; the first valid one by file name is used. Need not exist.
    pub conf_dir: PathBuf,
    /// Further directories of the same kind, each of a network of its own. See [`Networks`](crate::cni::Networks).
    pub further_conf_dirs: BTreeSet<PathBuf>,
    /// Plugins' executables, first match first. Need not exist.
    pub plugin_dirs: Vec<PathBuf>,
    /// Attachments' entries; on storage that survives a reboot, made where missing.
    pub cache_dir: PathBuf,
    /// The template of a configuration written when address ranges are told and none is loaded.
    pub template: Option<PathBuf>,
    /// How long one verb may take over all plugins.
    pub deadline: Duration,
}

/// Whether namespaces can be attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// They can.
    Ready {
        /// The network's name.
        network: String,
    },
    /// They cannot.
    NotReady {
        /// Why, for a person.
        message: String,
    },
}

impl Status {
    /// Returns whether namespaces can be attached.
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready { .. })
    }
}

/// Which versions of the specification a plugin speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginVersions {
    /// The plugin's type.
    pub plugin: String,
    /// The versions, as it writes them.
    pub versions: Vec<String>,
}

/// What a plugin answers to `VERSION`.
#[derive(Deserialize)]
struct Supported {
    #[serde(rename = "supportedVersions")]
    versions: Vec<String>,
}

/// The handle to the network; clones share it.
#[derive(Clone, Debug)]
pub struct Network {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) path: PluginPath,
    pub(super) cache: Cache,
    view: ArcSwap<View>,
    told: watch::Sender<Status>,
    /// Held shared by attaching and detaching, alone by collecting: the plugins must not be told that an attachment
    /// in the making is not valid.
    pub(super) gate: Arc<RwLock<()>>,
    /// Tells the keeper that plugins may have become unable.
    pub(super) doubt: Notify,
}

/// What is known of the configuration and its plugins.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) conf: Option<Arc<NetworkConf>>,
    /// Why there is no configuration, or what it lacks.
    obstacle: Option<String>,
    verdict: Verdict,
}

/// What the plugins answered to `STATUS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They have not been asked, or have not answered yet.
    Untold,
    /// They can work, or are too old to be asked.
    Able,
    /// One cannot.
    Unable(String),
}

impl Network {
    /// Loads the configuration and keeps it current for as long as the returned [`Keeper`] lives.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Cache`] when the cache's directory cannot be made. A missing or invalid configuration is no error but a
    /// status.
    pub async fn open(settings: Settings) -> Result<(Self, Keeper), NetworkError> {
        let cache = Cache::open(settings.cache_dir.clone())?;
        Ok(Self::with(settings, cache, Arc::default()))
    }

    /// Another network, of the configurations in `conf_dir`, with the same plugins and records.
    pub(super) fn beside(&self, conf_dir: PathBuf) -> (Self, Keeper) {
        let settings = Settings {
            conf_dir,
            template: None,
            further_conf_dirs: BTreeSet::new(),
            ..self.shared.settings.clone()
        };
        let gate = Arc::clone(&self.shared.gate);
        Self::with(settings, self.shared.cache.clone(), gate)
    }

    fn with(settings: Settings, cache: Cache, gate: Arc<RwLock<()>>) -> (Self, Keeper) {
        let mut dirs = vec![settings.conf_dir.clone()];
        dirs.extend(settings.plugin_dirs.iter().cloned());
        // Watched first, loaded second: what changes in between is seen again.
        let watch = DirWatch::new(dirs);
        let nothing = View {
            conf: None,
            obstacle: None,
            verdict: Verdict::Untold,
        };
        let shared = Arc::new(Shared {
            path: PluginPath::new(settings.plugin_dirs.clone()),
            cache,
            told: watch::Sender::new(nothing.status()),
            view: ArcSwap::from_pointee(nothing),
            gate,
            doubt: Notify::new(),
            settings,
        });
        shared.reload();
        let keeper = Keeper::start(shared.clone(), watch);
        (Self { shared }, keeper)
    }

    /// Returns the directory of its configurations.
    pub fn conf_dir(&self) -> &Path {
        &self.shared.settings.conf_dir
    }

    /// Returns whether namespaces can be attached, from memory: runs nothing, waits for nothing.
    pub fn status(&self) -> Status {
        self.shared.view.load().status()
    }

    /// Waits until plugins that were never asked before have told whether they are able, so long at most.
    pub async fn settled(&self, patience: Duration) {
        let told = |_: &Status| {
            let view = self.shared.view();
            view.conf.is_none() || view.obstacle.is_some() || view.verdict != Verdict::Untold
        };
        let _ = tokio::time::timeout(patience, self.subscribe().wait_for(told)).await;
    }

    /// Returns a receiver that has the status and is told of each change.
    pub fn subscribe(&self) -> watch::Receiver<Status> {
        self.shared.told.subscribe()
    }

    /// Returns the configuration in use.
    pub fn conf(&self) -> Option<Arc<NetworkConf>> {
        self.shared.view.load().conf.clone()
    }

    /// Asks each plugin which versions of the specification it speaks (`VERSION`), in the order of the configuration.
    /// For diagnosis: nothing else runs it.
    ///
    /// # Errors
    ///
    /// [`NetworkError::NotConfigured`], or what the first plugin that cannot tell did instead.
    pub async fn plugin_versions(&self) -> Result<Vec<PluginVersions>, NetworkError> {
        let view = self.shared.view();
        let conf = view.conf.clone().ok_or_else(|| NetworkError::NotConfigured {
            reason: view.reason(),
        })?;
        let deadline = Instant::now() + self.shared.settings.deadline;
        let run = Run {
            verb: Verb::Version,
            path: &self.shared.path,
            subject: None,
            deadline,
        };
        let mut all = Vec::new();
        for plugin in conf.plugin_types() {
            let answer = run
                .plugin(plugin, &json!({"cniVersion": Version::NEWEST.as_str()}))
                .await?;
            let plugin = plugin.to_owned();
            match serde_json::from_slice::<Supported>(&answer) {
                Ok(supported) => all.push(PluginVersions {
                    plugin,
                    versions: supported.versions,
                }),
                Err(source) => {
                    return Err(NetworkError::Result {
                        plugin,
                        source: ResultError::Shape(source),
                    });
                }
            }
        }
        Ok(all)
    }

    /// Takes the ranges this node's addresses come from: with a template and no configuration but our own, writes one.
    /// Repeats rewrite the same file, or nothing when it is the same text.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] when the template cannot be read, does not make a valid configuration, or the file cannot be
    /// written.
    pub async fn update_cidrs(&self, cidrs: &[Cidr]) -> Result<TemplateOutcome, TemplateError> {
        let shared = self.shared.clone();
        let cidrs = cidrs.to_owned();
        let update = move || {
            let conf_dir = &shared.settings.conf_dir;
            let Some(source) = &shared.settings.template else {
                return Ok(TemplateOutcome::NoTemplate);
            };
            shared.reload();
            let own = conf_dir.join(template::FILE_NAME);
            if let Some(conf) = shared.view().conf.as_ref().filter(|conf| conf.source() != own) {
                return Ok(TemplateOutcome::OtherConf {
                    path: conf.source().to_owned(),
                });
            }
            let text = template::render(source, &own, &cidrs)?;
            if std::fs::read(&own).is_ok_and(|present| present == text.as_bytes()) {
                return Ok(TemplateOutcome::Current { path: own });
            }
            std::fs::create_dir_all(conf_dir)
                .and_then(|()| write_durably(conf_dir, &own, text.as_bytes()))
                .map_err(|source| TemplateError::Write {
                    path: own.clone(),
                    source,
                })?;
            shared.reload();
            Ok(TemplateOutcome::Written { path: own })
        };
        tokio::task::spawn_blocking(update)
            .await
            .expect("rendering does not panic")
    }
}

impl Shared {
    pub(super) fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Reads the directories and makes what they hold the view.
    pub(super) fn reload(&self) {
        let (conf, obstacle) = self.look();
        let conf = conf.map(Arc::new);
        self.change(|before| {
            let conf = match (&conf, &before.conf) {
                (Some(new), Some(old)) if new == old => Some(old.clone()),
                (new, _) => new.clone(),
            };
            let verdict = match &conf {
                Some(conf) if !conf.version().has_gc_and_status() => Verdict::Able,
                // A node that was ready stays so while its changed configuration's plugins are asked.
                Some(_) => before.verdict.clone(),
                None => Verdict::Untold,
            };
            View {
                conf,
                obstacle: obstacle.clone(),
                verdict,
            }
        });
    }

    /// Records what the plugins of `conf` answered to `STATUS`, unless another configuration has taken its place.
    pub(super) fn judge(&self, conf: &Arc<NetworkConf>, verdict: &Verdict) {
        self.change(|before| {
            let mut view = before.clone();
            if view
                .conf
                .as_ref()
                .is_some_and(|current| Arc::ptr_eq(current, conf))
            {
                view.verdict = verdict.clone();
            }
            view
        });
    }

    /// Replaces the view by what `make` makes of it, and tells when that changes the status.
    fn change(&self, make: impl Fn(&View) -> View) {
        self.view.rcu(|before| make(before));
        // The status is that of the view at this moment, not of the one just made: of two changes at once the later
        // is told last.
        self.told.send_if_modified(|told| {
            let status = self.view.load().status();
            if status == *told {
                return false;
            }
            match &status {
                Status::Ready { network } => tracing::info!(network, "network is ready"),
                Status::NotReady { message } => tracing::warn!(message, "network is not ready"),
            }
            *told = status;
            true
        });
    }

    fn look(&self) -> (Option<NetworkConf>, Option<String>) {
        let dir = self.settings.conf_dir.display();
        let found = match conflist::load(&self.settings.conf_dir) {
            Ok(found) => found,
            Err(error) => return (None, Some(chain(&error))),
        };
        let refused: Vec<String> = found.refused.iter().map(|error| chain(error)).collect();
        let Some(conf) = found.conf else {
            let why = if refused.is_empty() {
                "none there".to_owned()
            } else {
                refused.join("; ")
            };
            return (
                None,
                Some(format!("no valid network configuration in {dir}: {why}")),
            );
        };
        for problem in refused {
            tracing::warn!(problem, "network configuration is passed over");
        }
        let missing = conf
            .plugin_types()
            .find_map(|plugin| self.path.find(plugin).err());
        let obstacle = missing.map(|error| format!("network {}: {error}", conf.name()));
        (Some(conf), obstacle)
    }
}

impl View {
    pub(super) fn status(&self) -> Status {
        let message = match (&self.conf, &self.obstacle, &self.verdict) {
            (Some(conf), None, Verdict::Able) => {
                return Status::Ready {
                    network: conf.name().to_owned(),
                };
            }
            (_, Some(obstacle), _) => obstacle.clone(),
            (None, None, _) => "no network configuration has been looked for".to_owned(),
            (Some(conf), _, Verdict::Untold) => {
                let name = conf.name();
                format!("network {name}: its plugins have not told yet whether they are able")
            }
            (Some(conf), _, Verdict::Unable(why)) => format!("network {}: {why}", conf.name()),
        };
        Status::NotReady { message }
    }

    /// Returns why nothing can be attached.
    pub(super) fn reason(&self) -> String {
        match self.status() {
            Status::NotReady { message } => message,
            Status::Ready { network } => format!("network {network} is ready"),
        }
    }
}

#[cfg(test)]
mod tests;
