//! Who starts and stops services on the node: systemd, or nobody that this command could ask.

use std::fmt::Debug;
use std::fs;

use clap::ValueEnum;

use super::error::{NodeError, refused};
use super::place::Place;
use crate::sys::systemd::SystemdError;
use crate::sys::systemd::service::{self, Job};

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Choice {
    /// systemd, by the socket that it has for root.
    Systemd,
    /// Nobody: services are started and stopped by hand.
    None,
}

/// Starts and stops services.
pub(super) trait Services: Debug {
    /// Whether there is anybody who does.
    fn works(&self) -> bool;
    fn run(&self, job: Job, unit: &str) -> Result<(), NodeError>;
    /// Asks for a start and does not wait.
    fn begin(&self, unit: &str) -> Result<(), NodeError>;
    fn reload(&self) -> Result<(), NodeError>;
    fn enable(&self, unit: &str) -> Result<(), NodeError>;
    fn disable(&self, unit: &str) -> Result<(), NodeError>;
    /// The words of a service's main process; none if it does not run.
    fn command_line(&self, unit: &str) -> Result<Option<Vec<String>>, NodeError>;
}

/// The one that was chosen, or the one that is here. What is here says nothing of a node at another root.
pub(super) fn choose(choice: Option<Choice>, place: &Place) -> Result<Box<dyn Services>, NodeError> {
    match choice {
        Some(Choice::Systemd) => Ok(Box::new(Systemd)),
        Some(Choice::None) => Ok(Box::new(Nobody)),
        None if !place.is_here() => {
            refused("with --root, --service-manager has to say who starts services on that node")
        }
        None if service::is_here() => Ok(Box::new(Systemd)),
        None => Ok(Box::new(Nobody)),
    }
}

/// Whether there is anybody, without asking: at another root there is, unless it was said that there is not.
pub(super) fn anybody(choice: Option<Choice>, place: &Place) -> bool {
    match choice {
        Some(choice) => choice == Choice::Systemd,
        None => !place.is_here() || service::is_here(),
    }
}

#[derive(Debug)]
struct Systemd;

fn during<T>(action: &'static str, unit: &str, result: Result<T, SystemdError>) -> Result<T, NodeError> {
    result.map_err(|source| NodeError::Service {
        action,
        unit: unit.to_owned(),
        source,
    })
}

impl Services for Systemd {
    fn works(&self) -> bool {
        true
    }

    fn run(&self, job: Job, unit: &str) -> Result<(), NodeError> {
        let action = match job {
            Job::Start => "start",
            Job::Stop => "stop",
            Job::Restart => "restart",
        };
        during(action, unit, service::run(job, unit))
    }

    fn begin(&self, unit: &str) -> Result<(), NodeError> {
        during("start", unit, service::begin(unit))
    }

    fn reload(&self) -> Result<(), NodeError> {
        during("read again", "systemd's units", service::reload())
    }

    fn enable(&self, unit: &str) -> Result<(), NodeError> {
        during("enable", unit, service::enable(unit))
    }

    fn disable(&self, unit: &str) -> Result<(), NodeError> {
        during("disable", unit, service::disable(unit))
    }

    fn command_line(&self, unit: &str) -> Result<Option<Vec<String>>, NodeError> {
        let Some(pid) = during("look at", unit, service::main_pid(unit))? else {
            return Ok(None);
        };
        // One that ends meanwhile does not run.
        let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else {
            return Ok(None);
        };
        let words = line.split(|byte| *byte == 0).filter(|word| !word.is_empty());
        Ok(Some(
            words
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect(),
        ))
    }
}

/// Leaves all to the operator.
#[derive(Debug)]
struct Nobody;

impl Services for Nobody {
    fn works(&self) -> bool {
        false
    }

    fn run(&self, _job: Job, _unit: &str) -> Result<(), NodeError> {
        Ok(())
    }

    fn begin(&self, _unit: &str) -> Result<(), NodeError> {
        refused("without a service manager nothing can be run by a unit")
    }

    fn reload(&self) -> Result<(), NodeError> {
        Ok(())
    }

    fn enable(&self, _unit: &str) -> Result<(), NodeError> {
        Ok(())
    }

    fn disable(&self, _unit: &str) -> Result<(), NodeError> {
        Ok(())
    }

    fn command_line(&self, _unit: &str) -> Result<Option<Vec<String>>, NodeError> {
        Ok(None)
    }
}
