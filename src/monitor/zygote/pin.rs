//! New namespaces, kept alive by bind mounts alone, made where the host sees them.
//!
//! Not in the lean mount namespace: every later worker and container would copy the pin, and the network would live as
//! long as the last of them.

use crate::monitor::zygote::lean::Mounts;
use crate::sys::fork::{Fork, exit_now, fork};
use crate::sys::namespace::{self, Kinds};
use crate::sys::zygote::{IdMapping, PinRequest, UserPin};
use crate::sys::{credentials, loopback, pidfd, pipe, proc, step};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Makes, sets up and pins. On failure nothing stays pinned. Changes the namespaces of the caller, a worker.
pub(super) fn pin(request: &PinRequest, mounts: &Mounts) -> io::Result<()> {
    mounts.enter_host()?;
    let mut pinned = vec![];
    let result = pin_all(request, &mut pinned);
    if result.is_err() {
        for path in pinned.iter().rev() {
            let _ = namespace::unpin(path);
        }
    }
    result
}

fn pin_all(request: &PinRequest, pinned: &mut Vec<PathBuf>) -> io::Result<()> {
    let kinds = kinds(request);
    let holder = match &request.user {
        Some(user) => Holder::in_user_namespace(user, kinds)?,
        None => {
            namespace::leave(kinds).map_err(|e| context("new namespaces", e))?;
            Holder {
                pid: "self".into(),
                release: None,
            }
        }
    };
    let wanted = [
        ("net", &request.net),
        ("ipc", &request.ipc),
        ("uts", &request.uts),
    ];
    let user = request.user.as_ref().map(|u| &u.path);
    for (kind, path) in wanted
        .into_iter()
        .filter_map(|(k, p)| Some((k, p.as_ref()?)))
        .chain(user.map(|p| ("user", p)))
    {
        // A zygote that died here has left its pin, and is not asked about it again.
        namespace::unpin(path).map_err(|e| context(&format!("free {}", path.display()), e))?;
        pinned.push(path.clone());
        namespace::pin(&holder.pid, kind, path)
            .map_err(|e| context(&format!("pin {kind} namespace at {}", path.display()), e))?;
        step("zygote.pinned");
    }
    holder.enter(kinds)?;
    set_up(request)?;
    match &request.user {
        Some(user) => as_mapped_root(&user.path, || set_sysctls(request)),
        None => set_sysctls(request),
    }
}

fn kinds(request: &PinRequest) -> Kinds {
    let mut kinds = Kinds::empty();
    kinds.set(Kinds::CLONE_NEWNET, request.net.is_some());
    kinds.set(Kinds::CLONE_NEWIPC, request.ipc.is_some());
    kinds.set(Kinds::CLONE_NEWUTS, request.uts.is_some());
    kinds
}

/// Inside the new namespaces, with the host's rights.
fn set_up(request: &PinRequest) -> io::Result<()> {
    if request.net.is_some() {
        loopback::bring_up().map_err(|e| context("bring up loopback", e))?;
    }
    if let (Some(_), Some(hostname)) = (&request.uts, &request.hostname) {
        namespace::set_hostname(hostname).map_err(|e| context("set host name", e))?;
    }
    Ok(())
}

fn set_sysctls(request: &PinRequest) -> io::Result<()> {
    for (name, value) in &request.sysctls {
        proc::set_sysctl(name, value).map_err(|e| context(&format!("set sysctl {name}={value}"), e))?;
    }
    Ok(())
}

/// Runs a job as the root of a user namespace: settings of the namespaces that it owns are that root's, and not even the
/// host's may write them. In a child, because the right to unpin ends there.
fn as_mapped_root(user: &Path, job: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let user = namespace::open(user)?;
    let (report, report_in) = pipe::pair()?;
    if fork()? == Fork::Child {
        let enter = || {
            namespace::enter_one(&user)?;
            credentials::set_gid(0)?;
            credentials::set_uid(0)
        };
        let text = match enter().and_then(|()| job()) {
            Ok(()) => "ok".to_owned(),
            Err(e) => e.to_string(),
        };
        let _ = rustix::io::write(&report_in, text.as_bytes());
        exit_now(0)
    }
    drop(report_in);
    let mut text = [0; 1024];
    let count = rustix::io::read(&report, &mut text)?;
    match String::from_utf8_lossy(&text[..count]).as_ref() {
        "ok" => Ok(()),
        text => Err(io::Error::other(text.to_owned())),
    }
}

/// Who is in the new namespaces while they are being pinned: a name below `/proc`.
struct Holder {
    pid: String,
    /// Closing it ends a holder that is a process of its own.
    release: Option<OwnedFd>,
}

impl Holder {
    /// A child in a new user namespace and in further ones that it owns. Its id maps are written from outside, where the
    /// right to map any id is.
    fn in_user_namespace(user: &UserPin, kinds: Kinds) -> io::Result<Holder> {
        let (report, report_in) = pipe::pair()?;
        let (release_out, release) = pipe::pair()?;
        let pid = match fork()? {
            Fork::Parent(pid) => pid,
            Fork::Child => {
                drop((report, release));
                hold(kinds, &report_in, &release_out);
                exit_now(0)
            }
        };
        drop((report_in, release_out));
        wait_for(&report, "new user namespace")?;
        let (proc, release_fd) = (PathBuf::from(format!("/proc/{pid}")), release);
        write_map(&proc.join("uid_map"), &user.uid_mappings)?;
        write_map(&proc.join("gid_map"), &user.gid_mappings)?;
        rustix::io::write(&release_fd, b"m")?;
        wait_for(&report, "new namespaces in a user namespace")?;
        Ok(Holder {
            pid: pid.to_string(),
            release: Some(release_fd),
        })
    }

    /// Moves the caller into the pinned namespaces (but not the user namespace, where the host's rights would end).
    fn enter(&self, kinds: Kinds) -> io::Result<()> {
        match (&self.release, self.pid.parse()) {
            // The kernel takes no call that names nothing.
            (Some(_), Ok(pid)) if !kinds.is_empty() => namespace::enter(pidfd::open(pid)?, kinds),
            _ => Ok(()),
        }
    }
}

/// The holder's own life: user namespace, wait for its maps, become its root, the other namespaces, wait for the end.
fn hold(kinds: Kinds, report: &OwnedFd, release: &OwnedFd) {
    let tell = |result: io::Result<()>| {
        let code = result.err().and_then(|e| e.raw_os_error()).unwrap_or(0);
        rustix::io::write(report, &code.to_ne_bytes()).is_ok() && code == 0
    };
    let mut byte = [0];
    if !tell(namespace::leave(Kinds::CLONE_NEWUSER)) || rustix::io::read(release, &mut byte) != Ok(1) {
        return;
    }
    let become_root = || {
        credentials::set_gid(0)?;
        credentials::set_uid(0)?;
        namespace::leave(kinds)
    };
    if tell(become_root()) {
        let _ = rustix::io::read(release, &mut byte);
    }
}

fn wait_for(report: &OwnedFd, what: &str) -> io::Result<()> {
    let mut code = [0; 4];
    match rustix::io::read(report, &mut code)? {
        4 if code == [0; 4] => Ok(()),
        4 => Err(context(
            what,
            io::Error::from_raw_os_error(i32::from_ne_bytes(code)),
        )),
        _ => Err(io::Error::other(format!("{what}: the holder died"))),
    }
}

/// user_namespaces(7): one write for the whole map.
fn write_map(file: &Path, mappings: &[IdMapping]) -> io::Result<()> {
    let lines: Vec<String> = mappings
        .iter()
        .map(|m| format!("{} {} {}\n", m.inside, m.outside, m.size))
        .collect();
    std::fs::write(file, lines.concat()).map_err(|e| context("map ids", e))
}

fn context(what: &str, e: io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{what}: {e}"))
}
