//! Capabilities by name, and the kernel's view of them.

use std::io;

/// Names in the kernel's numbering, `include/uapi/linux/capability.h`.
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

/// Number of CAP_SYS_ADMIN.
pub const SYS_ADMIN: u32 = 21;
/// Number of CAP_SYS_RESOURCE.
pub const SYS_RESOURCE: u32 = 24;

/// Returns a capability's bit. Takes `CAP_NET_ADMIN`, `NET_ADMIN` and lower case; `None`: unknown.
pub fn bit(name: &str) -> Option<u64> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|n| *n == bare).map(|number| 1 << number)
}

/// Returns the mask of the given names; unknown ones are left out.
pub fn mask<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> u64 {
    names
        .into_iter()
        .filter_map(|n| bit(n.as_ref()))
        .fold(0, |all, bit| all | bit)
}

/// Returns the names, with `CAP_`, of the bits in a mask.
pub fn names(mask: u64) -> Vec<String> {
    let set = |number: &usize| mask & 1 << number != 0;
    (0..NAMES.len())
        .filter(set)
        .map(|number| format!("CAP_{}", NAMES[number]))
        .collect()
}

/// Returns the caller's bounding set: nothing that it starts can ever hold more.
pub fn bounding() -> io::Result<u64> {
    status_mask("CapBnd:")
}

/// Returns the caller's effective set.
pub fn effective() -> io::Result<u64> {
    status_mask("CapEff:")
}

fn status_mask(key: &str) -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let value = text.lines().find_map(|l| l.strip_prefix(key)).map(str::trim);
    value
        .and_then(|v| u64::from_str_radix(v, 16).ok())
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("/proc/self/status has no {key}"),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree_with_the_kernel() {
        assert_eq!(bit("CAP_SYS_ADMIN"), Some(1 << SYS_ADMIN));
        assert_eq!(bit("sys_resource"), Some(1 << SYS_RESOURCE));
        assert_eq!(bit("CAP_CHECKPOINT_RESTORE"), Some(1 << 40));
        assert_eq!(bit("CAP_NONE"), None);
        assert_eq!(
            names(mask(["CHOWN", "CAP_KILL", "bogus"])),
            ["CAP_CHOWN", "CAP_KILL"]
        );
    }
}
