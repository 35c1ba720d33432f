//! `coracle config`: checks and prints settings.

use clap::Subcommand;

use super::{CliError, Settings, print};
use crate::config::dump;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Says whether the configuration can be used; if not, names file and key.
    Check,
    /// Prints the effective configuration: defaults, files and options, each key with its meaning.
    Dump,
}

pub(super) fn run(command: Command, settings: &Settings) -> Result<(), CliError> {
    let config = settings.load()?;
    match command {
        Command::Check => print(&format!("{}: good\n", settings.file().display())),
        Command::Dump => print(&dump(&config)),
    }
}
