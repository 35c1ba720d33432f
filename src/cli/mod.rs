//! The command line: what can be typed, and which module does it.
//!
//! A command answers on standard output; what went wrong goes to standard error, with every cause, and a code
//! that is not 0. Daemon logs are [`crate::telemetry`]'s.

mod check;
mod client;
mod config;
mod containers;
mod debug;
mod demo;
mod error;
mod image;
mod interrupt;
mod manual;
mod node;
mod run;
mod status;
mod terminal;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::app;
use crate::config::{Config, ConfigError, DEFAULT_FILE, Files, LogFormat, Overrides};
use crate::telemetry;

pub use error::CliError;
pub use node::NodeError;

/// A Kubernetes container runtime.
#[derive(Debug, Parser)]
#[command(
    name = "coracle",
    version,
    propagate_version = true,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the daemon in the foreground.
    Serve,
    /// Runs one container and stays with it, without a daemon: its streams, signals and exit code are the command's.
    Run(run::Options),
    /// Says what runs and what is ready; ends with code 1 when something is not.
    Status,
    /// Runs a pod with a container step by step, says what happens, and removes it again.
    Demo(demo::Options),
    /// Pulls, lists, imports and removes images, through the daemon if one runs.
    Image {
        #[command(subcommand)]
        command: image::Command,
    },
    #[command(flatten)]
    Containers(containers::Command),
    /// Compares what exists on the machine with what should; ends with 1 when something is left, 2 when it cannot tell.
    Check(check::Options),
    /// Tells what a report of a bug should have.
    Debug {
        #[command(subcommand)]
        command: debug::Command,
    },
    /// Puts Coracle on this node, has the kubelet use it, and takes both back.
    Node(node::Options),
    /// Checks or prints the configuration.
    Config {
        #[command(subcommand)]
        command: config::Command,
    },
    /// Prints what a shell needs to complete this command line.
    Completions(manual::Completions),
    /// Writes the pages of the manual, for man(1).
    Man(manual::Pages),
    /// Prints the version.
    Version,
}

/// Where settings come from. Good for every command.
#[derive(Debug, Args)]
struct Settings {
    /// Configuration file, with its drop-ins in FILE.d [default: /etc/coracle/config.toml, if it exists]
    #[arg(long, global = true, env = "CORACLE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Overrides `socket`: the daemon's Unix socket.
    #[arg(long, global = true, env = "CORACLE_SOCKET", value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Overrides `state_dir`.
    #[arg(long, global = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Overrides `run_dir`.
    #[arg(long, global = true, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Overrides any key, as in `--set cni.conf_dir=/etc/cni/other`; may be repeated.
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Settings {
    /// The configuration that this command line gives.
    fn load(&self) -> Result<Config, ConfigError> {
        self.files().load()
    }

    /// Where that comes from.
    fn files(&self) -> Files {
        Files {
            file: self.config.clone(),
            overrides: Overrides {
                keys: self.set.clone(),
                state_dir: self.state_dir.clone(),
                run_dir: self.run_dir.clone(),
                socket: self.socket.as_deref().map(strip_scheme),
            },
        }
    }

    /// The file that [`Settings::load`] begins with.
    fn file(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| DEFAULT_FILE.into())
    }
}

/// Takes `unix:///run/x.sock` too, as the kubelet and crictl write it.
fn strip_scheme(socket: &std::path::Path) -> PathBuf {
    let text = socket.to_str().and_then(|text| text.strip_prefix("unix://"));
    text.map_or_else(|| socket.to_owned(), PathBuf::from)
}

/// Runs the command that `arguments` name, the program's own name first. Called before any thread exists.
///
/// The code is the command's own: 0, or 1 with a text on standard error; 2 for a command line that makes no sense.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    crate::sys::panics::abort_unless_guarded();
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match cli.run() {
        Ok(code) => code,
        Err(error) => error.report(),
    }
}

impl Cli {
    fn run(self) -> Result<ExitCode, CliError> {
        match self.command {
            Command::Serve => serve(self.settings.files())?,
            Command::Run(options) => return block_on(run::run(options, &self.settings)),
            Command::Status => return block_on(status::run(&self.settings.load()?.socket)),
            Command::Demo(options) => return block_on(demo::run(&self.settings.load()?.socket, options)),
            Command::Image { command } => block_on(image::run(command, &self.settings))?,
            Command::Containers(command) => return block_on(containers::run(command, &self.settings)),
            Command::Check(options) => return block_on(check::run(options, &self.settings)),
            Command::Debug { command } => block_on(debug::run(command, &self.settings))?,
            Command::Node(options) => return block_on(node::run(options, &self.settings)),
            Command::Config { command } => config::run(command, &self.settings)?,
            Command::Completions(options) => manual::completions(&options)?,
            Command::Man(options) => manual::pages(&options)?,
            Command::Version => print(&format!("coracle {}\n", env!("CARGO_PKG_VERSION")))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn serve(files: Files) -> Result<(), CliError> {
    let config = files.load()?;
    let format = match config.log.format {
        LogFormat::Text => telemetry::Format::Text,
        LogFormat::Json => telemetry::Format::Json,
    };
    telemetry::init(app::wanted(&config), format, telemetry::Traced::AsAsked)?;
    app::serve(&config, files).map_err(CliError::from)
}

/// Runs a command that talks to a daemon, or does its work.
fn block_on<T>(command: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::Threads)?;
    let outcome = runtime.block_on(command);
    // Whoever waits for a key that was not pressed is not waited for.
    runtime.shutdown_background();
    outcome
}

/// Writes an answer to standard output. A reader that has gone is not an error of ours (`coracle … | head`).
fn print(text: &str) -> Result<(), CliError> {
    use std::io::{ErrorKind, Write, stdout};

    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(CliError::Output(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
