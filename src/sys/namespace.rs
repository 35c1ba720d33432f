//! Entering and making namespaces.

use nix::sched::{CloneFlags, setns, unshare};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

pub use nix::sched::CloneFlags as Kinds;

/// File below `/proc/PID/ns` and flag of each kind that a container may have of its own.
const KINDS: [(&str, CloneFlags); 7] = [
    ("user", CloneFlags::CLONE_NEWUSER),
    ("mnt", CloneFlags::CLONE_NEWNS),
    ("pid", CloneFlags::CLONE_NEWPID),
    ("net", CloneFlags::CLONE_NEWNET),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("cgroup", CloneFlags::CLONE_NEWCGROUP),
];

/// Returns the kinds in which process `pid` is elsewhere than the caller.
///
/// The kernel refuses to enter the user namespace one is in already, so an exec must name only what differs.
pub fn differing(pid: i32) -> io::Result<CloneFlags> {
    let mut flags = CloneFlags::empty();
    for (file, flag) in KINDS {
        let theirs = std::fs::read_link(format!("/proc/{pid}/ns/{file}"))?;
        if theirs != std::fs::read_link(format!("/proc/self/ns/{file}"))? {
            flags |= flag;
        }
    }
    Ok(flags)
}

/// Enters several namespaces of the process behind a pidfd in one call. The kernel takes the user namespace first,
/// so the others are entered with rights over them; it is all or nothing.
pub fn enter(pidfd: impl AsFd, kinds: CloneFlags) -> io::Result<()> {
    Ok(setns(pidfd, kinds)?)
}

/// Enters the one namespace behind a descriptor.
pub fn enter_one(namespace: impl AsFd) -> io::Result<()> {
    Ok(setns(namespace, CloneFlags::empty())?)
}

/// Makes a TCP socket, not blocking and not connected, in the network namespace at `path`; `None` is our own.
///
/// What a socket belongs to is decided when it is made. A thread, and not one that tokio keeps, enters the namespace for
/// that and ends there.
pub fn tcp_socket(path: Option<&Path>, v6: bool) -> io::Result<OwnedFd> {
    let make = move || {
        let family = if v6 {
            AddressFamily::INET6
        } else {
            AddressFamily::INET
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        Ok(socket_with(family, SocketType::STREAM, flags, None)?)
    };
    let Some(path) = path else { return make() };
    let namespace = open(path)?;
    let thread = std::thread::Builder::new()
        .name("socket".to_owned())
        .spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            make()
        })?;
    let lost = |_| Err(io::Error::other("the thread that makes a socket has panicked"));
    thread.join().unwrap_or_else(lost)
}

/// Leaves the given namespaces for new ones.
pub fn leave(kinds: CloneFlags) -> io::Result<()> {
    Ok(unshare(kinds)?)
}

/// Opens a pinned or a process's namespace, close-on-exec.
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(std::fs::File::open(path)?.into())
}

/// Sets the host name of the UTS namespace we are in.
pub fn set_hostname(name: &str) -> io::Result<()> {
    Ok(nix::unistd::sethostname(name)?)
}

/// Keeps a process's namespace alive: binds `/proc/{pid}/ns/{kind}` to `target`, a file that is made.
pub fn pin(pid: &str, kind: &str, target: &Path) -> io::Result<()> {
    std::fs::File::create(target)?;
    crate::sys::mount::bind(Path::new(&format!("/proc/{pid}/ns/{kind}")), target)
}

/// Undoes [`pin`]; doing so twice succeeds.
pub fn unpin(target: &Path) -> io::Result<()> {
    match crate::sys::mount::detach(target) {
        // EINVAL: not a mount point (any more).
        Err(e) if !matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => return Err(e),
        _ => {}
    }
    match std::fs::remove_file(target) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
