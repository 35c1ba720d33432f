//! The task that keeps the handle's view current: it reloads when a directory changes, and asks plugins of 1.1.0 and
//! newer for their `STATUS` when the configuration changes, when an `ADD` failed, and again while they are unable.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cni::conflist::Injected;
use crate::cni::exec::Run;
use crate::cni::network::{Shared, Verdict};
use crate::cni::{NetworkConf, Verb};
use crate::sys::watch::DirWatch;
use crate::telemetry::chain;

/// How long a plugin may take over `STATUS`.
const STATUS_DEADLINE: Duration = Duration::from_secs(10);
/// The pause before an unable plugin is asked again: the first, doubled each time up to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// Owns the task that keeps a network's view current; dropping it ends the task.
#[derive(Debug)]
pub struct Keeper {
    task: JoinSet<()>,
}

impl Keeper {
    pub(super) fn start(shared: Arc<Shared>, watch: DirWatch) -> Self {
        let mut task = JoinSet::new();
        task.spawn(keep(shared, watch));
        Self { task }
    }

    /// Ends the task and returns when it has ended. What it last saw stays the network's view.
    pub async fn stop(mut self) {
        self.task.shutdown().await;
    }
}

/// A question to the plugins under way, or one to be put later; pending when there is none.
type Question = Pin<Box<dyn Future<Output = Verdict> + Send>>;

/// What the keeper has asked of whom.
struct Asking {
    shared: Arc<Shared>,
    conf: Option<Arc<NetworkConf>>,
    question: Question,
    open: bool,
    pause: Duration,
}

async fn keep(shared: Arc<Shared>, mut watch: DirWatch) {
    let mut asking = Asking {
        shared: shared.clone(),
        conf: None,
        question: nothing(),
        open: false,
        pause: FIRST_PAUSE,
    };
    asking.follow();
    loop {
        tokio::select! {
            changed = watch.changed() => {
                if let Err(error) = changed {
                    tracing::warn!(%error, "network configurations cannot be watched");
                }
                shared.reload();
                asking.follow();
            }
            () = shared.doubt.notified() => asking.doubt(),
            verdict = &mut asking.question => asking.answered(verdict),
        }
    }
}

impl Asking {
    /// Asks the plugins of a configuration that is new, or of the present one anew when their files changed while they
    /// were unable.
    fn follow(&mut self) {
        let current = self
            .shared
            .view()
            .conf
            .clone()
            .filter(|conf| conf.version().has_gc_and_status());
        let same = match (&current, &self.conf) {
            (Some(current), Some(asked)) => Arc::ptr_eq(current, asked),
            (None, None) => true,
            _ => false,
        };
        if same && !self.open {
            return;
        }
        self.conf = current;
        self.pause = FIRST_PAUSE;
        self.ask(Duration::ZERO);
    }

    /// Asks plugins that were able and have just failed.
    fn doubt(&mut self) {
        if !self.open {
            self.ask(Duration::ZERO);
        }
    }

    fn ask(&mut self, pause: Duration) {
        self.open = self.conf.is_some();
        self.question = match self.conf.clone() {
            Some(conf) => Box::pin(ask(self.shared.clone(), conf, pause)),
            None => nothing(),
        };
    }

    fn answered(&mut self, verdict: Verdict) {
        let Some(conf) = self.conf.clone() else { return };
        self.shared.judge(&conf, &verdict);
        self.open = false;
        self.question = nothing();
        if verdict != Verdict::Able {
            let pause = self.pause;
            self.pause = (pause * 2).min(LAST_PAUSE);
            self.ask(pause);
        }
    }
}

fn nothing() -> Question {
    Box::pin(std::future::pending())
}

/// Asks each plugin for its `STATUS` after a pause; the first that is unable speaks for all.
async fn ask(shared: Arc<Shared>, conf: Arc<NetworkConf>, pause: Duration) -> Verdict {
    tokio::time::sleep(pause).await;
    let deadline = Instant::now() + STATUS_DEADLINE;
    let run = Run {
        verb: Verb::Status,
        path: &shared.path,
        subject: None,
        deadline,
    };
    for plugin in conf.plugins() {
        if let Err(error) = run
            .plugin(plugin.kind(), &conf.derive(plugin, Injected::default()))
            .await
        {
            return Verdict::Unable(chain(&error));
        }
    }
    Verdict::Able
}
