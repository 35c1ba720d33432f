//! `coracle run`: one container, without a daemon and without a pod.
//!
//! The container is removed in the end, however it ended.

mod request;
mod signals;
mod terminal;

use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use clap::Args;

use super::client::Admin;
use super::image::pull;
use super::{CliError, Settings};
use crate::app::offline::Offline;
use crate::app::{Attach, Attended};
use crate::config::Config;
use crate::telemetry;
use signals::Signals;
use terminal::Terminal;

/// What to run.
#[derive(Clone, Debug, Args)]
pub(super) struct Options {
    /// Gives the container a terminal, and attaches this one to it
    #[arg(short, long)]
    tty: bool,
    /// Sets a variable of the environment; without a value, to the one here. May be repeated
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Working directory in the container; by default the image's
    #[arg(
        short,
        long,
        value_name = "DIR",
        default_value = "",
        hide_default_value = true
    )]
    workdir: String,
    /// Uses the host's network; by default the container has one of its own, with nothing but a loopback
    #[arg(long)]
    host_network: bool,
    /// Image: a name or an id. Pulled if it is not in the store
    image: String,
    /// Command and arguments; by default the image's
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Runs the container; the code is its own, or 128 and the number of the signal that ended it.
pub(super) async fn run(options: Options, settings: &Settings) -> Result<ExitCode, CliError> {
    let config = settings.load()?;
    telemetry::init(
        telemetry::Wanted::at("warn"),
        telemetry::Format::Text,
        telemetry::Traced::Never,
    )?;
    let (offline, channel) = Offline::open(&config).await?;
    let outcome = attended(&offline, Admin::new(channel), &config, options).await;
    offline.close().await;
    // A code above 255 cannot be passed on, and no container ends with one.
    outcome.map(|code| ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

async fn attended(
    offline: &Offline,
    mut admin: Admin,
    config: &Config,
    options: Options,
) -> Result<i32, CliError> {
    if !offline.has_image(&options.image) {
        pull::pull(&mut admin, &options.image).await?;
    }
    drop(admin);
    // Before the container exists: a signal must not leave it behind.
    let mut signals = Signals::listen()?;
    let attach = match options.tty {
        true => {
            let (width, height) = super::terminal::size()?;
            Attach::Terminal(width, height)
        }
        false => Attach::Descriptors(streams()?),
    };
    let mut container = offline.attend(config, options.request(), attach).await?;
    let ended = stay(&mut container, &mut signals).await;
    let removed = container.remove().await.map_err(CliError::Container);
    let code = ended?;
    removed.map(|()| code)
}

/// Starts the container and passes everything on until it has ended.
async fn stay(container: &mut Attended, signals: &mut Signals) -> Result<i32, CliError> {
    let mut terminal = container.take_terminal().map(Terminal::attach).transpose()?;
    container.start().await.map_err(CliError::Container)?;
    let code = loop {
        tokio::select! {
            ended = container.wait() => break ended.map_err(CliError::Container)?,
            signal = signals.next() => match &mut terminal {
                Some(terminal) if signal == libc::SIGWINCH => terminal.resize()?,
                _ if signal == libc::SIGWINCH => {}
                _ => pass_on(container, signal).await,
            },
            () = terminal::pump(&mut terminal) => {}
        }
    };
    if let Some(terminal) = &mut terminal {
        terminal.drain().await;
    }
    Ok(code)
}

async fn pass_on(container: &Attended, signal: i32) {
    if let Err(error) = container.signal(signal).await {
        // It has just ended; its end is told next.
        tracing::debug!(%error, signal, "signal is not passed on");
    }
}

/// This process's own streams, for the container to inherit.
fn streams() -> Result<[OwnedFd; 3], CliError> {
    let clone = |fd: std::os::fd::BorrowedFd<'_>| {
        fd.try_clone_to_owned().map_err(|source| CliError::File {
            action: "pass on",
            path: "standard streams".into(),
            source,
        })
    };
    Ok([
        clone(std::io::stdin().as_fd())?,
        clone(std::io::stdout().as_fd())?,
        clone(std::io::stderr().as_fd())?,
    ])
}
