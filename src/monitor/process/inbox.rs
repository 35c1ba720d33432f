//! What has come from daemons, before any of it is begun.

use crate::monitor::process::clients::Received;
use crate::monitor::process::event_loop::{Monitor, phase};
use crate::monitor::protocol::{Call as Wanted, Request};
use crate::sys::message;
use std::io;
use std::os::fd::OwnedFd;

type Decoded = (u64, io::Result<Request>, Vec<u8>, Vec<OwnedFd>);

impl Monitor {
    /// Handles what has come, in its order. A command that was taken back before it was read, or whose daemon has gone,
    /// is not begun: it would have no owner.
    pub(super) fn receive_all(&mut self, received: Vec<Received>) {
        let decode = |(client, text, fds): Received| (client, message::decode::<Request>(&text), text, fds);
        let received: Vec<_> = received.into_iter().map(decode).collect();
        let killed = |(client, request, ..): &Decoded| match request.as_ref().ok()?.call {
            Wanted::KillExec { exec } => Some((*client, exec)),
            _ => None,
        };
        let killed: Vec<(u64, u64)> = received.iter().filter_map(killed).collect();
        for (client, request, text, fds) in received {
            match request {
                Ok(Request {
                    id,
                    call: Wanted::Exec(_),
                }) if killed.contains(&(client, id)) || !self.clients.has(client) => {
                    self.answer(client, id, Err(phase("the command was taken back")));
                }
                request => self.receive(client, request, &text, fds),
            }
        }
    }
}
