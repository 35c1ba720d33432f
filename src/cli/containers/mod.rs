//! `coracle ps`, `create`, `start` and so on: a person's way to containers, through the daemon's API and past the kubelet.
//!
//! Commands and their options are named as people know them. A container is named by its id, the beginning of it, or its
//! own name; one that the kubelet owns is changed with `--force` only, which the daemon sees to.

mod change;
mod create;
mod exec;
mod images;
mod list;
mod logs;
mod place;
mod stats;
mod table;

use std::process::ExitCode;

use clap::Subcommand;

use super::{CliError, Settings};
use place::Place;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Lists the containers that run, those of the kubelet too.
    Ps(list::Options),
    /// Makes a container, and pulls its image if it is not in the store; prints its id.
    Create(Box<create::Options>),
    /// Starts created containers.
    Start(change::Start),
    /// Runs a command in a running container, its streams and exit code passed on.
    Exec(exec::Options),
    /// Shows what a container has written.
    Logs(logs::Options),
    /// Shows what containers use, once.
    Stats(stats::Options),
    /// Asks containers to end, and kills those that do not.
    Stop(change::Stop),
    /// Removes containers.
    Rm(change::Remove),
    /// Pulls images.
    Pull(images::Pull),
    /// Lists the images of the store.
    Images(images::List),
    /// Removes images, with all their names.
    Rmi(images::Remove),
}

pub(super) async fn run(command: Command, settings: &Settings) -> Result<ExitCode, CliError> {
    let place = Place::of(settings)?;
    match command {
        Command::Ps(options) => list::run(&place, options).await,
        Command::Create(options) => create::run(&place, *options).await,
        Command::Start(options) => change::start(&place, options).await,
        Command::Exec(options) => exec::run(&place, options).await,
        Command::Logs(options) => logs::run(&place, options).await,
        Command::Stats(options) => stats::run(&place, options).await,
        Command::Stop(options) => change::stop(&place, options).await,
        Command::Rm(options) => change::remove(&place, options).await,
        Command::Pull(options) => images::pull(&place, options).await,
        Command::Images(options) => images::list(&place, options).await,
        Command::Rmi(options) => images::remove(&place, options).await,
    }
}
