//! Network devices and addresses as the kernel tells them (rtnetlink(7)). The few messages an audit needs, no more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto, socket,
};

use crate::sys::{mount, namespace, proc};

/// A network device of the caller's network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: i32,
    /// Its name.
    pub name: String,
    /// `veth`, `bridge` and so on; empty for hardware.
    pub kind: String,
    /// Number of the bridge it is a port of; 0 is none.
    pub master: i32,
    /// Number of its other end; 0 is none.
    pub peer: i32,
    /// The other end is in another network namespace.
    pub peer_elsewhere: bool,
}

const HEADER: usize = 16;
/// `struct ifinfomsg`.
const INFO: usize = 16;

/// Returns every device.
pub fn links() -> io::Result<Vec<Link>> {
    let socket = open()?;
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
    send(&socket, libc::RTM_GETLINK, flags as u16, 0)?;
    let mut found = vec![];
    let mut buffer = vec![0; 1 << 18];
    loop {
        let count = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        for (kind, body) in messages(&buffer[..count]) {
            match i32::from(kind) {
                libc::NLMSG_DONE => return Ok(found),
                libc::NLMSG_ERROR => return Err(failure(body)),
                _ if kind == libc::RTM_NEWLINK => found.extend(link(body)),
                _ => {}
            }
        }
    }
}

/// Removes a device; one that is gone is removed.
pub fn remove(index: i32) -> io::Result<()> {
    let socket = open()?;
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK;
    send(&socket, libc::RTM_DELLINK, flags as u16, index)?;
    let mut buffer = vec![0; 1 << 14];
    let count = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
    let answer = messages(&buffer[..count]).next();
    match answer.map(|(_, body)| failure(body)) {
        Some(error) if !matches!(error.raw_os_error(), Some(0 | libc::ENODEV)) => Err(error),
        _ => Ok(()),
    }
}

/// Returns the addresses of all devices in every network namespace that a process is in or that is pinned where the
/// caller sees it.
pub fn addresses() -> io::Result<BTreeSet<IpAddr>> {
    let mut namespaces = BTreeMap::new();
    let mut add = |path: &std::path::Path| {
        if let Ok(file) = File::open(path)
            && let Ok(metadata) = file.metadata()
        {
            namespaces.entry((metadata.dev(), metadata.ino())).or_insert(file);
        }
    };
    for pid in proc::processes()? {
        add(format!("/proc/{pid}/ns/net").as_ref());
    }
    mount::pinned("net")?.iter().for_each(|path| add(path));
    // A thread of its own, since it changes where it is.
    let walk = move || {
        let mut found = BTreeSet::new();
        for file in namespaces.values() {
            if namespace::enter_one(file).is_ok() {
                found.extend(own_addresses()?);
            }
        }
        Ok(found)
    };
    let walked = std::thread::Builder::new().spawn(walk)?.join();
    walked.unwrap_or_else(|_| Err(io::Error::other("the walk over network namespaces ended badly")))
}

fn own_addresses() -> io::Result<Vec<IpAddr>> {
    let all = nix::ifaddrs::getifaddrs()?;
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(four), _) => Some(IpAddr::V4(four.ip())),
            (_, Some(six)) => Some(IpAddr::V6(six.ip())),
            _ => None,
        }
    };
    Ok(all.filter_map(address).collect())
}

fn open() -> io::Result<OwnedFd> {
    let protocol = SockProtocol::NetlinkRoute;
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        protocol,
    )?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    Ok(socket)
}

fn send(socket: &OwnedFd, kind: u16, flags: u16, index: i32) -> io::Result<()> {
    let mut message = Vec::with_capacity(HEADER + INFO);
    message.extend(((HEADER + INFO) as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Sequence and port; then family, type, index, flags and change mask of `struct ifinfomsg`.
    message.extend([0; 8]);
    message.extend([0; 4]);
    message.extend(index.to_ne_bytes());
    message.extend([0; 8]);
    sendto(
        socket.as_raw_fd(),
        &message,
        &NetlinkAddr::new(0, 0),
        MsgFlags::empty(),
    )?;
    Ok(())
}

/// Splits what came into messages: type and body.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let body = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// Splits what follows a fixed part into attributes: type and value.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        // The upper bits are flags (NLA_F_NESTED).
        Some((kind & 0x3fff, value))
    })
}

fn link(body: &[u8]) -> Option<Link> {
    let number = |value: &[u8]| value.try_into().map(i32::from_ne_bytes).unwrap_or(0);
    let text = |value: &[u8]| String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
    let mut link = Link {
        index: number(body.get(4..8)?),
        ..Link::default()
    };
    for (kind, value) in attributes(body.get(INFO..)?) {
        match kind {
            libc::IFLA_IFNAME => link.name = text(value),
            libc::IFLA_LINK => link.peer = number(value),
            libc::IFLA_MASTER => link.master = number(value),
            libc::IFLA_LINK_NETNSID => link.peer_elsewhere = true,
            libc::IFLA_LINKINFO => {
                let inner = attributes(value).find(|(kind, _)| *kind == libc::IFLA_INFO_KIND);
                link.kind = inner.map(|(_, value)| text(value)).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(link)
}

/// `struct nlmsgerr` begins with a negated error number; 0 is success.
fn failure(body: &[u8]) -> io::Error {
    let code = body
        .get(..4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, i32::from_ne_bytes);
    io::Error::from_raw_os_error(-code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_a_device_and_has_an_address() {
        let links = links().unwrap();

        assert!(
            links.iter().any(|link| link.name == "lo" && link.index == 1),
            "{links:?}"
        );
        assert!(addresses().unwrap().contains(&"127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn removing_a_device_that_is_not_there_succeeds() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: needs root");
        }
        assert!(remove(i32::MAX).is_ok());
    }
}
