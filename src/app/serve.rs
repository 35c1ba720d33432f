//! The daemon's life, from the lock to the last record.
//!
//! 1. Lock the state directory: a second daemon ends here, before it has touched anything.
//! 2. Make the runtime directory; start the zygote, while this process has one thread.
//! 3. Listen to signals; open every part, each with what its predecessor left ([`super::node`]).
//! 4. Bind the socket, feed the service manager's watchdog, serve; tell the manager when the zygote has set itself up.
//! 5. First SIGTERM or SIGINT: no new calls, finish those under way, write the records, end with success.
//! 6. Second one: end at once. No more is lost than by a crash, and a crash loses nothing that was answered.
//!
//! Containers go on in every case.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Mode;

use super::error::AppError;
use super::lock::StateLock;
use super::node::{Node, text};
use super::notify;
use super::reload::Wishes;
use super::shutdown::Shutdown;
use super::threads;
use super::watchdog::Watchdog;
use crate::api;
use crate::config::{Config, Files};
use crate::cri::server::{bind, serve as serve_grpc};
use crate::monitor::zygote;
use crate::sys::step;
use crate::sys::zygote::{Zygote, ZygoteOptions};
use crate::telemetry::traces;

/// How long calls under way may take after the first signal.
const DRAIN: Duration = Duration::from_secs(20);
/// How long work that nobody waits for any more may take after the last call.
const LINGER: Duration = Duration::from_secs(5);

/// Serves until a signal ends it. `config` comes from `files`, which are read again when they change and at SIGHUP. Called
/// before any thread exists.
///
/// # Errors
/// Why it could not begin, or that it was told to end at once.
pub fn serve(config: &Config, files: Files) -> Result<(), AppError> {
    // Modes are given where files are made, and mean what they say.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let lock = StateLock::take(&config.state_dir)?;
    make_run_directory(&config.run_dir)?;
    let zygote = Arc::new(start_zygote(config)?);
    // After the zygote, which has one thread and forks what it has.
    let runtime = threads::start().map_err(AppError::Threads)?;
    let outcome = runtime.block_on(until_told(config, files, zygote));
    match outcome {
        Err(AppError::Aborted) => runtime.shutdown_background(),
        _ => runtime.shutdown_timeout(LINGER),
    }
    drop(lock);
    outcome
}

async fn until_told(config: &Config, files: Files, zygote: Arc<Zygote>) -> Result<(), AppError> {
    let shutdown = Shutdown::listen().map_err(AppError::Signals)?;
    let wishes = Wishes::listen().map_err(AppError::Signals)?;
    tokio::select! {
        outcome = in_order(config, (wishes, files), zygote, &shutdown) => outcome,
        () = shutdown.abort() => Err(AppError::Aborted),
    }
}

async fn in_order(
    config: &Config,
    (wishes, files): (Wishes, Files),
    zygote: Arc<Zygote>,
    shutdown: &Shutdown,
) -> Result<(), AppError> {
    let traces = traces::start();
    if traces.is_some() {
        step::watch(traces::step);
    }
    let node = Node::open(config, zygote).await?;
    let reloading = wishes.obey(config.clone(), files, node.live());
    let group = config.socket_group.as_deref().map(group_number).transpose()?;
    let listener = bind(&config.socket, group)?;
    let api = match &config.api.socket {
        Some(socket) => {
            let service = node.api(config).await?;
            let serving = api::serve(bind(socket, None)?, service);
            tracing::info!(socket = %socket.display(), "serving the reduced API");
            Some(serving)
        }
        None => None,
    };
    let told = shutdown.drain();
    let watchdog = Watchdog::feed(&config.socket);
    let mut ended = Ok(());
    let served = serve_grpc(listener, node.services(), DRAIN, async {
        ended = until_end(config, &node, told).await;
        // From here on the manager has another deadline.
        drop(watchdog);
        notify::stopping();
        node.hang_up();
        if let Some(api) = &api {
            api.hang_up();
        }
    })
    .await;
    if let Some(api) = api {
        api.stop(LINGER).await;
    }
    drop(reloading);
    node.close().await;
    if let Some(traces) = traces {
        traces.stop().await;
    }
    tracing::info!("ended; containers go on");
    ended?;
    Ok(served?)
}

/// Tells the service manager once the zygote is there. Returns when the daemon is `told` to end.
///
/// # Errors
/// There is no zygote.
async fn until_end(config: &Config, node: &Node, told: impl Future<Output = ()>) -> Result<(), AppError> {
    let ready = async {
        node.ready().await?;
        notify::ready();
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            socket = %config.socket.display(),
            state = %config.state_dir.display(),
            "ready"
        );
        std::future::pending().await
    };
    tokio::select! {
        failed = ready => failed,
        () = told => {
            tracing::info!("told to end, finishing the calls under way");
            Ok(())
        }
    }
}

/// Who may use the socket must be able to reach it; what lies beside it is private by its own mode.
pub(super) fn make_run_directory(path: &Path) -> Result<(), AppError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(path)
        .map_err(|source| AppError::Directory {
            path: path.to_owned(),
            source,
        })
}

/// Starts the process that is forked for every container, in the cgroup of ours.
pub(super) fn start_zygote(config: &Config) -> Result<Zygote, AppError> {
    zygote::spawn(ZygoteOptions {
        keep: vec![config.state_dir.clone(), config.run_dir.clone()],
        cgroup: Some(text(&config.monitor_cgroup)),
        ..ZygoteOptions::default()
    })
    .map_err(AppError::Zygote)
}

/// The number of a group, given as such or by its name.
fn group_number(group: &str) -> Result<u32, AppError> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    match nix::unistd::Group::from_name(group) {
        Ok(Some(found)) => Ok(found.gid.as_raw()),
        _ => Err(AppError::UnknownGroup(group.to_owned())),
    }
}
