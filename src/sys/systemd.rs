//! The machine's service manager, as owner of control groups: the scope of a container in the slice that its parent is,
//! with the container's limits as properties; and, in [`service`], services as such. Everything here blocks; each piece of work is a connection of its own.

mod bus;
mod limits;
pub mod service;
mod slice;
mod wire;

pub use limits::properties;
pub use slice::{expand, slice_of};
pub use wire::Value;

use crate::sys::cgroup::{self, Version};
use bus::Bus;
use std::io;
use std::path::Path;
use thiserror::Error;
use wire::{Message, Method, Writer};

/// Where the manager listens for root: there before the first service and for as long as the machine runs.
const SOCKET: &str = "/run/systemd/private";
const SCOPE: &str = ".scope";
/// What the names of our scopes begin with.
const PREFIX: &str = "coracle-";
/// The answer for a unit that is not, or not any more.
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// Why the manager did not do something.
#[derive(Debug, Error)]
pub enum SystemdError {
    /// It cannot be talked to.
    #[error("cannot talk to systemd at {SOCKET}")]
    Unreachable(#[source] io::Error),
    /// It answered with an error.
    #[error("systemd refused: {text} ({name})")]
    Refused {
        /// Its name on the bus.
        name: String,
        /// What it says.
        text: String,
    },
    /// It has begun, and not come to its end.
    #[error("the job of {unit} ended as {result}")]
    Job {
        /// The unit.
        unit: String,
        /// The manager's word for how.
        result: String,
    },
}

/// A scope to be made.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    /// Name of the unit.
    pub unit: &'a str,
    /// Name of the slice that it is in. One that is not there is made.
    pub slice: &'a str,
    /// What `systemctl` says of it.
    pub description: &'a str,
    /// The process that it begins with. It ends with its last one.
    pub pid: u32,
    /// Limits.
    pub limits: Vec<(&'static str, Value)>,
}

/// Whether this machine is one whose control groups are the service manager's: version 2, and it listens.
pub fn is_here() -> bool {
    cgroup::version() == Version::V2 && Path::new(SOCKET).exists()
}

/// Asks the manager for a sign of life.
///
/// # Errors
/// There is none, or it does not talk to us.
pub fn reach() -> Result<(), SystemdError> {
    connect()?.sync()
}

/// The name of a container's scope.
pub fn unit_name(id: &str) -> String {
    format!("{PREFIX}{id}{SCOPE}")
}

/// The scope that a group is, if it is one of ours.
pub fn unit_of(group: &str) -> Option<&str> {
    let name = group.rsplit('/').next()?;
    container_of(name).map(|_| name)
}

/// The id in the name of a scope of ours.
pub fn container_of(name: &str) -> Option<&str> {
    name.strip_prefix(PREFIX)?.strip_suffix(SCOPE)
}

/// Makes a scope and waits until it is there, with the process in it.
///
/// # Errors
/// The manager refuses, or cannot be talked to: then nobody knows whether the scope comes to be.
pub fn start(scope: Scope<'_>) -> Result<(), SystemdError> {
    let text = |value: &str| Value::Text(value.to_owned());
    let mut properties = vec![
        ("Description", text(scope.description)),
        ("Slice", text(scope.slice)),
        ("Delegate", Value::Bool(true)),
        ("DefaultDependencies", Value::Bool(false)),
        ("CollectMode", text("inactive-or-failed")),
        ("PIDs", Value::Numbers(vec![scope.pid])),
    ];
    properties.extend(scope.limits);
    let mut arguments = Writer::default();
    arguments.text(scope.unit);
    arguments.text("fail");
    arguments.properties(&properties);
    // Auxiliary units: none.
    arguments.array(8, |_| {});
    let mut bus = connect()?;
    let answer = bus.call(manager("StartTransientUnit", "ssa(sv)a(sa(sv))"), arguments)?;
    bus.finished(&answer, scope.unit)
}

/// Sets properties of a unit until it ends, and waits until the files say so.
///
/// # Errors
/// As [`start`]; nothing has changed then.
pub fn set(unit: &str, properties: &[(&'static str, Value)]) -> Result<(), SystemdError> {
    let mut arguments = Writer::default();
    arguments.text(unit);
    arguments.bool(true);
    arguments.properties(properties);
    let mut bus = connect()?;
    bus.call(manager("SetUnitProperties", "sba(sv)"), arguments)?;
    // It answers first and writes next, but before it hears anything else.
    bus.sync()
}

/// Ends a unit and waits until it is gone. One that is not there is fine.
///
/// # Errors
/// As [`start`].
pub fn stop(unit: &str) -> Result<(), SystemdError> {
    let mut arguments = Writer::default();
    arguments.text(unit);
    arguments.text("replace");
    let mut bus = connect()?;
    match bus.call(manager("StopUnit", "ss"), arguments) {
        Ok(answer) => bus.finished(&answer, unit),
        Err(SystemdError::Refused { name, .. }) if name == NO_SUCH_UNIT => Ok(()),
        Err(error) => Err(error),
    }
}

fn connect() -> Result<Bus, SystemdError> {
    Bus::connect(Path::new(SOCKET), bus::PATIENCE).map_err(SystemdError::Unreachable)
}

const fn manager(member: &'static str, signature: &'static str) -> Method<'static> {
    Method {
        destination: "org.freedesktop.systemd1",
        path: "/org/freedesktop/systemd1",
        interface: "org.freedesktop.systemd1.Manager",
        member,
        signature,
    }
}

impl Bus {
    /// Waits for the end of the job that an answer names.
    fn finished(&mut self, answer: &Message, unit: &str) -> Result<(), SystemdError> {
        let job = answer.texts.first().cloned().unwrap_or_default();
        // JobRemoved: number, path, unit, result.
        let removed =
            self.signal(|message| message.member == "JobRemoved" && message.texts.first() == Some(&job))?;
        match removed.texts.get(2).map(String::as_str) {
            Some("done") => Ok(()),
            other => Err(SystemdError::Job {
                unit: unit.to_owned(),
                result: other.unwrap_or_default().to_owned(),
            }),
        }
    }

    /// A question that is answered once all before it is done.
    fn sync(&mut self) -> Result<(), SystemdError> {
        let mut arguments = Writer::default();
        arguments.text("org.freedesktop.systemd1.Manager");
        arguments.text("Version");
        let get = Method {
            interface: "org.freedesktop.DBus.Properties",
            ..manager("Get", "ss")
        };
        self.call(get, arguments).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_told_by_its_name() {
        let group = format!("/a.slice/{}", unit_name("0123"));

        assert_eq!(unit_of(&group), Some("coracle-0123.scope"));
        assert_eq!(container_of("coracle-0123.scope"), Some("0123"));
        assert_eq!(unit_of("/a.slice/0123"), None);
        assert_eq!(unit_of("/a.slice/other-0123.scope"), None);
    }
}
