//! SEQPACKET unix sockets: pairs, listeners and connections, free of the length limit of socket paths.

use rustix::fs::{Mode, OFlags, open};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix, SocketFlags,
    SocketType, accept_with, bind, connect as connect_to, listen as listen_on, recvmsg, socket_with,
    socketpair,
};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Connections that wait to be taken. A listener that is stopped takes none, and those who come after that many are refused.
const BACKLOG: i32 = 128;

/// Returns two connected ends, both close-on-exec.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Listens at `path`, replacing what an earlier listener left there. Connections are answered by [`accept`].
pub fn listen(path: &Path) -> io::Result<OwnedFd> {
    listen_with(path, SocketType::SEQPACKET)
}

fn listen_with(path: &Path, kind: SocketType) -> io::Result<OwnedFd> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    let (_dir, short) = shortened(path)?;
    bind(&socket, &SocketAddrUnix::new(&short)?)?;
    listen_on(&socket, BACKLOG)?;
    Ok(socket)
}

/// Connects to a listener, non-blocking. Never waits: `WouldBlock` when too many others do.
pub fn connect(path: &Path) -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    let (_dir, short) = shortened(path)?;
    connect_to(&socket, &SocketAddrUnix::new(&short)?)?;
    Ok(socket)
}

/// Returns the process that listens at `path`, as it was when it began to (unix(7), `SO_PEERCRED`).
pub fn listener(path: &Path) -> io::Result<i32> {
    let socket = connect(path)?;
    let credentials = rustix::net::sockopt::socket_peercred(&socket)?;
    Ok(credentials.pid.as_raw_nonzero().get())
}

/// Takes one waiting connection, non-blocking.
pub fn accept(listener: impl AsFd) -> io::Result<OwnedFd> {
    Ok(accept_with(
        listener,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
    )?)
}

/// Listens on a *stream* socket, which is what the engine hands a terminal over.
pub fn listen_stream(path: &Path) -> io::Result<OwnedFd> {
    listen_with(path, SocketType::STREAM)
}

/// Takes one connection and the one descriptor that it brings; waits for both.
pub fn accept_descriptor(listener: impl AsFd) -> io::Result<OwnedFd> {
    let connection = accept_with(listener, SocketFlags::CLOEXEC)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut data = [0; 64];
    recvmsg(
        &connection,
        &mut [IoSliceMut::new(&mut data)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let descriptors = control.drain().filter_map(|m| match m {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    descriptors
        .flatten()
        .next()
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// A name of at most 108 bytes for a path of any length: through a descriptor of its directory.
fn shortened(path: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let dir = open(
        parent,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let short = Path::new("/proc/self/fd")
        .join(dir.as_raw_fd().to_string())
        .join(name);
    Ok((dir, short))
}
