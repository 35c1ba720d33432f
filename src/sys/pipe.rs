//! Pipes.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Returns the reading and the writing end, both close-on-exec.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

/// Makes reads and writes return instead of waiting.
pub fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(fd, true)?)
}

/// Gives an end to a user, so that a process of that user can open `/dev/stdout` again.
pub fn set_owner(fd: impl AsFd, uid: u32, gid: u32) -> io::Result<()> {
    use rustix::fs::{Gid, Uid, fchown};
    Ok(fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?)
}

/// Tells whether the other end of a pipe or connection is closed.
pub fn has_hung_up(fd: impl AsFd) -> io::Result<bool> {
    let mut polled = [PollFd::new(&fd, PollFlags::empty())];
    poll(&mut polled, Some(&Timespec::default()))?;
    Ok(polled[0].revents().contains(PollFlags::HUP))
}

/// Writes to a descriptor that does not wait what it takes now; returns what is left.
pub fn write_ready(fd: impl AsFd, mut bytes: &[u8]) -> io::Result<&[u8]> {
    while !bytes.is_empty() {
        match rustix::io::write(&fd, bytes) {
            Err(Errno::INTR) => {}
            Ok(0) | Err(Errno::AGAIN) => break,
            Ok(count) => bytes = &bytes[count..],
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

/// Lets a pipe hold so many bytes, as far as the kernel grants it.
pub fn set_size(fd: impl AsFd, bytes: usize) -> io::Result<()> {
    rustix::pipe::fcntl_setpipe_size(fd, bytes)?;
    Ok(())
}
