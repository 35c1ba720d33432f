//! Resource limits by number, and names as the OCI runtime specification writes them.

use std::io;

/// Names in the kernel's numbering (x86, arm64, and every architecture that Kubernetes supports).
const NAMES: [&str; 16] = [
    "CPU",
    "FSIZE",
    "DATA",
    "STACK",
    "CORE",
    "RSS",
    "NPROC",
    "NOFILE",
    "MEMLOCK",
    "AS",
    "LOCKS",
    "SIGPENDING",
    "MSGQUEUE",
    "NICE",
    "RTPRIO",
    "RTTIME",
];

/// Returns the number of `RLIMIT_NOFILE`, `NOFILE` or `nofile`; `None`: unknown.
pub fn resource(name: &str) -> Option<u32> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("RLIMIT_").unwrap_or(&upper);
    NAMES.iter().position(|n| *n == bare).map(|n| n as u32)
}

/// Returns a number's name, such as `RLIMIT_NOFILE`.
pub fn name(resource: u32) -> String {
    NAMES
        .get(resource as usize)
        .map_or_else(|| format!("rlimit {resource}"), |n| format!("RLIMIT_{n}"))
}

/// Returns the caller's own soft and hard limit. By number; the enums of the safe crates lack some.
pub fn get(resource: u32) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: a null new limit changes nothing; the kernel fills `limit`. Process 0 is the caller.
    match unsafe { libc::prlimit64(0, resource as _, std::ptr::null(), &raw mut limit) } {
        0 => Ok((limit.rlim_cur, limit.rlim_max)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets the caller's own soft and hard limit. Raising the hard one needs CAP_SYS_RESOURCE.
pub fn set(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: the kernel reads `limit`; a null old limit asks for none. Process 0 is the caller.
    match unsafe { libc::prlimit64(0, resource as _, &raw const limit, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree_with_the_kernel() {
        assert_eq!(resource("RLIMIT_NOFILE"), Some(libc::RLIMIT_NOFILE));
        assert_eq!(resource("memlock"), Some(libc::RLIMIT_MEMLOCK));
        assert_eq!(resource("RLIMIT_RTTIME"), Some(libc::RLIMIT_RTTIME));
        assert_eq!(resource("RLIMIT_NONE"), None);
        assert_eq!(name(7), "RLIMIT_NOFILE");
    }

    #[test]
    fn own_limits_can_be_set_to_what_they_are() {
        let (soft, hard) = get(7).unwrap();
        set(7, soft, hard).unwrap();
        assert_eq!(get(7).unwrap(), (soft, hard));
    }
}
