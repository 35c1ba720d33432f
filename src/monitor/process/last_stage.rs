//! The last stage: what a process does between "it is root inside the container" and `execve`.
//! Container start and exec share it, so both obey the same rules.
//!
//! The order is the content of this file. Two facts of the kernel shape it:
//!
//! * Loading a filter needs CAP_SYS_ADMIN unless no_new_privs is set, so that capability must live until the load.
//! * `execve` recomputes the capability sets from the *inheritable, bounding and ambient* sets; what the caller still
//!   holds in *permitted* is not passed on. So CAP_SYS_ADMIN need not be dropped after the load: the `execve` drops it.
//!
//! Hence the filter is loaded as the very last act, and a profile needs to allow nothing but `execve` (and `write` and
//! `exit_group`, to report a failed one). A user's profile that denies `setuid`, `capset` or `prctl` works.

use crate::monitor::protocol::Process;
use crate::monitor::seccomp::Filter;
use crate::sys::command::Command;
use crate::sys::planted;
use crate::sys::{caps, credentials, fds, fork, mount, proc, rlimit, seccomp, selinux, signal, step};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

/// Exit code of a process whose command could not be run, as containerd's start error.
const NOT_RUN: i32 = 128;

/// Where message queues are, if they are.
const QUEUES: &str = "/dev/mqueue";

/// What the stage does, and whom it tells.
#[derive(Debug)]
pub(super) struct LastStage {
    /// Limits already clamped to what the kernel allows.
    pub(super) process: Process,
    /// Loaded last.
    pub(super) filter: Option<Filter>,
    /// The container's first process gets its working directory made.
    pub(super) make_cwd: bool,
    /// `/proc` as the runtime has it, where what is mounted in the container cannot lead a write astray; absent for the
    /// first process, whose mounts were checked.
    pub(super) proc: Option<OwnedFd>,
    /// Carries "step errno"; closes by itself when `execve` has succeeded.
    pub(super) failure: OwnedFd,
}

/// A step and why it failed.
type Step = (&'static str, io::Error);

impl LastStage {
    /// Becomes the command, or tells why not and dies.
    pub(super) fn run(self) -> ! {
        let LastStage {
            process,
            filter,
            make_cwd,
            proc,
            failure,
        } = self;
        signal::heed_broken_pipes();
        let labelled = label(&process, proc.as_ref());
        let Ok(failure) = fds::keep_only(failure) else {
            fork::exit_now(NOT_RUN)
        };
        if let Err(step) = labelled {
            report(&failure, &step)
        }
        let step = match prepare(&process, filter.as_ref(), make_cwd) {
            Err(step) => step,
            Ok(command) => ("exec", command.exec()),
        };
        report(&failure, &step)
    }
}

fn at(step: &'static str) -> impl FnOnce(io::Error) -> Step {
    move |e| (step, e)
}

/// 0. Labels that execve changes to: while the descriptor of `/proc` is there, and all rights are.
fn label(process: &Process, proc: Option<&OwnedFd>) -> Result<(), Step> {
    if let Some(profile) = &process.apparmor {
        proc::set_exec_label(proc, "apparmor", &format!("exec {profile}")).map_err(at("apparmor profile"))?;
    }
    if let Some(label) = &process.selinux {
        proc::set_exec_label(proc, "selinux", label).map_err(at("selinux label"))?;
        proc::set_key_label(proc, label).map_err(at("selinux label of keys"))?;
    }
    Ok(())
}

fn prepare(process: &Process, filter: Option<&Filter>, make_cwd: bool) -> Result<Command, Step> {
    // The keys of whoever started the daemon are not the container's, nor are those of other containers.
    credentials::leave_session_keyring().map_err(at("session keyring"))?;
    // libcontainer replaces outputs that are the host's /dev/null by the container's, opened for reading only.
    fds::writable_null_outputs().map_err(at("null outputs"))?;
    step("stage.begin");
    for (from, to) in &process.binds {
        mount::bind_tree(from, to).map_err(at("bind"))?;
    }
    if let Some(label) = &process.queues {
        // No option of their mount would do: they are there since the namespace is.
        selinux::relabel(Path::new(QUEUES), label).map_err(at("selinux label of queues"))?;
    }
    // 1. Limits, while every capability is still there.
    for limit in &process.rlimits {
        rlimit::set(limit.resource, limit.soft, limit.hard).map_err(at("rlimit"))?;
    }
    // 2. The working directory as root first (a volume may be closed to the user), and as the user below if root was
    //    refused (a file system that does not trust root).
    let as_root = enter_directory(&process.cwd, make_cwd);
    // 3. The bounding set needs CAP_SETPCAP in the effective set, which setresuid clears: before the ids.
    let bounding = if planted("capabilities") {
        u64::MAX
    } else {
        process.capabilities.bounding
    };
    credentials::limit_bounding(bounding).map_err(at("bounding set"))?;
    // 4. Groups, gid, uid. The permitted set is kept over the change of uid; execve resets that.
    if !planted("groups") {
        credentials::set_groups(&process.groups).map_err(at("setgroups"))?;
    }
    credentials::set_gid(process.gid).map_err(at("setgid"))?;
    credentials::keep_capabilities().map_err(at("keep capabilities"))?;
    credentials::set_uid(process.uid).map_err(at("setuid"))?;
    if as_root.is_err() {
        enter_directory(&process.cwd, false).map_err(at("chdir"))?;
    }
    // The kernel names a directory outside our root "(unreachable)".
    if !std::env::current_dir().map_err(at("chdir"))?.is_absolute() {
        return Err(("chdir", io::Error::from_raw_os_error(libc::EPERM)));
    }
    set_privileges(process, filter.is_some())?;
    let mask = Mode::from_raw_mode(process.umask.unwrap_or(0o022));
    rustix::process::umask(mask);
    // 7. Strings for execve now: after the load even a memory allocation is a system call too many.
    let command = Command::new(&process.args, &process.env).map_err(at("exec"))?;
    step("stage.end");
    // 8. The filter, and nothing after it but execve.
    if let Some(Filter { flags, program }) = filter
        && !planted("filter")
    {
        seccomp::load(program, *flags).map_err(at("seccomp filter"))?;
    }
    Ok(command)
}

fn set_privileges(process: &Process, filtered: bool) -> Result<(), Step> {
    // 5. Final sets, plus the one capability that the load wants; ambient last: each must already be permitted and
    //    inheritable.
    let sets = &process.capabilities;
    let for_load = if filtered && !process.no_new_privileges {
        1 << caps::SYS_ADMIN
    } else {
        0
    };
    let held = sets.effective | sets.ambient | for_load;
    credentials::set_capabilities(held, held, sets.inheritable).map_err(at("capabilities"))?;
    credentials::set_ambient(sets.ambient).map_err(at("ambient capabilities"))?;
    // 6.
    if process.no_new_privileges {
        credentials::set_no_new_privileges().map_err(at("no_new_privs"))?;
    }
    Ok(())
}

/// Goes to the working directory. No magic link is followed (`/proc/1/root`, `/proc/self/fd/N`): this process may pass
/// through those of others, which the command could not, and would make directories there.
fn enter_directory(cwd: &str, make: bool) -> io::Result<()> {
    let cwd = Path::new(if cwd.is_empty() { "/" } else { cwd });
    let directory = match open_directory(CWD, cwd) {
        Err(Errno::NOENT) if make => make_directories(cwd),
        opened => opened,
    };
    Ok(rustix::process::fchdir(directory?)?)
}

fn open_directory(from: impl AsFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(from, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
}

/// Makes what is missing of a path, and opens its end.
fn make_directories(path: &Path) -> rustix::io::Result<OwnedFd> {
    let mut directory = open_directory(CWD, Path::new("/"))?;
    for part in path.components() {
        let (Component::Normal(_) | Component::ParentDir) = part else {
            continue;
        };
        let name = Path::new(part.as_os_str());
        match mkdirat(&directory, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => directory = open_directory(&directory, name)?,
            Err(error) => return Err(error),
        }
    }
    Ok(directory)
}

/// Tells the monitor and dies.
pub(super) fn report(failure: &OwnedFd, (step, error): &Step) -> ! {
    // On the stack: the filter may already be loaded, and need not allow what an allocator asks for.
    let mut text = [0u8; 64];
    let mut rest = &mut text[..];
    let _ = write!(rest, "{} {step}", error.raw_os_error().unwrap_or(libc::EINVAL));
    let unused = rest.len();
    let _ = rustix::io::write(failure, &text[..text.len() - unused]);
    fork::exit_now(NOT_RUN)
}
