//! What the last stage becomes: command, environment, working directory and limits of a process.

use std::collections::HashMap;

use oci_spec::image::Config as ImageConfig;

use crate::model::{ContainerConfig, Profile};

use super::capabilities::CapabilitySets;
use super::error::SpecError;
use super::host::{Host, Rlimit};

/// Where commands are looked for when neither the image nor the configuration says it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Range of `oom_score_adj` (`linux/oom.h`).
const OOM_SCORE_ADJ: (i64, i64) = (-1000, 1000);

/// A process of the container, as its last stage before execve makes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Command and arguments, looked up in PATH by the last stage.
    pub args: Vec<String>,
    /// `NAME=value`, in any bytes; complete, with PATH and HOME.
    pub env: Vec<Vec<u8>>,
    /// Absolute; the last stage makes it when it is missing.
    pub cwd: String,
    /// Has a terminal.
    pub tty: bool,
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Every group, the primary one first.
    pub groups: Vec<u32>,
    /// Capability sets.
    pub capabilities: CapabilitySets,
    /// No process may gain rights by execve.
    pub no_new_privileges: bool,
    /// Limits, within what the runtime can set.
    pub rlimits: Vec<Rlimit>,
    /// OOM score, within what the runtime can set.
    pub oom_score_adj: i32,
    /// File mode mask.
    pub umask: u32,
    /// AppArmor profile to change to at execve.
    pub apparmor: Option<String>,
    /// SELinux label to change to at execve.
    pub selinux: Option<String>,
    /// Label for the directory of message queues, where that is the container's or shared with those it has to do with.
    pub queues: Option<String>,
}

/// Merges command and arguments: a command replaces the image's entrypoint and its command, arguments alone replace
/// its command (CRI `ContainerConfig.command`, `.args`).
pub(super) fn args(config: &ContainerConfig, image: Option<&ImageConfig>) -> Result<Vec<String>, SpecError> {
    let of_image = |field: Option<&Option<Vec<String>>>| field.and_then(Clone::clone).unwrap_or_default();
    let (mut command, mut args) = (config.command.clone(), config.args.clone());
    if command.is_empty() {
        command = of_image(image.map(ImageConfig::entrypoint));
        if args.is_empty() {
            args = of_image(image.map(ImageConfig::cmd));
        }
    }
    command.extend(args);
    if command.first().is_none_or(String::is_empty) {
        return Err(SpecError::NoCommand);
    }
    if command.iter().any(|word| word.contains('\0')) {
        return Err(SpecError::invalid("command or args", "contains a NUL character"));
    }
    Ok(command)
}

/// The environment: what every container has, then the image's, then the configuration's; a later value replaces an
/// earlier one in its place.
pub(super) fn env(
    config: &ContainerConfig,
    image: Option<&ImageConfig>,
    hostname: &str,
    home: &str,
) -> Result<Vec<Vec<u8>>, SpecError> {
    let mut env = Environment::default();
    env.set(b"PATH", DEFAULT_PATH.as_bytes());
    if config.tty {
        env.set(b"TERM", b"xterm");
    }
    if !hostname.is_empty() {
        env.set(b"HOSTNAME", hostname.as_bytes());
    }
    for entry in image.and_then(|i| i.env().as_ref()).into_iter().flatten() {
        if entry.contains('\0') {
            return Err(SpecError::invalid(
                "the image's environment",
                "contains a NUL character",
            ));
        }
        if let Some((name, value)) = entry.split_once('=') {
            env.set(name.as_bytes(), value.as_bytes());
        }
    }
    for (n, variable) in config.envs.iter().enumerate() {
        if variable.key.is_empty() || variable.key.contains(['=', '\0']) {
            let problem = format!("{:?} is not a name of a variable", variable.key);
            return Err(SpecError::invalid(format!("envs[{n}].key"), problem));
        }
        if variable.value_bytes().contains(&0) {
            return Err(SpecError::invalid(
                format!("envs[{n}].value"),
                "contains a NUL character",
            ));
        }
        env.set(variable.key.as_bytes(), variable.value_bytes());
    }
    // Always there: libcontainer would look it up by getpwuid, with the container's own NSS modules.
    env.set_default(b"HOME", home.as_bytes());
    Ok(env.entries)
}

/// Variables in the order that they came first, and where each is.
#[derive(Default)]
struct Environment {
    entries: Vec<Vec<u8>>,
    places: HashMap<Vec<u8>, usize>,
}

impl Environment {
    fn set(&mut self, name: &[u8], value: &[u8]) {
        let entry = [name, b"=", value].concat();
        match self.places.get(name) {
            Some(place) => self.entries[*place] = entry,
            None => {
                self.places.insert(name.to_vec(), self.entries.len());
                self.entries.push(entry);
            }
        }
    }

    fn set_default(&mut self, name: &[u8], value: &[u8]) {
        if !self.places.contains_key(name) {
            self.set(name, value);
        }
    }
}

/// The working directory: the configuration's, else the image's, else `/`.
pub(super) fn cwd(config: &ContainerConfig, image: Option<&ImageConfig>) -> Result<String, SpecError> {
    if config.working_dir.contains('\0') {
        return Err(SpecError::invalid("working_dir", "contains a NUL character"));
    }
    if !config.working_dir.is_empty() {
        if !config.working_dir.starts_with('/') {
            return Err(SpecError::invalid("working_dir", "is not an absolute path"));
        }
        return Ok(config.working_dir.clone());
    }
    let of_image = image.and_then(|i| i.working_dir().as_deref()).unwrap_or("");
    if of_image.contains('\0') {
        let problem = "contains a NUL character";
        return Err(SpecError::invalid("the image's working directory", problem));
    }
    Ok(match of_image.starts_with('/') {
        true => of_image.to_owned(),
        false => format!("/{of_image}"),
    })
}

/// Brings the score into the kernel's range, and not below what the runtime may set.
pub(super) fn oom_score_adj(wanted: i64, host: &Host, warnings: &mut Vec<String>) -> i32 {
    let floor = match host.can_raise_limits {
        true => OOM_SCORE_ADJ.0,
        false => i64::from(host.own_oom_score_adj),
    };
    let score = wanted.clamp(OOM_SCORE_ADJ.0, OOM_SCORE_ADJ.1).max(floor);
    if score != wanted {
        warnings.push(format!("oom_score_adj {wanted} cannot be set, {score} is"));
    }
    i32::try_from(score).expect("the range of scores fits")
}

/// Brings limits below the runtime's own hard ones when it cannot exceed them.
pub(super) fn rlimits(host: &Host, warnings: &mut Vec<String>) -> Vec<Rlimit> {
    let clamp = |limit: &Rlimit| {
        let hard = match host.can_raise_limits {
            true => limit.hard,
            false => limit.hard.min(limit.own_hard),
        };
        if hard != limit.hard {
            warnings.push(format!(
                "hard limit {} of resource {} cannot be set, {hard} is",
                limit.hard, limit.resource
            ));
        }
        Rlimit {
            hard,
            soft: limit.soft.min(hard),
            ..*limit
        }
    };
    host.rlimits.iter().map(clamp).collect()
}

/// The AppArmor profile to change to. Which is the default, and that one is loaded, is the caller's business.
pub(super) fn apparmor(
    profile: &Profile,
    privileged: bool,
    host: &Host,
) -> Result<Option<String>, SpecError> {
    match profile {
        Profile::Localhost(name) if !privileged => {
            if name.is_empty() {
                return Err(SpecError::invalid("linux.security.apparmor", "names no profile"));
            }
            if !host.apparmor {
                return Err(SpecError::unsupported(
                    "linux.security.apparmor",
                    format!("names profile {name:?}, but AppArmor is not enabled"),
                ));
            }
            Ok(Some(name.clone()))
        }
        _ => Ok(None),
    }
}
