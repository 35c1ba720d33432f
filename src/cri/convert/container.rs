//! A container's configuration, and what its sandbox adds to it.

use std::path::{Path, PathBuf};

use crate::cri::sandbox::{self, Config, Modes, PidMode, Record, TAG};
use crate::cri::wire::v1;
use crate::model::{
    ContainerConfig, ContainerMetadata, Error, KeyValue, LinuxContainerConfig, LinuxContainerResources,
    Namespace, Namespaces, Result, Security, SelinuxLabel,
};
use crate::sys::{planted, systemd};

use super::image::required_image;
use super::mounts::{described_devices, devices, mounts};
use super::resources::resources;
use super::security::security;
use super::user::check_same;
use super::{ADDED_MOUNTS_TAG, ATTEMPT_TAG, NAME_TAG, known, name, no_nul, required, signal, too_long};

/// Where a container's PID namespace comes from, before a target container has been looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cri) enum PidSource {
    /// From here.
    Is(Namespace),
    /// From the container of this id.
    Target(String),
}

/// The identity of a container within its sandbox.
///
/// # Errors
/// `InvalidArgument`, naming the field.
pub(in crate::cri) fn metadata(config: &v1::ContainerConfig) -> Result<ContainerMetadata> {
    let metadata = required(config.metadata.as_ref(), "config.metadata")?;
    name(&metadata.name, "config.metadata.name")?;
    Ok(ContainerMetadata {
        name: metadata.name.clone(),
        attempt: metadata.attempt,
    })
}

/// Decides where a container's PID namespace comes from: from its own options, or else from its sandbox's.
///
/// # Errors
/// `InvalidArgument`: it is to share what its sandbox does not have.
pub(in crate::cri) fn pid_source(
    config: &v1::ContainerConfig,
    sandbox: &Record,
    dir: &Path,
) -> Result<PidSource> {
    const FIELD: &str = "linux.security_context.namespace_options";
    let context = config
        .linux
        .as_ref()
        .and_then(|linux| linux.security_context.as_ref());
    let own = sandbox.config.namespaces.pid;
    let mode = match context.and_then(|context| context.namespace_options.as_ref()) {
        None => own,
        Some(options) => match known(options.pid, &format!("{FIELD}.pid"))? {
            v1::NamespaceMode::Target if options.target_id.is_empty() => {
                return Err(Error::invalid(format!("{FIELD}.target_id is empty")));
            }
            v1::NamespaceMode::Target => return Ok(PidSource::Target(options.target_id.clone())),
            v1::NamespaceMode::Container => PidMode::Container,
            v1::NamespaceMode::Node => PidMode::Node,
            // The sandbox's: whatever that is, its containers share it, unless each has its own.
            v1::NamespaceMode::Pod => own,
        },
    };
    Ok(PidSource::Is(match mode {
        PidMode::Pod if own == PidMode::Pod => Namespace::Join(dir.join("pid")),
        PidMode::Pod | PidMode::Container => Namespace::New,
        PidMode::Node => Namespace::Host,
    }))
}

/// The model's configuration of a container in a sandbox, whose files are in `dir`.
///
/// # Errors
/// `InvalidArgument` or `Unimplemented`, naming the field.
pub(in crate::cri) fn container(
    from: v1::ContainerConfig,
    sandbox: &Record,
    dir: &Path,
    pid: Namespace,
) -> Result<ContainerConfig> {
    let metadata = metadata(&from)?;
    let image = required_image(from.image, "config.image")?;
    let mut linux = linux(from.linux.unwrap_or_default(), &sandbox.config, dir, pid)?;
    linux.security.readonly_rootfs |= sandbox.config.handler.read_only;
    let modes: Modes = sandbox.config.namespaces;
    let asked = mounts(from.mounts, modes.user)?;
    let mut all = sandbox::mounts(dir, modes, linux.security.readonly_rootfs, &asked);
    let tags = [
        (TAG, sandbox.id.clone()),
        (NAME_TAG, metadata.name.clone()),
        (ATTEMPT_TAG, metadata.attempt.to_string()),
        (ADDED_MOUNTS_TAG, all.len().to_string()),
    ];
    all.extend(asked);
    let (log_directory, log_path) = log(&sandbox.config.log_directory, from.log_path)?;
    let mut config = ContainerConfig {
        metadata: Some(metadata),
        image: Some(image),
        command: words(from.command, "config.command")?,
        args: words(from.args, "config.args")?,
        working_dir: from.working_dir,
        envs: envs(from.envs)?,
        mounts: all,
        devices: devices(from.devices)?,
        described_devices: described_devices(from.cdi_devices, &from.annotations)?,
        labels: from.labels,
        stdin: from.stdin,
        stdin_once: from.stdin_once,
        tty: from.tty,
        linux: Some(linux),
        log_directory,
        log_path,
        annotations: from.annotations,
        tags: tags.map(|(key, value)| (key.to_owned(), value)).into(),
        stop_signal: signal::name(from.stop_signal, "config.stop_signal")?,
        // The UTS namespace is the sandbox's; the name is for the environment.
        hostname: sandbox::hostname(&sandbox.config),
        ..ContainerConfig::default()
    };
    sandbox.config.handler.add_to(&mut config);
    Ok(config)
}

fn linux(
    from: v1::LinuxContainerConfig,
    sandbox: &Config,
    dir: &Path,
    pid: Namespace,
) -> Result<LinuxContainerConfig> {
    let limits = match from.resources {
        Some(limits) => resources(limits, "linux.resources")?,
        None => LinuxContainerResources::default(),
    };
    let context = from.security_context.as_ref();
    let options = context.and_then(|context| context.namespace_options.as_ref());
    check_same(options, sandbox.namespaces.user)?;
    let mut security: Security = security(from.security_context.unwrap_or_default(), sandbox.privileged)?;
    security.selinux = label(security.selinux, &sandbox.selinux);
    let (network, ipc, uts) = sandbox::shared(sandbox.namespaces, dir);
    Ok(LinuxContainerConfig {
        resources: Some(limits),
        security,
        namespaces: Namespaces {
            network,
            ipc,
            uts,
            pid,
        },
        user: sandbox::user(sandbox.namespaces, dir),
        cgroup_parent: systemd::expand(&sandbox.cgroup_parent),
        // They were set when the namespaces were pinned.
        sysctls: Default::default(),
    })
}

/// The sandbox's label, where a container has none. One of its own has the sandbox's level still, unless it says another:
/// its files are those of the others.
fn label(own: SelinuxLabel, sandbox: &SelinuxLabel) -> SelinuxLabel {
    if own == SelinuxLabel::default() {
        return sandbox.clone();
    }
    SelinuxLabel {
        level: match own.level.is_empty() {
            true => sandbox.level.clone(),
            false => own.level,
        },
        ..own
    }
}

/// The log file's directory and its place below; without either there is no log.
fn log(directory: &str, path: String) -> Result<(String, String)> {
    if directory.is_empty() || path.is_empty() {
        return Ok((String::new(), String::new()));
    }
    let odd = PathBuf::from(&path).components().any(|part| {
        !matches!(
            part,
            std::path::Component::Normal(_) | std::path::Component::CurDir
        )
    });
    if too_long(&path) {
        return Err(Error::invalid("config.log_path is longer than a path can be"));
    }
    if (odd && !planted("log-path")) || path.contains('\0') {
        return Err(Error::invalid(format!(
            "config.log_path {path} is not below the log directory"
        )));
    }
    Ok((directory.to_owned(), path))
}

fn words(from: Vec<String>, field: &str) -> Result<Vec<String>> {
    for (index, word) in from.iter().enumerate() {
        no_nul(word, &format!("{field}[{index}]"))?;
    }
    Ok(from)
}

fn envs(from: Vec<v1::KeyValue>) -> Result<Vec<KeyValue>> {
    let one = |(index, env): (usize, v1::KeyValue)| {
        let odd = env.key.is_empty() || env.key.contains(['=', '\0']);
        if odd {
            let key = env.key;
            return Err(Error::invalid(format!(
                "config.envs[{index}].key {key:?} is not a variable's name"
            )));
        }
        if env.value.contains(&0) {
            return Err(Error::invalid(format!(
                "config.envs[{index}].value contains a NUL byte"
            )));
        }
        Ok(KeyValue::new(env.key, &env.value))
    };
    from.into_iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_of_a_containers_own_has_the_sandboxs_level_unless_it_says_another() {
        let part = |kind: &str, level: &str| SelinuxLabel {
            kind: kind.into(),
            level: level.into(),
            ..SelinuxLabel::default()
        };
        let sandbox = part("a_t", "s0:c1,c2");

        assert_eq!(label(part("", ""), &sandbox), sandbox);
        assert_eq!(label(part("b_t", ""), &sandbox), part("b_t", "s0:c1,c2"));
        assert_eq!(label(part("", "s0"), &sandbox), part("", "s0"));
    }

    #[test]
    fn a_log_file_lies_below_its_directory() {
        assert_eq!(
            log("/var/log", "a/0.log".into()).unwrap(),
            ("/var/log".into(), "a/0.log".into())
        );
        assert_eq!(log("", "0.log".into()).unwrap(), Default::default());
        assert_eq!(log("/var/log", String::new()).unwrap(), Default::default());
        assert!(log("/var/log", "../0.log".into()).is_err());
        assert!(log("/var/log", "/0.log".into()).is_err());
    }
}
