//! The five capability sets of a container's processes, as masks: bit `n` is capability number `n`.

use crate::model::Security;

use super::error::SpecError;

/// In the kernel's numbering (`linux/capability.h`).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container has that asks for nothing: the set that images of the field are made for.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

const ALL: &str = "ALL";

/// The sets of a process once it executes its command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilitySets {
    /// What it and its descendants can ever hold.
    pub bounding: u64,
    /// Effective and permitted.
    pub effective: u64,
    /// Inheritable: nothing but the ambient ones. More would let a file's inheritable set raise a process that is
    /// not root (CVE-2022-24769).
    pub inheritable: u64,
    /// Kept over execve by a user other than root.
    pub ambient: u64,
}

/// The mask of capabilities given by name, with or without `CAP_`, in either case.
///
/// # Errors
/// The first name that is unknown.
pub fn mask<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<u64, &'a str> {
    names
        .into_iter()
        .try_fold(0, |mask, name| number(name).map(|n| mask | 1 << n).ok_or(name))
}

/// The names in a mask, with `CAP_`, in the kernel's order.
pub fn names(mask: u64) -> Vec<String> {
    NAMES
        .iter()
        .enumerate()
        .filter(|(n, _)| mask & (1 << n) != 0)
        .map(|(_, name)| format!("CAP_{name}"))
        .collect()
}

fn number(name: &str) -> Option<usize> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|n| *n == bare)
}

/// Works out the sets of a container's processes.
///
/// `ALL` counts first, in `add` and then in `drop`, so that single names still change the outcome. What the runtime
/// cannot give is left out, with a warning when it was asked for by name.
pub(super) fn sets(
    security: &Security,
    uid: u32,
    available: u64,
    warnings: &mut Vec<String>,
) -> Result<CapabilitySets, SpecError> {
    if security.privileged {
        return Ok(by_user(available, 0, uid));
    }
    let asked = &security.capabilities;
    let add = listed(&asked.add, "add")?;
    let drop = listed(&asked.drop, "drop")?;
    let ambient = listed(&asked.add_ambient, "add_ambient")?;

    let mut base = match &asked.default {
        Some(names) => listed(names, "default")?,
        None => mask(DEFAULT).expect("the default names are in the table"),
    };
    if has_all(&asked.add) {
        base = available;
    }
    if has_all(&asked.drop) {
        base = 0;
    }
    let ambient_all = if has_all(&asked.add_ambient) { available } else { 0 };
    let ambient = (ambient | ambient_all) & !drop;
    let wanted = (base | add | ambient) & !drop;

    let missing = (add | ambient) & wanted & !available;
    if missing != 0 {
        warnings.push(format!(
            "the runtime itself lacks {}, the container goes without",
            names(missing).join(", ")
        ));
    }
    Ok(by_user(wanted & available, ambient & available, uid))
}

/// What the kernel leaves at execve: root gets the bounding set, others their ambient set.
fn by_user(bounding: u64, ambient: u64, uid: u32) -> CapabilitySets {
    CapabilitySets {
        bounding,
        effective: if uid == 0 { bounding } else { ambient },
        inheritable: ambient,
        ambient,
    }
}

fn has_all(names: &[String]) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case(ALL))
}

fn listed(names: &[String], list: &str) -> Result<u64, SpecError> {
    let single = names
        .iter()
        .map(String::as_str)
        .filter(|name| !name.eq_ignore_ascii_case(ALL));
    mask(single).map_err(|name| {
        SpecError::invalid(
            format!("linux.security.capabilities.{list}"),
            format!("names {name:?}, which is not a capability"),
        )
    })
}
