//! `coracle exec`: a command in a container, between this process's streams; its exit code is the command's.

use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::change::Whose;
use super::place::Place;
use crate::app::client::{Command, Ends};
use crate::cli::CliError;
use crate::cli::terminal::{RawMode, size};
use crate::model::{Resizes, TerminalSize};

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Options {
    /// Passes standard input on
    #[arg(short, long)]
    interactive: bool,
    /// Gives the command a terminal, and attaches this one to it
    #[arg(short, long)]
    tty: bool,
    #[command(flatten)]
    whose: Whose,
    /// Its id, the beginning of it, or its name
    container: String,
    /// Command and arguments; not run by a shell
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

pub(super) async fn run(place: &Place, options: Options) -> Result<ExitCode, CliError> {
    let id = place.find(&options.container).await?.id;
    let command = Command {
        container_id: id.clone(),
        cmd: options.command,
        tty: options.tty,
        stdin: options.interactive,
        insistence: options.whose.insistence(),
    };
    let mut winding = JoinSet::new();
    let (raw, resize) = match options.tty {
        true => {
            let sizes = sizes(&mut winding)?;
            (Some(RawMode::begin()?), Some(sizes))
        }
        false => (None, None),
    };
    let ends = Ends {
        stdin: options.interactive.then(|| Box::new(tokio::io::stdin()) as _),
        stdout: Box::new(tokio::io::stdout()),
        stderr: Box::new(tokio::io::stderr()),
        resize,
    };
    let ended = place.exec(&command, ends).await;
    // Before anything is told on this terminal.
    drop(raw);
    // A code above 255 cannot be passed on, and no command ends with one.
    ended.map(|code| ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// The size of this terminal, and each that it takes from now on, told by a task of `owner`.
fn sizes(owner: &mut JoinSet<()>) -> Result<Resizes, CliError> {
    let now = || size().map(|(width, height)| TerminalSize { width, height });
    let (to, sizes) = mpsc::channel(16);
    let first = now()?;
    let mut changed = signal(SignalKind::window_change()).map_err(CliError::Signals)?;
    owner.spawn(async move {
        let mut next = Some(first);
        loop {
            if let Some(size) = next
                && to.send(size).await.is_err()
            {
                return;
            }
            if changed.recv().await.is_none() {
                return;
            }
            next = now().ok();
        }
    });
    Ok(sizes)
}
