//! The loopback interface of a new network namespace.

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::io;
use std::os::fd::AsRawFd;

/// Brings `lo` up in the network namespace of the caller, natively: no process, no netlink library.
pub fn bring_up() -> io::Result<()> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: all fields of the request are numbers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    ioctl(&socket, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: the call above has filled this member of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    ioctl(&socket, libc::SIOCSIFFLAGS, &mut request)
}

fn ioctl(socket: &impl AsRawFd, operation: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: both operations used here take a pointer to an `ifreq`, borrowed for the call. The safe crates have neither.
    match unsafe { libc::ioctl(socket.as_raw_fd(), operation as _, request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
