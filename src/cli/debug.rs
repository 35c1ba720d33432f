//! `coracle debug`: what a report of a bug should have.

use std::path::PathBuf;

use clap::Subcommand;

use super::client::{During, admin};
use super::{CliError, Settings, print};
use crate::app::admin::wire;
use crate::app::client::channel;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Prints the state, tasks and locks of the running daemon as JSON, without what may hold secrets.
    Dump {
        /// Writes to a file that only its owner can read, in place of standard output
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

pub(super) async fn run(command: Command, settings: &Settings) -> Result<(), CliError> {
    let Command::Dump { output } = command;
    let config = settings.load()?;
    let mut admin = admin(channel(&config.socket).await?);
    let answer = admin.dump(wire::DumpRequest {}).await.during("dump the daemon")?;
    match output {
        None => print(&answer.json),
        Some(path) => write(&path, &answer.json).map_err(|source| CliError::File {
            action: "write",
            path,
            source,
        }),
    }
}

fn write(path: &std::path::Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    let mut options = std::fs::File::options();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}
