//! Namespaces of a container, and what is set in those it makes: hostname and kernel parameters.

use std::collections::HashMap;

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType};

use crate::model::{ContainerConfig, LinuxContainerConfig, Namespace, Namespaces};

use super::error::SpecError;
use super::user::Identity;

/// Longest hostname of the kernel (`__NEW_UTS_LEN`).
const HOSTNAME_MAX: usize = 64;
/// How much of the id names a container that has no hostname.
const ID_AS_HOSTNAME: usize = 12;

/// The namespaces to make and to join; what is not listed is the host's.
pub(super) fn namespaces(linux: &LinuxContainerConfig) -> Vec<LinuxNamespace> {
    let asked = &linux.namespaces;
    let user = linux.user.as_ref();
    let user = user.map(|user| (LinuxNamespaceType::User, Namespace::Join(user.path.clone())));
    let always = [LinuxNamespaceType::Mount, LinuxNamespaceType::Cgroup]
        .into_iter()
        .map(|kind| (kind, &Namespace::New));
    let chosen = [
        (LinuxNamespaceType::Pid, &asked.pid),
        (LinuxNamespaceType::Network, &asked.network),
        (LinuxNamespaceType::Ipc, &asked.ipc),
        (LinuxNamespaceType::Uts, &asked.uts),
    ];
    let user = user.iter().map(|(kind, namespace)| (*kind, namespace));
    always
        .chain(chosen)
        .chain(user)
        .filter(|(_, namespace)| **namespace != Namespace::Host)
        .map(|(kind, namespace)| {
            let builder = LinuxNamespaceBuilder::default().typ(kind);
            let builder = match namespace {
                Namespace::Join(path) => builder.path(path.clone()),
                _ => builder,
            };
            builder.build().expect("a namespace has no required field")
        })
        .collect()
}

/// Checks what a user namespace goes together with: the kernel mounts `/proc` and message queues only for who owns their
/// namespaces, and nobody is an id that is not mapped.
pub(super) fn check_user(linux: &LinuxContainerConfig, identity: &Identity) -> Result<(), SpecError> {
    let Some(user) = &linux.user else {
        return Ok(());
    };
    for (what, namespace) in [("pid", &linux.namespaces.pid), ("ipc", &linux.namespaces.ipc)] {
        if *namespace == Namespace::Host {
            let problem = "cannot be the host's beside a user namespace";
            return Err(SpecError::invalid(format!("linux.namespaces.{what}"), problem));
        }
    }
    if user.to_host(0, 0).is_none() {
        return Err(SpecError::invalid("linux.user", "does not map id 0"));
    }
    let unknown = |field: &str, id: u32| {
        let problem = format!("is {id}, which the user namespace does not map");
        Err(SpecError::invalid(field, problem))
    };
    if user.uids.to_host(identity.uid).is_none() {
        return unknown("linux.security.user", identity.uid);
    }
    // The primary group is among them.
    let groups = &identity.groups;
    match groups.iter().find(|gid| user.gids.to_host(**gid).is_none()) {
        Some(gid) => unknown("linux.security.supplemental_groups or group", *gid),
        None => Ok(()),
    }
}

/// The hostname the container sets: absent unless it makes its own UTS namespace (libcontainer refuses it without).
pub(super) fn hostname(
    config: &ContainerConfig,
    linux: &LinuxContainerConfig,
    id: &str,
) -> Result<Option<String>, SpecError> {
    if config.hostname.len() > HOSTNAME_MAX || config.hostname.contains(['\0', '/', ' ']) {
        let problem = format!("{:?} is not a hostname", config.hostname);
        return Err(SpecError::invalid("hostname", problem));
    }
    Ok(match (&linux.namespaces.uts, config.hostname.is_empty()) {
        (Namespace::New, false) => Some(config.hostname.clone()),
        (Namespace::New, true) => Some(id.chars().take(ID_AS_HOSTNAME).collect()),
        _ => None,
    })
}

/// Kernel parameters, by dotted name. Each must belong to a namespace that the container makes: any other would
/// change the host, or a namespace that is someone else's.
pub(super) fn sysctls(linux: &LinuxContainerConfig) -> Result<Option<HashMap<String, String>>, SpecError> {
    let mut sysctls = HashMap::new();
    for (name, value) in &linux.sysctls {
        let field = || format!("linux.sysctls[{name:?}]");
        let dotted = dotted(name).map_err(|problem| SpecError::invalid(field(), problem))?;
        let (what, namespace) = owner(&dotted, &linux.namespaces)
            .ok_or_else(|| SpecError::invalid(field(), "is not a namespaced kernel parameter"))?;
        if *namespace != Namespace::New {
            let problem = format!("needs {what} namespace of the container's own");
            return Err(SpecError::invalid(field(), problem));
        }
        sysctls.insert(dotted, value.clone());
    }
    Ok(Some(sysctls).filter(|s| !s.is_empty()))
}

/// The dotted form of a name that may be written with slashes. In either form the other mark stands for a dot inside
/// of a part (an interface such as `eth0.1`); libcontainer has no form for that.
fn dotted(name: &str) -> Result<String, &'static str> {
    match (name.contains('/'), name.contains('.')) {
        (true, true) => Err("mixes dots and slashes, which cannot be set"),
        (true, false) => Ok(name.replace('/', ".")),
        _ => Ok(name.to_owned()),
    }
}

/// The namespace that a kernel parameter belongs to.
fn owner<'a>(name: &str, namespaces: &'a Namespaces) -> Option<(&'static str, &'a Namespace)> {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    if name.split('.').any(str::is_empty) || name.contains('\0') {
        return None;
    }
    if name.starts_with("net.") {
        return Some(("a network", &namespaces.network));
    }
    if name.starts_with("fs.mqueue.") || IPC.contains(&name) {
        return Some(("an IPC", &namespaces.ipc));
    }
    if name == "kernel.domainname" {
        return Some(("a UTS", &namespaces.uts));
    }
    None
}
