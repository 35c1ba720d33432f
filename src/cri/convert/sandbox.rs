//! A sandbox's configuration, and sandboxes as the wire lists and reports them.

use std::path::{Component, Path};

use bytes::Bytes;
use prost::Message as _;

use crate::cri::handlers::Handler;
use crate::cri::sandbox::{
    Config, Dns, Key, Mode, Modes, PidMode, Port, Protocol, Record, Resources, bandwidth, check_sysctls,
};
use crate::cri::wire::v1;
use crate::model::{Error, Result};
use crate::sys::cgroup::Driver;
use crate::sys::systemd;

use super::filter::sandbox_state;
use super::resources::resources;
use super::security::{profile, selinux};
use super::user::{user_namespace, user_to_wire};
use super::{absolute, id, known, name, required, too_long};

/// The longest host name the kernel takes (uname(2)).
const HOSTNAME_MAX: usize = 64;
/// The field most errors are about.
const CONTEXT: &str = "config.linux.security_context";

/// What a request asks a sandbox to be. What its handler adds is not known here.
///
/// # Errors
/// `InvalidArgument` or `Unimplemented`, naming the field.
pub(in crate::cri) fn sandbox(from: v1::RunPodSandboxRequest) -> Result<Config> {
    let config = required(from.config, "config")?;
    let key = key(config.metadata)?;
    let linux = config.linux.unwrap_or_default();
    let context = linux.security_context.unwrap_or_default();
    let namespaces = modes(context.namespace_options.as_ref())?;
    check_context(&context)?;
    check_sysctls(&linux.sysctls, namespaces)
        .map_err(|e| Error::new(e.kind(), format!("config.{}", e.context())))?;
    if !config.log_directory.is_empty() {
        absolute(&config.log_directory, "config.log_directory")?;
    }
    check_cgroup_parent(&linux.cgroup_parent)?;
    bandwidth(&config.annotations)?;
    Ok(Config {
        key,
        hostname: hostname(config.hostname)?,
        log_directory: config.log_directory,
        dns: config.dns_config.map(dns).transpose()?,
        ports: ports(config.port_mappings)?,
        labels: config.labels,
        annotations: config.annotations,
        cgroup_parent: linux.cgroup_parent,
        sysctls: linux.sysctls,
        namespaces,
        privileged: context.privileged,
        selinux: selinux(
            context.selinux_options.as_ref(),
            &format!("{CONTEXT}.selinux_options"),
        )?,
        runtime_handler: from.runtime_handler,
        handler: Handler::default(),
        resources: pod_resources(linux.overhead, linux.resources, "config.linux.")?,
    })
}

/// What a pod as a whole may use, from fields that `within` stands before.
///
/// # Errors
/// `InvalidArgument`, naming the field.
pub(in crate::cri) fn pod_resources(
    overhead: Option<v1::LinuxContainerResources>,
    containers: Option<v1::LinuxContainerResources>,
    within: &str,
) -> Result<Resources> {
    let checked = |from: Option<_>, name: &str| {
        from.map(|from| resources(from, &format!("{within}{name}")))
            .transpose()
    };
    Ok(Resources {
        overhead: checked(overhead, "overhead")?,
        containers: checked(containers, "resources")?,
    })
}

fn key(from: Option<v1::PodSandboxMetadata>) -> Result<Key> {
    let from = required(from, "config.metadata")?;
    name(&from.name, "config.metadata.name")?;
    name(&from.namespace, "config.metadata.namespace")?;
    name(&from.uid, "config.metadata.uid")?;
    Ok(Key {
        name: from.name,
        namespace: from.namespace,
        uid: from.uid,
        attempt: from.attempt,
    })
}

fn hostname(from: String) -> Result<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if from.len() > HOSTNAME_MAX {
        return Err(Error::invalid(format!(
            "config.hostname is longer than {HOSTNAME_MAX} bytes"
        )));
    }
    match from.chars().find(|c| !plain(*c)) {
        Some(odd) => Err(Error::invalid(format!("config.hostname contains {odd:?}"))),
        None => Ok(from),
    }
}

/// A parent in the driver's terms: with scopes the name of a slice, however it was given.
///
/// # Errors
/// `InvalidArgument`: it is none.
pub(in crate::cri) fn cgroup_parent(given: String, driver: Driver) -> Result<String> {
    if driver == Driver::Cgroupfs || given.is_empty() {
        return Ok(given);
    }
    match systemd::slice_of(&given) {
        Some(slice) => Ok(slice.to_owned()),
        None => Err(Error::invalid(format!(
            "config.linux.cgroup_parent {given} is not a slice, and cgroup_driver is systemd: the kubelet must use the same"
        ))),
    }
}

fn check_cgroup_parent(parent: &str) -> Result<()> {
    if too_long(parent) {
        let problem = "config.linux.cgroup_parent is longer than a path can be";
        return Err(Error::invalid(problem));
    }
    let odd = |part| matches!(part, Component::ParentDir | Component::CurDir);
    if parent.contains('\0') || Path::new(parent).components().any(odd) {
        return Err(Error::invalid(format!(
            "config.linux.cgroup_parent {parent} is not a cgroup"
        )));
    }
    Ok(())
}

fn modes(from: Option<&v1::NamespaceOption>) -> Result<Modes> {
    const FIELD: &str = "config.linux.security_context.namespace_options";
    let default = v1::NamespaceOption::default();
    let from = from.unwrap_or(&default);
    let shared = |value, field: &str| {
        let field = format!("{FIELD}.{field}");
        match known(value, &field)? {
            v1::NamespaceMode::Pod => Ok(Mode::Pod),
            v1::NamespaceMode::Node => Ok(Mode::Node),
            other => Err(Error::invalid(format!(
                "{field} cannot be {}",
                other.as_str_name()
            ))),
        }
    };
    let modes = Modes {
        user: user_namespace(from.userns_options.as_ref(), &format!("{FIELD}.userns_options"))?,
        network: shared(from.network, "network")?,
        ipc: shared(from.ipc, "ipc")?,
        pid: match known(from.pid, &format!("{FIELD}.pid"))? {
            v1::NamespaceMode::Pod => PidMode::Pod,
            v1::NamespaceMode::Container => PidMode::Container,
            v1::NamespaceMode::Node => PidMode::Node,
            v1::NamespaceMode::Target => {
                return Err(Error::invalid(format!("{FIELD}.pid cannot be TARGET")));
            }
        },
    };
    // What shows them (/proc, message queues) the kernel mounts only for who owns them.
    let host = |what: &str| {
        let text = format!("{FIELD}.{what} cannot be NODE beside userns_options of mode POD");
        Err(Error::invalid(text))
    };
    match modes {
        Modes { user: None, .. } => Ok(modes),
        Modes {
            pid: PidMode::Node, ..
        } => host("pid"),
        Modes { ipc: Mode::Node, .. } => host("ipc"),
        _ => Ok(modes),
    }
}

/// A sandbox has no process that these could apply to; what is wrong in itself is refused all the same.
fn check_context(from: &v1::LinuxSandboxSecurityContext) -> Result<()> {
    if let Some(user) = &from.run_as_user {
        id(user.value, &format!("{CONTEXT}.run_as_user"))?;
    }
    if let Some(group) = &from.run_as_group {
        if from.run_as_user.is_none() {
            return Err(Error::invalid(format!(
                "{CONTEXT}.run_as_group needs run_as_user"
            )));
        }
        id(group.value, &format!("{CONTEXT}.run_as_group"))?;
    }
    if let Some(seccomp) = &from.seccomp {
        profile(seccomp, &format!("{CONTEXT}.seccomp"))?;
    }
    if let Some(apparmor) = &from.apparmor {
        profile(apparmor, &format!("{CONTEXT}.apparmor"))?;
    }
    Ok(())
}

fn dns(from: v1::DnsConfig) -> Result<Dns> {
    let lists = [
        (&from.servers, "servers"),
        (&from.searches, "searches"),
        (&from.options, "options"),
    ];
    for (values, list) in lists {
        for (index, value) in values.iter().enumerate() {
            // One word each: a line break would begin a setting of the pod's own choice.
            if value.is_empty() || value.contains(|c: char| c.is_whitespace() || c.is_control()) {
                return Err(Error::invalid(format!(
                    "config.dns_config.{list}[{index}] is not a word"
                )));
            }
        }
    }
    Ok(Dns {
        servers: from.servers,
        searches: from.searches,
        options: from.options,
    })
}

/// The mappings that map something: those with a port of the node.
fn ports(from: Vec<v1::PortMapping>) -> Result<Vec<Port>> {
    let mut ports = vec![];
    for (index, mapping) in from.into_iter().enumerate() {
        let field = format!("config.port_mappings[{index}]");
        if let Some(port) = port(mapping, &field)? {
            ports.push(port);
        }
    }
    Ok(ports)
}

fn port(from: v1::PortMapping, field: &str) -> Result<Option<Port>> {
    let number = |value: i32, name: &str| {
        u16::try_from(value).map_err(|_| Error::invalid(format!("{field}.{name} {value} is not a port")))
    };
    let protocol: v1::Protocol = known(from.protocol, &format!("{field}.protocol"))?;
    let (host, container) = (
        number(from.host_port, "host_port")?,
        number(from.container_port, "container_port")?,
    );
    let host_ip = match from.host_ip.as_str() {
        "" => None,
        text => Some(
            text.parse()
                .map_err(|_| Error::invalid(format!("{field}.host_ip {text} is not an address")))?,
        ),
    };
    if host == 0 {
        return Ok(None);
    }
    if container == 0 {
        return Err(Error::invalid(format!("{field}.container_port is missing")));
    }
    Ok(Some(Port {
        host,
        container,
        protocol: match protocol {
            v1::Protocol::Tcp => Protocol::Tcp,
            v1::Protocol::Udp => Protocol::Udp,
            v1::Protocol::Sctp => Protocol::Sctp,
        },
        host_ip,
    }))
}

pub(super) fn metadata(from: &Key) -> v1::PodSandboxMetadata {
    v1::PodSandboxMetadata {
        name: from.name.clone(),
        uid: from.uid.clone(),
        namespace: from.namespace.clone(),
        attempt: from.attempt,
    }
}

/// A sandbox in a list, encoded.
pub(in crate::cri) fn sandbox_written(from: &Record) -> Bytes {
    sandbox_item(from).encode_to_vec().into()
}

fn sandbox_item(from: &Record) -> v1::PodSandbox {
    v1::PodSandbox {
        id: from.id.clone(),
        metadata: Some(metadata(&from.config.key)),
        state: sandbox_state(from.phase) as i32,
        created_at: from.created_at,
        labels: from.config.labels.clone(),
        annotations: from.config.annotations.clone(),
        runtime_handler: from.config.runtime_handler.clone(),
    }
}

/// A sandbox's status.
pub(in crate::cri) fn sandbox_status(from: &Record) -> v1::PodSandboxStatus {
    let mut ips = from.ips.iter().map(ToString::to_string);
    let mode = |mode| match mode {
        Mode::Pod => v1::NamespaceMode::Pod as i32,
        Mode::Node => v1::NamespaceMode::Node as i32,
    };
    let modes = from.config.namespaces;
    let options = v1::NamespaceOption {
        network: mode(modes.network),
        ipc: mode(modes.ipc),
        pid: match modes.pid {
            PidMode::Pod => v1::NamespaceMode::Pod as i32,
            PidMode::Container => v1::NamespaceMode::Container as i32,
            PidMode::Node => v1::NamespaceMode::Node as i32,
        },
        userns_options: modes.user.map(user_to_wire),
        ..v1::NamespaceOption::default()
    };
    v1::PodSandboxStatus {
        id: from.id.clone(),
        metadata: Some(metadata(&from.config.key)),
        state: sandbox_state(from.phase) as i32,
        created_at: from.created_at,
        network: Some(v1::PodSandboxNetworkStatus {
            ip: ips.next().unwrap_or_default(),
            additional_ips: ips.map(|ip| v1::PodIp { ip }).collect(),
        }),
        linux: Some(v1::LinuxPodSandboxStatus {
            namespaces: Some(v1::Namespace {
                options: Some(options),
            }),
        }),
        labels: from.config.labels.clone(),
        annotations: from.config.annotations.clone(),
        runtime_handler: from.config.runtime_handler.clone(),
    }
}
