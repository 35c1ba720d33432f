//! Connections of daemons: any number, coming and going.

use crate::monitor::process::door::Door;
use crate::monitor::protocol::{Answer, Event, Message};
use crate::sys::{message, pipe};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// The open connections, each with a number of its own.
#[derive(Debug, Default)]
pub(super) struct Clients {
    open: Vec<(u64, OwnedFd)>,
    last: u64,
}

/// Most messages taken from a connection before they are handled: each may hold descriptors.
const AT_ONCE: usize = 64;

/// What came from a client: a message's text and its descriptors.
pub(super) type Received = (u64, Vec<u8>, Vec<OwnedFd>);

impl Clients {
    /// Adds a connection.
    pub(super) fn add(&mut self, connection: OwnedFd) -> io::Result<()> {
        pipe::set_nonblocking(&connection)?;
        self.last += 1;
        self.open.push((self.last, connection));
        Ok(())
    }

    /// Takes a waiting connection, if there is one.
    pub(super) fn accept(&mut self, door: &Door) {
        if let Ok(connection) = door.accept() {
            let _ = self.add(connection);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.open.iter().map(|(_, fd)| fd.as_fd())
    }

    /// Tells whether a connection is open, as far as its messages have been taken.
    pub(super) fn has(&self, client: u64) -> bool {
        self.open.iter().any(|(id, _)| *id == client)
    }

    /// Takes what has come on each ready connection; drops those that have closed. A daemon that died is not our end.
    ///
    /// All at once: what was asked and taken back while nobody read is known to be so before it is begun.
    pub(super) fn receive(&mut self, ready: &[RawFd]) -> Vec<Received> {
        let mut received = vec![];
        self.open.retain(|(id, fd)| {
            if !ready.contains(&fd.as_raw_fd()) {
                return true;
            }
            for _ in 0..AT_ONCE {
                match message::receive_text(fd.as_fd()) {
                    Ok(Some((text, fds))) => received.push((*id, text, fds)),
                    Err(e) => return e.kind() == io::ErrorKind::WouldBlock,
                    Ok(None) => return false,
                }
            }
            true
        });
        received
    }

    /// Answers a call. A client that has gone does not hear it.
    pub(super) fn answer(&mut self, client: u64, id: u64, answer: Answer, fds: Vec<OwnedFd>) {
        self.send(&Message::Answer { id, answer }, fds, |c| c == client);
    }

    /// Tells everyone.
    pub(super) fn tell(&mut self, event: Event) {
        self.send(&Message::Event(event), vec![], |_| true);
    }

    /// Tells one client.
    pub(super) fn tell_one(&mut self, client: u64, event: Event) {
        self.send(&Message::Event(event), vec![], |c| c == client);
    }

    /// Ends a connection whose other side does not speak the protocol.
    pub(super) fn drop(&mut self, client: u64) {
        self.open.retain(|(id, _)| *id != client);
    }

    /// Never waits: a client that does not read is dropped when its socket is full; it can connect again and ask.
    fn send(&mut self, message: &Message, fds: Vec<OwnedFd>, to: impl Fn(u64) -> bool) {
        let Ok(packet) = message::Packet::new(message, fds) else {
            return;
        };
        self.open
            .retain(|(id, fd)| !to(*id) || packet.send(fd.as_fd()).is_ok());
    }
}
