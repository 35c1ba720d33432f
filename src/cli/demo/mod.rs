//! `coracle demo`: one pod with one container, step by step, on any CRI socket.
//!
//! Says what it does in plain words, and removes what it made whatever happens: success, failure, or Ctrl-C. A call
//! under way is never abandoned, since what it makes could not be named then.

mod cleanup;
mod request;
mod steps;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::client::Cri;
use super::interrupt::Interrupt;
use super::{CliError, print};

/// What the demo runs.
#[derive(Clone, Debug, Args)]
pub(super) struct Options {
    /// Image to run; it must have a shell. Pulled if it is not there, and then removed again
    #[arg(long, default_value = "docker.io/library/busybox:latest")]
    image: String,
    /// Runs the pod in the host's network, also when pod networks are ready
    #[arg(long)]
    host_network: bool,
}

/// The run of one demo, and what it has made so far.
struct Demo {
    cri: Cri,
    interrupt: Interrupt,
    options: Options,
    /// Tells this run's pod from every other.
    run: String,
    logs: PathBuf,
    step: u32,
    made: Made,
}

/// What is to be removed at the end.
#[derive(Debug, Default)]
struct Made {
    image: bool,
    pod: Option<String>,
    container: Option<String>,
}

/// Runs the demo on the server at `socket`. The code is 0 only if every step worked and nothing is left.
pub(super) async fn run(socket: &Path, options: Options) -> Result<ExitCode, CliError> {
    let run = format!("{:08x}", rand::random::<u32>());
    let logs = std::env::temp_dir().join(format!("coracle-demo-{run}"));
    let mut demo = Demo {
        interrupt: Interrupt::listen()?,
        cri: Cri::connect(socket).await?,
        options,
        run,
        logs,
        step: 0,
        made: Made::default(),
    };
    DirBuilder::new()
        .mode(0o700)
        .create(&demo.logs)
        .map_err(|source| CliError::File {
            action: "create the log directory",
            path: demo.logs.clone(),
            source,
        })?;
    let shown = demo.show().await;
    let cleaned = demo.clean_up().await;
    shown?;
    cleaned?;
    print("The demo is over and everything it made is gone.\n")?;
    Ok(ExitCode::SUCCESS)
}

impl Demo {
    /// Begins the next step: numbers and prints what has been done.
    fn say(&mut self, text: &str) -> Result<(), CliError> {
        self.step += 1;
        print(&format!("{:>2}. {text}\n", self.step))
    }
}

/// Sets each line of `text` apart from our own words.
fn quote(text: &str) -> String {
    text.lines().map(|line| format!("      | {line}\n")).collect()
}
