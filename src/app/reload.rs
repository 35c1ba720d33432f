//! Takes a changed configuration while the daemon runs: when its files change, and at SIGHUP. What cannot be used is
//! refused whole, and what was in effect stays.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use super::node::Live;
use crate::config::{Config, Files, changes};
use crate::sys::watch::DirWatch;
use crate::telemetry::chain;

/// Listens for the wish to read the configuration again.
#[derive(Debug)]
pub(super) struct Wishes {
    hang_up: Signal,
}

/// The task that reads it again; it ends with the value.
#[derive(Debug)]
pub(super) struct Reloading {
    _task: JoinSet<()>,
}

impl Wishes {
    /// Listens from now on: SIGHUP does not end the process any more.
    pub(super) fn listen() -> io::Result<Wishes> {
        let hang_up = signal(SignalKind::hangup())?;
        Ok(Wishes { hang_up })
    }

    /// Obeys from now on. `config` is what the daemon was started with, from `files`.
    pub(super) fn obey(self, config: Config, files: Files, live: Live) -> Reloading {
        let mut task = JoinSet::new();
        let reloader = Reloader {
            started: config.clone(),
            current: config,
            refused: None,
            files: Arc::new(files),
            live,
        };
        task.spawn(reloader.run(self));
        Reloading { _task: task }
    }
}

struct Reloader {
    /// What keys that are not live have, whatever was read since.
    started: Config,
    /// What was last taken.
    current: Config,
    /// Why the files were last refused, so that it is told once.
    refused: Option<String>,
    files: Arc<Files>,
    live: Live,
}

impl Reloader {
    async fn run(mut self, mut wishes: Wishes) {
        let mut watch = DirWatch::new(self.files.directories());
        // What changed between the start and the watch.
        self.read(false).await;
        loop {
            tokio::select! {
                wish = wishes.hang_up.recv() => match wish {
                    Some(()) => self.read(true).await,
                    None => return,
                },
                changed = watch.changed() => {
                    if let Err(error) = changed {
                        tracing::warn!(%error, "configuration files cannot be watched");
                    }
                    self.read(false).await;
                }
            }
        }
    }

    async fn read(&mut self, asked: bool) {
        let files = Arc::clone(&self.files);
        let loaded = tokio::task::spawn_blocking(move || files.load()).await;
        match loaded {
            Ok(Ok(config)) => self.take(config, asked),
            Ok(Err(error)) => self.refuse(one_line(&chain(&error)), asked),
            Err(error) => self.refuse(error.to_string(), asked),
        }
    }

    fn refuse(&mut self, why: String, asked: bool) {
        if asked || self.refused.as_ref() != Some(&why) {
            tracing::error!(error = why, "configuration is refused, what was in effect stays");
        }
        self.refused = Some(why);
    }

    fn take(&mut self, config: Config, asked: bool) {
        let mended = self.refused.take().is_some();
        if config == self.current {
            if asked || mended {
                tracing::info!("configuration is read again, and as it was");
            }
            return;
        }
        let changed = changes(&self.current, &config).live;
        let waiting = changes(&self.started, &config).at_start;
        // After the filter, which may have been changed to show it.
        self.live.apply(&config);
        tracing::info!(keys = changed.join(", "), "configuration is read again");
        if !waiting.is_empty() {
            tracing::warn!(
                keys = waiting.join(", "),
                "these keys take effect when the daemon starts anew"
            );
        }
        self.current = config;
    }
}

/// A cause may show the place in its file, on lines of its own.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
