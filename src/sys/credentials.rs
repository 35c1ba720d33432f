//! Who a process is: ids, groups, capability sets, no_new_privs.
//!
//! The calls act on the calling *thread*, as the kernel's do: only for processes with one thread.

use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use std::io;

/// Sets the supplementary groups.
pub fn set_groups(groups: &[u32]) -> io::Result<()> {
    let groups: Vec<Gid> = groups.iter().map(|g| Gid::from_raw(*g)).collect();
    Ok(set_thread_groups(&groups)?)
}

/// Sets real, effective and saved group id.
pub fn set_gid(gid: u32) -> io::Result<()> {
    let gid = Gid::from_raw(gid);
    Ok(set_thread_res_gid(gid, gid, gid)?)
}

/// Sets real, effective and saved user id.
pub fn set_uid(uid: u32) -> io::Result<()> {
    let uid = Uid::from_raw(uid);
    Ok(set_thread_res_uid(uid, uid, uid)?)
}

/// Keeps the permitted capabilities over the next change of user id; `execve` resets it.
pub fn keep_capabilities() -> io::Result<()> {
    Ok(rustix::thread::set_keep_capabilities(true)?)
}

/// Removes from the bounding set what `keep` does not name.
pub fn limit_bounding(keep: u64) -> io::Result<()> {
    for capability in (0..=last_capability()).filter(|c| keep & 1 << c == 0) {
        prctl(libc::PR_CAPBSET_DROP, u64::from(capability), 0)?;
    }
    Ok(())
}

/// Sets the thread's capability sets.
pub fn set_capabilities(effective: u64, permitted: u64, inheritable: u64) -> io::Result<()> {
    // _LINUX_CAPABILITY_VERSION_3, process 0 = the caller; two sets of 32 bits each.
    let header: [u32; 2] = [0x2008_0522, 0];
    let half = |s: u32| {
        [
            (effective >> s) as u32,
            (permitted >> s) as u32,
            (inheritable >> s) as u32,
        ]
    };
    let data = [half(0), half(32)];
    // SAFETY: both arrays have the layout that version 3 asks for. rustix's typed sets refuse numbers it does not know,
    // and a newer kernel's capabilities must be dropped too.
    match unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes the ambient set exactly `mask`; each must be permitted and inheritable.
pub fn set_ambient(mask: u64) -> io::Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0)?;
    for capability in (0..64).filter(|c| mask & 1 << c != 0) {
        prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_RAISE as u64,
            capability,
        )?;
    }
    Ok(())
}

/// Forbids any gain of privilege by `execve`, for good.
pub fn set_no_new_privileges() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// Leaves the session keyring that was inherited for a new, empty one, which goes with its last process.
/// A kernel without keyrings has none to share.
pub fn leave_session_keyring() -> io::Result<()> {
    // keyctl(2): KEYCTL_JOIN_SESSION_KEYRING, with no name an anonymous one. No crate of ours has the call.
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: takes a number and a null pointer.
    match unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            JOIN_SESSION_KEYRING,
            std::ptr::null::<libc::c_char>(),
        )
    } {
        -1 => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
            error => Err(error),
        },
        _ => Ok(()),
    }
}

/// Closes the process to tracing and its `/proc` files to its own user, until the next `execve`.
pub fn set_not_dumpable() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Highest capability of the running kernel, asked of it directly: a container may have no usable /proc.
fn last_capability() -> u32 {
    (1..64)
        .find(|c| prctl(libc::PR_CAPBSET_READ, *c, 0).is_err())
        .unwrap_or(64) as u32
        - 1
}

fn prctl(operation: i32, a: u64, b: u64) -> io::Result<()> {
    // SAFETY: only operations that take numbers are passed. rustix's functions for them refuse capabilities that it
    // does not know.
    match unsafe { libc::prctl(operation, a, b, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
