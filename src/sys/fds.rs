//! Descriptor tables: closing in bulk, and placing descriptors on given numbers.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// Closes every descriptor from `first` on. Neither `rustix` nor `nix` has `close_range`.
///
/// For a process that goes on with numbers below `first` only: owners of the closed numbers must not be used or
/// dropped afterwards.
pub fn close_from(first: RawFd) -> io::Result<()> {
    close_range(first, RawFd::MAX, 0)
}

/// Closes every descriptor except 0, 1, 2 and `keep`. For a forked worker, which goes on with those only and ends
/// without running destructors.
pub fn close_all_except(keep: &[RawFd]) -> io::Result<()> {
    let mut kept: Vec<RawFd> = keep.iter().copied().filter(|fd| *fd > 2).collect();
    kept.sort_unstable();
    kept.dedup();
    let mut first = 3;
    for fd in kept {
        if fd > first {
            close_range(first, fd - 1, 0)?;
        }
        first = fd + 1;
    }
    close_range(first, RawFd::MAX, 0)
}

fn close_range(first: RawFd, last: RawFd, flags: u32) -> io::Result<()> {
    // SAFETY: takes numbers only. The callers' contract keeps owners of the closed numbers from being used.
    match unsafe { libc::syscall(libc::SYS_close_range, first as u32, last as u32, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Puts copies of three descriptors onto 0, 1, 2.
pub fn set_stdio(stdin: impl AsFd, stdout: impl AsFd, stderr: impl AsFd) -> io::Result<()> {
    nix::unistd::dup2_stdin(stdin)?;
    nix::unistd::dup2_stdout(stdout)?;
    nix::unistd::dup2_stderr(stderr)?;
    Ok(())
}

/// Puts `/dev/null` onto 0, 1, 2.
pub fn null_stdio() -> io::Result<()> {
    let null = open_null()?;
    set_stdio(&null, &null, &null)
}

/// Opens `/dev/null` anew, for reading and writing, in the place of an output that is it and cannot be written to.
pub fn writable_null_outputs() -> io::Result<()> {
    if is_readonly_null(io::stdout())? {
        nix::unistd::dup2_stdout(open_null()?)?;
    }
    if is_readonly_null(io::stderr())? {
        nix::unistd::dup2_stderr(open_null()?)?;
    }
    Ok(())
}

fn is_readonly_null(fd: impl AsFd) -> io::Result<bool> {
    // The kernel's number for it (devices.txt, "Memory devices").
    let null = rustix::fs::makedev(1, 3);
    let status = rustix::fs::fstat(&fd)?;
    let is_null =
        rustix::fs::FileType::from_raw_mode(status.st_mode).is_char_device() && status.st_rdev == null;
    let access = rustix::fs::fcntl_getfl(&fd)? & rustix::fs::OFlags::RWMODE;
    Ok(is_null && access == rustix::fs::OFlags::RDONLY)
}

fn open_null() -> io::Result<std::fs::File> {
    std::fs::File::options().read(true).write(true).open("/dev/null")
}

/// Copies `fd` onto exactly `number`, which must be free.
pub fn copy_to(fd: impl AsFd, number: RawFd) -> io::Result<OwnedFd> {
    let copy = rustix::io::fcntl_dupfd_cloexec(fd, number)?;
    match copy.as_raw_fd() == number {
        true => Ok(copy),
        false => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("descriptor {number} is in use"),
        )),
    }
}

/// Takes descriptor 0 as the program's own; `/dev/null` takes its place.
pub fn take_stdin() -> io::Result<OwnedFd> {
    let own = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3)?;
    nix::unistd::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    Ok(own)
}

/// Moves `fd` to number 3 and closes everything beyond: it is the only descriptor left besides 0, 1, 2.
///
/// *Closed*, not marked close-on-exec: a process that never calls `execve` would keep the others for ever, and one that
/// does could reach through them by a working directory or a command named `/proc/self/fd/N`.
pub fn keep_only(fd: OwnedFd) -> io::Result<OwnedFd> {
    use std::os::fd::{FromRawFd, IntoRawFd};
    let old = fd.into_raw_fd();
    if old != 3 {
        // SAFETY: takes numbers only. Whatever owned number 3 must not be used afterwards, as with `close_from`.
        if unsafe { libc::dup3(old, 3, libc::O_CLOEXEC) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    close_from(4)?;
    // SAFETY: number 3 is open and, by the line above, ours alone.
    let kept = unsafe { OwnedFd::from_raw_fd(3) };
    if super::planted("descriptors") {
        // Without the flag that closes it.
        std::mem::forget(rustix::io::dup(std::io::stdin())?);
    }
    Ok(kept)
}
