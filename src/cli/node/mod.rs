//! `coracle node`: puts Coracle on a node, has the kubelet use it, and takes both back.
//!
//! Every command may be repeated, after a crash too. What is changed is remembered (see [`memory`]), and only that is
//! undone.

mod error;
mod files;
mod install;
mod kubelet;
mod memory;
mod place;
mod runtime;
mod services;
mod switch;
#[cfg(test)]
mod tests;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use tokio::time::sleep;

use super::error::chain;
use super::interrupt::Interrupt;
use super::{CliError, Settings, print};
use crate::config::{Overrides, load};
pub use error::NodeError;
use error::{OnFile, refused};
use install::Told;
use memory::{Memory, Phase, Record};
use place::{PROGRAM, Place, SETTINGS, unit_file};
use services::{Choice, Services, choose};

/// The unit that a switch or its undoing runs in when it has to outlive who asks for it.
const SWITCH_UNIT: &str = "coracle-switch.service";

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The node's root directory, as a container sees it
    #[arg(long, global = true, default_value = "/", value_name = "DIR")]
    root: PathBuf,
    /// Who starts and stops services on the node [default: what is here]
    #[arg(long, global = true, value_enum)]
    service_manager: Option<Choice>,
    /// Stays after the work until it is asked to end, as the only process of a container does
    #[arg(long, global = true)]
    stay: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Installs this program, its unit and settings, and has the daemon run; never touches the kubelet
    Install {
        /// Settings to install, as a drop-in of the configuration
        #[arg(long, value_name = "FILE")]
        drop_in: Option<PathBuf>,
    },
    /// Has the kubelet use Coracle: removes the pods of the other runtime, and goes back if the node is not ready in time
    Switch(Moving),
    /// Has the kubelet use the runtime that it used before
    Restore(Moving),
    /// Says what is installed, and which runtime the kubelet uses
    Status {
        /// Answers in JSON
        #[arg(long)]
        json: bool,
        /// Ends with code 1 unless this program is installed, and the kubelet switched if that is asked for
        #[arg(long, value_enum)]
        expect: Option<Expected>,
        /// With `--expect installed`: these settings have to be installed, too
        #[arg(long, value_name = "FILE")]
        drop_in: Option<PathBuf>,
    },
    /// Takes back what was installed
    Uninstall,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Expected {
    Installed,
    Switched,
    Restored,
}

#[derive(Clone, Debug, Args)]
struct Moving {
    /// The kubelet's unit
    #[arg(long, default_value = "kubelet.service")]
    unit: String,
    /// Socket of the other runtime [default: the one that the kubelet uses]
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
    /// Where the kubelet says that it is well
    #[arg(long, default_value = "127.0.0.1:10248", value_name = "ADDRESS")]
    healthz: String,
    /// Seconds that the node may take to become ready, and well for ten of them
    #[arg(long, default_value_t = 180, value_parser = clap::value_parser!(u64).range(10..))]
    timeout: u64,
    /// Most seconds that a pod may take to end
    #[arg(long, default_value_t = 60)]
    grace: u64,
    /// Turns on the kubelet's gate PodAndContainerStatsFromCRI; without it metrics of containers have no labels of pods
    #[arg(long)]
    stats_from_cri: bool,
    /// Leaves the work to a unit of the node, which goes on when the pod that asks for it is removed
    #[arg(long)]
    by_unit: bool,
}

pub(super) async fn run(options: Options, settings: &Settings) -> Result<ExitCode, CliError> {
    let place = Place::new(&options.root);
    if let Command::Status {
        json,
        expect,
        drop_in,
    } = &options.command
    {
        let wanted = Wanted {
            drop_in: drop_in.as_deref(),
            anybody: services::anybody(options.service_manager, &place),
        };
        return status(&place, *json, *expect, &wanted);
    }
    let services = choose(options.service_manager, &place)?;
    let told = act(&options.command, &place, services.as_ref(), settings).await?;
    print(&lines(&told))?;
    if options.stay {
        stay(&options.command, &place).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Stays until it is asked to end. What a unit was left to do may fail later: that ends it, so that the pod shows why.
async fn stay(command: &Command, place: &Place) -> Result<(), CliError> {
    let mut interrupt = Interrupt::listen()?;
    let (by_unit, switches) = match command {
        Command::Switch(moving) => (moving.by_unit, true),
        Command::Restore(moving) => (moving.by_unit, false),
        _ => (false, false),
    };
    loop {
        tokio::select! {
            _ = interrupt.wait() => return Ok(()),
            () = sleep(switch::LOOK), if by_unit => {
                let Record { rolled_back, failed, .. } = memory::read(place)?;
                if let (true, Some(reason)) = (switches, rolled_back) {
                    return Ok(refused(undone(&reason))?);
                }
                if let Some(reason) = failed {
                    return Ok(refused(reason)?);
                }
            }
        }
    }
}

/// What is said of a switch that was undone.
fn undone(reason: &str) -> String {
    format!("the switch was undone: {reason}; restore the node to forget that")
}

async fn act(
    command: &Command,
    place: &Place,
    services: &dyn Services,
    settings: &Settings,
) -> Result<Told, CliError> {
    let mut memory = Memory::take(place)?;
    let told = match command {
        Command::Install { drop_in } => {
            let text = match drop_in {
                Some(file) => {
                    // A mistake is told before anything changes.
                    load(Some(file), Overrides::default())?;
                    Some(std::fs::read(file).on("read", file)?)
                }
                None => None,
            };
            install::install(&mut memory, services, &install::own_program()?, text.as_deref())?
        }
        Command::Switch(moving) if moving.by_unit => by_unit(memory, services, "switch", moving)?,
        Command::Restore(moving) if moving.by_unit => by_unit(memory, services, "restore", moving)?,
        Command::Switch(moving) => {
            let way = way(moving, settings)?;
            let done = switch::switch(&mut memory, services, &way).await;
            noted(&mut memory, done)?
        }
        Command::Restore(moving) => {
            let way = way(moving, settings)?;
            let done = switch::restore(&mut memory, services, &way).await;
            noted(&mut memory, done)?
        }
        Command::Uninstall => install::uninstall(memory, services)?,
        Command::Status { .. } => vec![],
    };
    Ok(told)
}

/// Notes why a node was not moved, for who has left it to a unit; what was undone is noted already.
fn noted(memory: &mut Memory, done: Result<Told, NodeError>) -> Result<Told, NodeError> {
    let failed = done.as_ref().err().map(|error| chain(error));
    let failed = failed.filter(|_| memory.record.version.is_some() && memory.record.rolled_back.is_none());
    if memory.record.failed != failed {
        memory.record.failed = failed;
        memory.save()?;
    }
    done
}

fn way(moving: &Moving, settings: &Settings) -> Result<switch::Way, CliError> {
    Ok(switch::Way {
        unit: moving.unit.clone(),
        socket: settings.load()?.socket,
        old: moving.from.as_deref().map(super::strip_scheme),
        healthz: moving.healthz.clone(),
        patience: Duration::from_secs(moving.timeout),
        grace: Duration::from_secs(moving.grace),
        stats_from_cri: moving.stats_from_cri,
    })
}

/// Has a unit of the node do the work, and does not wait for it: the pod that this may be will be removed meanwhile.
fn by_unit(
    mut memory: Memory,
    services: &dyn Services,
    action: &str,
    moving: &Moving,
) -> Result<Told, NodeError> {
    let record = &memory.record;
    let phase = record.switch.as_ref().map(|switch| switch.phase);
    match (action, phase, &record.rolled_back) {
        ("switch", Some(Phase::Switched), _) => return Ok(vec!["the kubelet uses Coracle".into()]),
        ("switch", _, Some(reason)) => {
            return refused(undone(reason));
        }
        ("restore", None, None) => return Ok(vec!["the kubelet was not switched".into()]),
        _ if record.version.is_none() => return refused("Coracle is not installed here"),
        _ => {}
    }
    let words = words(action, moving)?;
    let text = format!(
        "# Written by `coracle node {action} --by-unit`.\n[Unit]\nDescription=Coracle: node {action}\n\n\
         [Service]\nType=oneshot\nTimeoutStartSec=infinity\nExecStart={PROGRAM} node --service-manager systemd {words}\n"
    );
    files::put(&mut memory, &unit_file(SWITCH_UNIT), text.as_bytes())?;
    services.reload()?;
    memory.record.failed = None;
    memory.save()?;
    // The unit's own process wants the lock.
    drop(memory);
    services.begin(SWITCH_UNIT)?;
    Ok(vec![format!(
        "{SWITCH_UNIT} does the {action}; its journal says how it goes"
    )])
}

/// The command line of a unit: nothing in it may mean something to systemd.
fn words(action: &str, moving: &Moving) -> Result<String, NodeError> {
    let Moving {
        unit,
        healthz,
        timeout,
        grace,
        ..
    } = moving;
    let mut words = format!("{action} --unit {unit} --healthz {healthz} --timeout {timeout} --grace {grace}");
    if let Some(from) = &moving.from {
        let _ = write!(words, " --from {}", from.display());
    }
    if moving.stats_from_cri {
        words.push_str(" --stats-from-cri");
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b" -_./:@[]".contains(&byte);
    match words.bytes().all(plain) {
        true => Ok(words),
        false => refused(format!("{words:?} cannot be the command of a unit")),
    }
}

fn lines(told: &[String]) -> String {
    told.iter().fold(String::new(), |text, line| text + line + "\n")
}

fn status(
    place: &Place,
    as_json: bool,
    expect: Option<Expected>,
    wanted: &Wanted,
) -> Result<ExitCode, CliError> {
    let record = memory::read(place)?;
    let answer = json!({
        "version": record.version, "previous": record.previous, "switch": record.switch,
        "rolledBack": record.rolled_back, "failed": record.failed, "files": record.files.iter().map(|file| &file.path).collect::<Vec<_>>(),
    });
    print(&match as_json {
        true => format!("{answer:#}\n"),
        false => describe(&record),
    })?;
    let own = || install::own_program().map(|program| install::version_of(&program));
    let phase = record.switch.as_ref().map(|switch| switch.phase);
    let good = match expect {
        None => true,
        Some(Expected::Restored) => phase.is_none(),
        Some(Expected::Switched) => phase == Some(Phase::Switched),
        Some(Expected::Installed) => wanted.is_installed(place, &record, &own()?)?,
    };
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What an installation has to be.
#[derive(Debug)]
struct Wanted<'a> {
    drop_in: Option<&'a Path>,
    anybody: bool,
}

impl Wanted<'_> {
    /// Whether a version is installed with its settings, and the daemon runs it where there is anybody who would run it: elsewhere
    /// that is left to the operator, and nobody tells when it is done.
    fn is_installed(&self, place: &Place, record: &Record, version: &str) -> Result<bool, NodeError> {
        let settings = match self.drop_in {
            None => true,
            Some(file) => {
                let text = std::fs::read(file).on("read", file)?;
                files::look(&place.at(SETTINGS))? == Some(text)
            }
        };
        Ok(settings && record.version.as_deref() == Some(version) && !(record.stale && self.anybody))
    }
}

fn describe(record: &Record) -> String {
    let version = record.version.as_deref().unwrap_or("none");
    let mut text = format!("installed  {version}\n");
    let _ = match &record.switch {
        None => writeln!(text, "kubelet    not switched"),
        Some(it) => {
            let (unit, old) = (&it.unit, it.old.display());
            match it.phase {
                Phase::Switching => writeln!(text, "kubelet    {unit} is being moved from {old}"),
                Phase::Switched => writeln!(text, "kubelet    {unit} uses Coracle, before that {old}"),
                Phase::Restoring => writeln!(text, "kubelet    {unit} is being moved back to {old}"),
            }
        }
    };
    if let Some(reason) = &record.rolled_back {
        let _ = writeln!(text, "undone     {reason}");
    }
    if let Some(reason) = &record.failed {
        let _ = writeln!(text, "failed     {reason}");
    }
    text
}
