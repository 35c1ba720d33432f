//! JSON messages with descriptors over a SEQPACKET socket.
//!
//! ```text
//! message = kind(1 byte) body
//! kind 0  : body is the JSON text
//! kind 1  : body is empty, the text is in the first descriptor (a memfd): a message may be larger than a socket buffer
//! ```

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recv, recvmsg, sendmsg,
};
use serde::{Serialize, de::DeserializeOwned};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Largest text sent inside the message itself.
const INLINE: usize = 64 << 10;
/// Largest text accepted at all: a message of CRI is at most 16 MiB.
const LARGEST: u64 = 64 << 20;
/// Most descriptors that one message can carry (the kernel's SCM_MAX_FD), one of them perhaps the text itself.
pub const MOST_DESCRIPTORS: usize = 252;

const IN_PLACE: u8 = 0;
const IN_MEMFD: u8 = 1;

/// A message ready to be sent, any number of times.
#[derive(Debug)]
pub struct Packet {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Packet {
    /// Encodes `value`; `fds` travel with it and are closed here with the packet.
    pub fn new<T: Serialize>(value: &T, mut fds: Vec<OwnedFd>) -> io::Result<Packet> {
        if fds.len() > MOST_DESCRIPTORS {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "too many descriptors for one message",
            ));
        }
        let mut bytes = vec![IN_PLACE];
        serde_json::to_writer(&mut bytes, value)?;
        if bytes.len() > INLINE {
            fds.insert(0, sealed_text(&bytes[1..])?);
            bytes = vec![IN_MEMFD];
        }
        Ok(Packet { bytes, fds })
    }

    /// Sends it whole or not at all.
    pub fn send(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let fds: Vec<BorrowedFd<'_>> = self.fds.iter().map(|fd| fd.as_fd()).collect();
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(fds.len()))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        sendmsg(
            socket,
            &[IoSlice::new(&self.bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        )?;
        Ok(())
    }
}

/// Receives one message; `None`: the peer has closed. A message that is not a `T` is `InvalidData`.
pub fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    match receive_text(socket)? {
        Some((text, fds)) => Ok(Some((decode(&text)?, fds))),
        None => Ok(None),
    }
}

/// As [`receive`], and `TimedOut` when nothing has come for so long. It sets the socket's own limit.
pub fn receive_within<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
    limit: Duration,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let until = Instant::now() + limit;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        set_socket_timeout(socket, Timeout::Recv, Some(left))?;
        match receive(socket) {
            // Where there is a limit any signal ends the wait, whatever its handler asks for: a child's end, for one.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // The number of this means "no process more" elsewhere.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
            other => return other,
        }
    }
}

/// Decodes a message's text.
pub fn decode<T: DeserializeOwned>(text: &[u8]) -> io::Result<T> {
    serde_json::from_slice(text).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

/// Receives one message undecoded; `None`: the peer has closed.
pub fn receive_text(socket: BorrowedFd<'_>) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    // As large as the message: a roomy buffer would stay dirty in every monitor.
    let mut none = [0u8; 0];
    let (_, size) = match recv(socket, &mut none[..], RecvFlags::PEEK | RecvFlags::TRUNC) {
        Err(rustix::io::Errno::CONNRESET) => return Ok(None),
        other => other?,
    };
    if size == 0 {
        return Ok(None);
    }
    let mut bytes = vec![0; size];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS + 1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut fds: Vec<OwnedFd> = control
        .drain()
        .filter_map(|m| match m {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    // The kernel closes what does not fit, for instance beyond the limit of open files.
    if got.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "descriptors were lost on the way",
        ));
    }
    match bytes[0] {
        IN_PLACE => {
            bytes.remove(0);
            Ok(Some((bytes, fds)))
        }
        IN_MEMFD if !fds.is_empty() => Ok(Some((text_of(fds.remove(0))?, fds))),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "unknown kind of message",
        )),
    }
}

fn sealed_text(text: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(
        c"message",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?);
    file.write_all(text)?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(file.into())
}

fn text_of(memfd: OwnedFd) -> io::Result<Vec<u8>> {
    let mut file = File::from(memfd);
    file.rewind()?;
    let mut text = vec![];
    if file.take(LARGEST + 1).read_to_end(&mut text)? as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "message too large"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket;
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
    use std::os::unix::thread::JoinHandleExt;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn round_trip(text: &str, fds: usize) -> (String, usize) {
        let (a, b) = socket::pair().unwrap();
        let fds = (0..fds)
            .map(|_| File::open("/dev/null").unwrap().into())
            .collect();

        Packet::new(&text, fds).unwrap().send(a.as_fd()).unwrap();

        let (got, fds) = receive::<String>(b.as_fd()).unwrap().unwrap();
        (got, fds.len())
    }

    #[test]
    fn a_message_arrives_with_its_descriptors() {
        assert_eq!(round_trip("hello", 0), ("hello".into(), 0));
        assert_eq!(round_trip("hello", 200), ("hello".into(), 200));
    }

    #[test]
    fn a_message_larger_than_a_socket_buffer_arrives_whole() {
        let large = "x".repeat(3 << 20);
        assert_eq!(round_trip(&large, 3), (large, 3));
    }

    #[test]
    fn a_closed_peer_is_none() {
        let (a, b) = socket::pair().unwrap();
        drop(a);
        assert!(receive::<String>(b.as_fd()).unwrap().is_none());
    }

    #[test]
    fn what_comes_too_late_is_not_waited_for() {
        let (a, b) = socket::pair().unwrap();
        let limit = Duration::from_millis(10);

        let error = receive_within::<String>(b.as_fd(), limit).unwrap_err();

        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(a);
    }

    #[test]
    #[allow(
        clippy::disallowed_methods,
        reason = "a signal goes to one thread, which the test joins"
    )]
    fn a_signal_does_not_end_the_wait_for_a_message() {
        static CAUGHT: AtomicU32 = AtomicU32::new(0);
        extern "C" fn count(_: i32) {
            CAUGHT.fetch_add(1, Ordering::SeqCst);
        }
        let action = SigAction::new(SigHandler::Handler(count), SaFlags::SA_RESTART, SigSet::empty());
        // SAFETY: the handler does nothing but add to an atomic number; nobody else in the tests uses this signal.
        unsafe { sigaction(Signal::SIGUSR2, &action) }.unwrap();
        let (a, b) = socket::pair().unwrap();
        let waits = std::thread::spawn(move || {
            receive_within::<String>(b.as_fd(), Duration::from_secs(600)).map(|got| got.unwrap().0)
        });

        // One is caught while the thread begins, perhaps; of several, one ends a wait.
        for signals in 1..=5 {
            // SAFETY: the thread has not been joined.
            unsafe { libc::pthread_kill(waits.as_pthread_t(), libc::SIGUSR2) };
            while CAUGHT.load(Ordering::SeqCst) < signals && !waits.is_finished() {
                std::thread::yield_now();
            }
        }
        Packet::new(&"late", vec![]).unwrap().send(a.as_fd()).unwrap();

        assert_eq!(waits.join().unwrap().unwrap(), "late");
    }

    #[test]
    fn a_message_of_another_type_is_invalid_data() {
        let (a, b) = socket::pair().unwrap();
        Packet::new(&7, vec![]).unwrap().send(a.as_fd()).unwrap();
        assert_eq!(
            receive::<String>(b.as_fd()).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }
}
