//! SELinux: which labels a container's processes and files get, and the files of the host that get one. What makes a process
//! change to its label is the last stage before its program; the root file system is mounted with that of its files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Once;

use serde_json::{Value, json};

use crate::model::{ContainerConfig, Error, Kind, LinuxContainerConfig, Namespace, Result, SelinuxLabel};
use crate::spec::{Labels, Source, Volume};
use crate::sys::selinux::{Context, Held, Selinux, is_level, is_part, relabel};

const FIELD: &str = "linux.security.selinux";
/// Type of processes that no policy for containers confines.
const UNCONFINED: &str = "spc_t";
/// Directories that are the system's: with a container's label the node would not work any more.
const SYSTEMS: [&str; 23] = [
    "/", "/bin", "/boot", "/dev", "/etc", "/etc/pki", "/home", "/lib", "/lib64", "/media", "/mnt", "/opt",
    "/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var", "/var/lib", "/var/log",
];

/// The node's SELinux, as containers have to do with it.
#[derive(Debug)]
pub(super) struct Labelling {
    selinux: Selinux,
    /// Absent where the policy has no such type: then such processes keep the label of who starts them.
    unconfined: Option<Context>,
    told: Once,
}

impl Labelling {
    pub(super) fn new(selinux: Selinux) -> Labelling {
        let unconfined = selinux.policy().map(|policy| Context {
            kind: UNCONFINED.to_owned(),
            ..policy.process.clone()
        });
        Labelling {
            unconfined: unconfined.filter(|label| selinux.check(label).is_ok()),
            selinux,
            told: Once::new(),
        }
    }

    /// What is told of it to who debugs the node.
    pub(super) fn info(&self) -> Value {
        match self.selinux.policy() {
            None => json!({"enabled": false, "labels": "ignored"}),
            Some(policy) => json!({
                "enabled": true,
                "process": policy.process.to_string(),
                "files": policy.files.to_string(),
                "unconfined": self.unconfined.as_ref().map(Context::to_string),
            }),
        }
    }

    /// Gives a container that has no level one of its own. It is nobody else's while the answer lives.
    ///
    /// # Errors
    /// `ResourceExhausted`: all are taken.
    pub(super) fn give_level(&self, config: &mut ContainerConfig) -> Result<Option<Held>> {
        if !self.selinux.has_levels() {
            return Ok(None);
        }
        let linux = config.linux.get_or_insert_with(LinuxContainerConfig::default);
        let given = self.selinux.give(&mut linux.security.selinux.level);
        given.map_err(|error| Error::new(Kind::ResourceExhausted, error.to_string()))
    }

    /// Keeps the level of a container that is there already.
    pub(super) fn hold(&self, config: &ContainerConfig) -> Option<Held> {
        let level = &config.linux.as_ref()?.security.selinux.level;
        self.selinux.hold(level)
    }

    /// A container's labels; none where SELinux is off.
    ///
    /// # Errors
    /// `InvalidArgument`: the policy does not know what is asked for.
    pub(super) fn labels(&self, config: &ContainerConfig) -> Result<Option<Labels>> {
        let default = LinuxContainerConfig::default();
        let linux = config.linux.as_ref().unwrap_or(&default);
        let asked = &linux.security.selinux;
        let Some(policy) = self.selinux.policy() else {
            if *asked != SelinuxLabel::default() {
                let tell =
                    || tracing::info!("SELinux is off: the labels that containers ask for are ignored");
                self.told.call_once(tell);
            }
            return Ok(None);
        };
        check_parts(asked)?;
        let parts = Context::of([&asked.user, &asked.role, &asked.kind, &asked.level]);
        let shares = |namespace: &Namespace| *namespace == Namespace::Host;
        let open =
            linux.security.privileged || shares(&linux.namespaces.pid) || shares(&linux.namespaces.ipc);
        let process = match (open && asked.kind.is_empty(), &self.unconfined) {
            (true, None) => None,
            (true, Some(label)) => Some(label.with(&Context::of([&asked.user, &asked.role, "", ""]))),
            (false, _) => Some(policy.process.with(&parts)),
        };
        let files = policy.files_of(&parts);
        for label in process.iter().chain([&files]) {
            self.known(label)?;
        }
        Ok(Some(Labels {
            process: process.map(|label| label.to_string()),
            files: files.to_string(),
        }))
    }

    fn known(&self, label: &Context) -> Result<()> {
        self.selinux.check(label).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => Error::invalid(format!(
                "{FIELD}: the node's policy does not know the label {label}"
            )),
            _ => Error::internal(format!("cannot look up the SELinux label {label}")).because(error),
        })
    }
}

fn check_parts(asked: &SelinuxLabel) -> Result<()> {
    let parts = [
        ("user", &asked.user),
        ("role", &asked.role),
        ("type", &asked.kind),
    ];
    let odd = parts
        .into_iter()
        .find(|(_, part)| !part.is_empty() && !is_part(part));
    let odd =
        odd.or(Some(("level", &asked.level)).filter(|(_, level)| !level.is_empty() && !is_level(level)));
    match odd {
        None => Ok(()),
        Some((name, value)) => Err(Error::invalid(format!(
            "{FIELD}.{name} {value:?} is not the {name} of a label"
        ))),
    }
}

/// What of the host gets the label of a container's files: mounts that ask for it, and its volumes.
///
/// # Errors
/// `InvalidArgument`: a mount that asks for it is of a directory of the system's.
pub(super) fn relabelled(
    config: &ContainerConfig,
    binds: &[Source],
    volumes: &[Volume],
) -> Result<Vec<PathBuf>> {
    let mut paths = vec![];
    for (n, (mount, source)) in config.mounts.iter().zip(binds).enumerate() {
        let Source::Host(path) = source else { continue };
        if !mount.selinux_relabel {
            continue;
        }
        if SYSTEMS.iter().any(|own| Path::new(own) == path) {
            return Err(Error::invalid(format!(
                "mounts[{n}].selinux_relabel: {} is the system's, and keeps its label",
                path.display()
            )));
        }
        paths.push(path.clone());
    }
    paths.extend(volumes.iter().map(|volume| volume.source.clone()));
    Ok(paths)
}

/// Gives files of the host their label.
///
/// # Errors
/// `Internal`, naming the path.
pub(super) async fn label(paths: Vec<PathBuf>, label: String) -> Result<()> {
    let all = move || {
        paths.iter().try_for_each(|path| {
            relabel(path, &label).map_err(|e| {
                Error::internal(format!("cannot give {} the label {label}", path.display())).because(e)
            })
        })
    };
    let done = tokio::task::spawn_blocking(all).await;
    done.map_err(|e| Error::internal("labelling ended badly").because(e))?
}

#[cfg(test)]
#[path = "selinux/tests.rs"]
mod tests;
