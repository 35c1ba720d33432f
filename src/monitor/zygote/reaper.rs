//! The first process of a shared PID namespace: reaps orphans, and does nothing else, for as long as it is left alone.
//!
//! Containers of the namespace see it as process 1, so it holds nothing worth taking: no capability, a user id of its
//! own, no descriptor, an empty root directory, and an executable that cannot be written.

use crate::monitor::zygote::lean::Mounts;
use crate::sys::fork::{self, Fork, exit_now, fork};
use crate::sys::namespace::{self, Kinds};
use crate::sys::zygote::{Reaper, ReaperRequest};
use crate::sys::{credentials, fds, fs, mount, pidfd, pipe, proc, signal, step};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// User and group of the process; not root in any user namespace that maps it.
const NOBODY: u32 = 65534;

/// Makes the namespace, its process, the pin and the note. Returns process id and start time. Runs in a worker; the
/// reaper falls to the zygote, a subreaper that has the kernel reap for it.
///
/// The reaper waits for a word that comes once the note is written, and ends when it does not come: there is no instant
/// at which a reaper lives on that nobody can find.
pub(super) fn spawn(request: &ReaperRequest, mounts: &Mounts) -> io::Result<(i32, u64)> {
    let user = request.user.as_deref().map(|path| open_pinned(path, mounts));
    let user = user.transpose()?;
    let (report, report_in) = pipe::pair()?;
    let (numbers, numbers_in) = pipe::pair()?;
    let (word_out, word) = pipe::pair()?;
    // The namespace is entered by children only, and the user namespace would take the right to bind: hence one more.
    if fork()? == Fork::Child {
        let made = || -> io::Result<i32> {
            if let Some(user) = &user {
                namespace::enter_one(user)?;
                credentials::set_gid(0)?;
                credentials::set_uid(0)?;
            }
            namespace::leave(Kinds::CLONE_NEWPID)?;
            match fork()? {
                Fork::Parent(pid) => Ok(pid),
                Fork::Child => live(report_in, word_out, request.label.as_deref()),
            }
        };
        let _ = rustix::io::write(&numbers_in, &made().unwrap_or(0).to_ne_bytes());
        exit_now(0)
    }
    drop((report_in, numbers_in, word_out));
    let mut pid = [0; 4];
    let count = rustix::io::read(&numbers, &mut pid)?;
    let pid = i32::from_ne_bytes(pid);
    if count != 4 || pid == 0 {
        return Err(io::Error::other("cannot make a process in a new PID namespace"));
    }
    finish(request, mounts, pid, (&report, &word)).inspect_err(|_| {
        let _ = pidfd::open(pid).and_then(|fd| pidfd::signal(fd, libc::SIGKILL));
        let _ = namespace::unpin(&request.path);
    })
}

/// Opens what is pinned where the host sees it, and comes back.
fn open_pinned(path: &Path, mounts: &Mounts) -> io::Result<OwnedFd> {
    let lean = mounts.enter_host()?;
    let opened = namespace::open(path);
    namespace::enter_one(&lean)?;
    opened
}

fn finish(
    request: &ReaperRequest,
    mounts: &Mounts,
    pid: i32,
    (report, word): (&OwnedFd, &OwnedFd),
) -> io::Result<(i32, u64)> {
    let mut ready = [0; 2];
    if rustix::io::read(report, &mut ready)? != 2 {
        return Err(io::Error::other("the reaper died before it was ready"));
    }
    mounts.enter_host()?;
    // What a zygote that died here has left.
    if let Some(earlier) = Reaper::noted(&request.note)? {
        earlier.stop()?;
    }
    namespace::unpin(&request.path)?;
    namespace::pin(&pid.to_string(), "pid", &request.path)?;
    let start_time = proc::start_time(pid)?;
    step("zygote.reaper.note");
    let text = serde_json::to_vec(&Reaper { pid, start_time })?;
    fs::write_atomic(&request.note, &text, 0o600)?;
    step("zygote.reaper.go");
    rustix::io::write(word, b"g")?;
    Ok((pid, start_time))
}

/// The reaper's life.
fn live(report: OwnedFd, word: OwnedFd, label: Option<&str>) -> ! {
    let ready = || -> io::Result<()> {
        fds::close_all_except(&[report.as_raw_fd(), word.as_raw_fd()])?;
        fork::new_session()?;
        fork::set_name(c"coracle-reaper")?;
        // The kernel reaps the children of a process that ignores their signal, orphans included: no loop is needed.
        signal::ignore_children();
        empty_root(label)?;
        drop_rights()?;
        rustix::io::write(&report, b"ok")?;
        match rustix::io::read(&word, &mut [0u8; 1][..])? {
            1 => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    };
    if ready().is_err() {
        exit_now(1)
    }
    fds::close_from(3).ok();
    loop {
        signal::pause();
    }
}

/// `/proc/1/root` leads to an empty read-only directory.
fn empty_root(label: Option<&str>) -> io::Result<()> {
    namespace::leave(Kinds::CLONE_NEWNS)?;
    mount::make_all_private()?;
    let label = label
        .map(|label| format!(",context=\"{label}\""))
        .unwrap_or_default();
    mount::tmpfs(Path::new("/proc"), &format!("size=4k,mode=0555{label}"))?;
    mount::pivot_into(Path::new("/proc"))
}

fn drop_rights() -> io::Result<()> {
    credentials::limit_bounding(0)?;
    // In a user namespace these ids may not be mapped; the capabilities go in any case.
    let _ = credentials::set_groups(&[]);
    let _ = credentials::set_gid(NOBODY);
    let _ = credentials::set_uid(NOBODY);
    credentials::set_capabilities(0, 0, 0)?;
    credentials::set_no_new_privileges()?;
    credentials::set_not_dumpable()
}
