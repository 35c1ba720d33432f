//! What a sandbox keeps of the kernel: pinned namespaces, its shared memory, and at most one process.
//!
//! Namespaces of network, IPC and UTS live by a bind mount alone. A PID namespace lives as long as its first process,
//! so sharing one takes a process that reaps, the only case in which a sandbox has one.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};

use crate::model::{Error, IdMapping, Namespace, Result, UserNamespace};
use crate::sys::proc::sysctl_path;

use super::record::{Config, Mode, Modes, PidMode};

/// Bytes a sandbox's `/dev/shm` may take.
pub(super) const SHM_BYTES: u64 = 64 * 1024 * 1024;

/// Makes and releases what a sandbox keeps of the kernel. The adapter's tests have one without a kernel.
pub trait Pinner: Send + Sync + 'static {
    /// Makes what is asked for, in the mount namespace that containers are made from. A new network namespace has its
    /// loopback up. A reaper is noted in the directory, so that [`Pinner::release`] finds it after a restart.
    ///
    /// # Errors
    /// `InvalidArgument`: the kernel refuses a sysctl. After an error [`Pinner::release`] is called.
    fn pin(&self, request: PinRequest) -> impl Future<Output = Result<()>> + Send;

    /// Lets go of everything below a sandbox's directory, but for pins that are still needed: ends the reaper, unmounts
    /// pins and shared memory. Safe to repeat, and when nothing was pinned.
    fn release(&self, dir: PathBuf, but: &'static [&'static str]) -> impl Future<Output = Result<()>> + Send;

    /// Says of each whether everything that [`Pinner::pin`] made is still there. A reboot takes all.
    fn hold(&self, all: Vec<Held>) -> impl Future<Output = Vec<bool>> + Send;

    /// Why there can be no sandbox in a user namespace, if there cannot. Found out once: the first to ask may have to wait.
    fn user_namespaces(&self) -> impl Future<Output = std::result::Result<(), String>> + Send;
}

/// What to make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PinRequest {
    /// Directory that exists; the pins are files `net`, `ipc`, `uts`, `pid` and `user` in it, the memory is mounted on
    /// `shm`.
    pub dir: PathBuf,
    /// A user namespace, its users and its groups. It owns the others, and its root owns the memory.
    pub user: Option<(IdMapping, IdMapping)>,
    /// A network namespace, with its loopback up.
    pub network: bool,
    /// An IPC namespace, and a tmpfs of this many bytes on the directory `shm`.
    pub ipc: Option<u64>,
    /// A UTS namespace of this host name.
    pub uts: Option<String>,
    /// A PID namespace and the process that reaps in it, which is in the pinned IPC and network namespaces too.
    pub pid: bool,
    /// Kernel parameters to set in the new namespaces, by name, as in `net.ipv4.ip_forward`.
    pub sysctls: BTreeMap<String, String>,
    /// SELinux label of what is mounted for the reaper alone, where there are labels.
    pub label: Option<String>,
}

/// What was made, as far as it must be known to find it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The directory.
    pub dir: PathBuf,
    /// Namespaces and memory that the sandbox has.
    pub pins: Vec<&'static str>,
}

impl PinRequest {
    /// Decides what a sandbox needs.
    pub(super) fn of(config: &Config, dir: PathBuf, node_name: impl FnOnce() -> String) -> PinRequest {
        let Modes {
            network,
            ipc,
            pid,
            user,
        } = config.namespaces;
        let hostname = || match config.hostname.is_empty() {
            true => node_name(),
            false => config.hostname.clone(),
        };
        PinRequest {
            dir,
            user: user.map(|user| (user.uids, user.gids)),
            network: network == Mode::Pod,
            ipc: (ipc == Mode::Pod).then_some(SHM_BYTES),
            // Who shares the host's network bears the host's name.
            uts: (network == Mode::Pod).then(hostname),
            pid: pid == PidMode::Pod,
            sysctls: sysctls(
                &config.sysctls,
                &config.handler.default_sysctls,
                config.namespaces,
            ),
            label: None,
        }
    }
}

/// The kernel parameters of a sandbox: its own, and its handler's as far as they are for a namespace that it has.
fn sysctls(
    own: &BTreeMap<String, String>,
    default: &BTreeMap<String, String>,
    modes: Modes,
) -> BTreeMap<String, String> {
    let mut all = default.clone();
    all.retain(|name, _| {
        let mode = if is_ipc(name) { modes.ipc } else { modes.network };
        // Its groups are not all in a user namespace.
        mode == Mode::Pod && (modes.user.is_none() || name != "net.ipv4.ping_group_range")
    });
    all.extend(own.clone());
    all
}

/// The names of the pins a sandbox has.
pub(super) fn pins(modes: Modes) -> Vec<&'static str> {
    let mut pins = vec![];
    if modes.network == Mode::Pod {
        pins.extend(["net", "uts"]);
    }
    if modes.ipc == Mode::Pod {
        pins.extend(["ipc", "shm"]);
    }
    if modes.pid == PidMode::Pod {
        pins.push("pid");
    }
    if modes.user.is_some() {
        pins.push("user");
    }
    pins
}

/// Where a container of a sandbox gets its network, IPC and UTS namespaces from.
pub(in crate::cri) fn shared(modes: Modes, dir: &Path) -> (Namespace, Namespace, Namespace) {
    let of = |mode, name| match mode {
        Mode::Pod => Namespace::Join(dir.join(name)),
        Mode::Node => Namespace::Host,
    };
    (
        of(modes.network, "net"),
        of(modes.ipc, "ipc"),
        of(modes.network, "uts"),
    )
}

/// The user namespace of a sandbox's containers.
pub(in crate::cri) fn user(modes: Modes, dir: &Path) -> Option<UserNamespace> {
    modes.user.map(|user| UserNamespace {
        path: dir.join("user"),
        uids: user.uids,
        gids: user.gids,
    })
}

/// Checks that each kernel parameter belongs to a namespace of the sandbox's own: another would be the node's.
///
/// # Errors
/// `InvalidArgument`, naming the parameter.
pub(in crate::cri) fn check_sysctls(sysctls: &BTreeMap<String, String>, modes: Modes) -> Result<()> {
    for (name, value) in sysctls {
        let field = format!("linux.sysctls[{name}]");
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        if sysctl_path(name).is_none() || !name.chars().all(plain) || value.contains(['\0', '\n']) {
            return Err(Error::invalid(format!("{field} is malformed")));
        }
        let (kind, mode) = if name.starts_with("net.") {
            ("network", modes.network)
        } else if is_ipc(name) {
            ("IPC", modes.ipc)
        } else {
            return Err(Error::invalid(format!("{field} does not belong to a namespace")));
        };
        if mode == Mode::Node {
            return Err(Error::invalid(format!(
                "{field} cannot be set in the host's {kind} namespace"
            )));
        }
    }
    Ok(())
}

/// Whether a kernel parameter belongs to the IPC namespace (ipc_namespaces(7), sysctl(5)).
fn is_ipc(name: &str) -> bool {
    name.starts_with("fs.mqueue.")
        || name.starts_with("kernel.shm")
        || name.starts_with("kernel.msg")
        || name == "kernel.sem"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cri::sandbox::Mappings;

    #[test]
    fn a_handlers_parameters_are_for_what_a_pod_has_of_its_own() {
        let ping = ("net.ipv4.ping_group_range", "0 2147483647");
        let default = [ping, ("net.core.somaxconn", "7"), ("kernel.msgmax", "8")];
        let map = |some: &[(&str, &str)]| -> BTreeMap<String, String> {
            some.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        let modes = |network, ipc, user| Modes {
            network,
            ipc,
            pid: PidMode::Container,
            user,
        };
        let check = |own: &[(&str, &str)], modes, expected: &[(&str, &str)]| {
            assert_eq!(sysctls(&map(own), &map(&default), modes), map(expected));
        };
        let mapping = IdMapping {
            container_id: 0,
            host_id: 1 << 16,
            length: 1 << 16,
        };
        let user = Some(Mappings {
            uids: mapping,
            gids: mapping,
        });

        check(&[], modes(Mode::Pod, Mode::Pod, None), &default);
        check(&[], modes(Mode::Node, Mode::Pod, None), &default[2..]);
        check(&[], modes(Mode::Pod, Mode::Node, None), &default[..2]);
        check(&[], modes(Mode::Pod, Mode::Pod, user), &default[1..]);
        let own = ("kernel.msgmax", "9");
        check(
            &[own],
            modes(Mode::Pod, Mode::Pod, None),
            &[default[0], default[1], own],
        );
    }

    #[test]
    fn only_parameters_of_own_namespaces_are_accepted() {
        let modes = |network, ipc| Modes {
            network,
            ipc,
            pid: PidMode::Container,
            user: None,
        };
        let check = |name: &str, value: &str, modes, expected: Option<&str>| {
            let sysctls = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            let error = check_sysctls(&sysctls, modes).err().map(|e| e.to_string());
            assert_eq!(error.as_deref(), expected, "{name}={value}");
        };
        let pod = modes(Mode::Pod, Mode::Pod);

        check("net.ipv4.ip_forward", "1", pod, None);
        check("kernel.shm_rmid_forced", "1", pod, None);
        check("fs.mqueue.msg_max", "100", pod, None);
        check("kernel.sem", "1 2 3 4", pod, None);
        check(
            "vm.swappiness",
            "1",
            pod,
            Some("linux.sysctls[vm.swappiness] does not belong to a namespace"),
        );
        check(
            "kernel.panic",
            "1",
            pod,
            Some("linux.sysctls[kernel.panic] does not belong to a namespace"),
        );
        check("net.../x", "1", pod, Some("linux.sysctls[net.../x] is malformed"));
        check(
            "net.//.kernel.core_pattern",
            "1",
            pod,
            Some("linux.sysctls[net.//.kernel.core_pattern] is malformed"),
        );
        check("net.a b", "1", pod, Some("linux.sysctls[net.a b] is malformed"));
        check(
            "net.core.somaxconn",
            "1",
            modes(Mode::Node, Mode::Pod),
            Some("linux.sysctls[net.core.somaxconn] cannot be set in the host's network namespace"),
        );
        check(
            "kernel.msgmax",
            "1",
            modes(Mode::Pod, Mode::Node),
            Some("linux.sysctls[kernel.msgmax] cannot be set in the host's IPC namespace"),
        );
    }
}
