//! Services of the machine: started, stopped, enabled, looked at. Everything here blocks.

use super::bus::Bus;
use super::wire::{Method, Writer};
use super::{NO_SUCH_UNIT, SOCKET, SystemdError, manager};
use std::path::Path;
use std::time::Duration;

/// How long a service may take to start or to stop: longer than systemd's own limits by default.
const PATIENCE: Duration = Duration::from_secs(200);

/// Whether there is a service manager that listens.
pub fn is_here() -> bool {
    Path::new(SOCKET).exists()
}

/// What becomes of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// It runs.
    Start,
    /// It does not run.
    Stop,
    /// It runs, and has been started anew.
    Restart,
}

/// Does something to a unit, and waits until that is done.
///
/// # Errors
/// systemd refuses, cannot be talked to, or has tried without success.
pub fn run(job: Job, unit: &str) -> Result<(), SystemdError> {
    let mut bus = connect()?;
    let answer = bus.call(manager(job.method(), "ss"), replacing(unit))?;
    bus.finished(&answer, unit)
}

/// Asks for a unit's start, and does not wait for it.
///
/// # Errors
/// As [`run`].
pub fn begin(unit: &str) -> Result<(), SystemdError> {
    connect()?
        .call(manager(Job::Start.method(), "ss"), replacing(unit))
        .map(drop)
}

/// Has systemd read its units again.
///
/// # Errors
/// As [`run`].
pub fn reload() -> Result<(), SystemdError> {
    connect()?
        .call(manager("Reload", ""), Writer::default())
        .map(drop)
}

/// Has a unit started with the machine. One that is already is fine.
///
/// # Errors
/// As [`run`].
pub fn enable(unit: &str) -> Result<(), SystemdError> {
    let mut arguments = Writer::default();
    arguments.texts(&[unit]);
    // Not only until the next reboot, and over no link of somebody else's.
    arguments.bool(false);
    arguments.bool(false);
    connect()?
        .call(manager("EnableUnitFiles", "asbb"), arguments)
        .map(drop)
}

/// Undoes [`enable`]. One that is not enabled is fine.
///
/// # Errors
/// As [`run`].
pub fn disable(unit: &str) -> Result<(), SystemdError> {
    let mut arguments = Writer::default();
    arguments.texts(&[unit]);
    arguments.bool(false);
    match connect()?.call(manager("DisableUnitFiles", "asb"), arguments) {
        Err(SystemdError::Refused { name, .. }) if name == NO_SUCH_UNIT => Ok(()),
        other => other.map(drop),
    }
}

/// The service's main process, if it runs.
///
/// # Errors
/// As [`run`].
pub fn main_pid(unit: &str) -> Result<Option<u32>, SystemdError> {
    let mut arguments = Writer::default();
    arguments.text("org.freedesktop.systemd1.Service");
    arguments.text("MainPID");
    let path = path_of(unit);
    let get = Method {
        path: &path,
        interface: "org.freedesktop.DBus.Properties",
        ..manager("Get", "ss")
    };
    let answer = connect()?.call(get, arguments)?;
    let pid = answer.texts.first().and_then(|text| text.parse().ok());
    Ok(pid.filter(|pid| *pid != 0))
}

impl Job {
    fn method(self) -> &'static str {
        match self {
            Job::Start => "StartUnit",
            Job::Stop => "StopUnit",
            Job::Restart => "RestartUnit",
        }
    }
}

fn connect() -> Result<Bus, SystemdError> {
    Bus::connect(Path::new(SOCKET), PATIENCE).map_err(SystemdError::Unreachable)
}

/// A unit, and that a job of it that waits gives way.
fn replacing(unit: &str) -> Writer {
    let mut arguments = Writer::default();
    arguments.text(unit);
    arguments.text("replace");
    arguments
}

/// The object that a unit is: what is neither a letter nor a digit is written as its number.
fn path_of(unit: &str) -> String {
    let mut path = "/org/freedesktop/systemd1/unit/".to_owned();
    for (at, byte) in unit.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => path.push(byte.into()),
            b'0'..=b'9' if at > 0 => path.push(byte.into()),
            other => path.push_str(&format!("_{other:02x}")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_an_object_with_a_plain_name() {
        assert_eq!(
            path_of("a-1.service"),
            "/org/freedesktop/systemd1/unit/a_2d1_2eservice"
        );
        assert_eq!(path_of("1.a"), "/org/freedesktop/systemd1/unit/_31_2ea");
    }
}
