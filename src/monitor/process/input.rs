//! The container's standard input as the monitor holds it: kept open, and written to without ever waiting.

use crate::sys::pipe;
use rustix::event::PollFlags;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// What writing to the container's input goes to.
#[derive(Debug, Default)]
pub(super) struct Input {
    to: Option<OwnedFd>,
    kind: Kind,
    /// What the container has not taken of the last piece. While there is any, nobody else's input is taken.
    rest: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    /// Closed when the first attached client's input has ended.
    Once,
    /// Open until it is closed by name.
    #[default]
    Pipe,
    /// Its other side may be closed and opened again.
    Terminal,
}

impl Input {
    /// A pipe's end that does not wait; `once`: it ends with the first client's input.
    pub(super) fn pipe(to: OwnedFd, once: bool) -> Input {
        let kind = if once { Kind::Once } else { Kind::Pipe };
        Input {
            to: Some(to),
            kind,
            rest: vec![],
        }
    }

    /// A terminal's master side that does not wait.
    pub(super) fn terminal(to: OwnedFd) -> Input {
        Input {
            to: Some(to),
            kind: Kind::Terminal,
            rest: vec![],
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.to.is_some()
    }

    /// Tells whether there is room for another piece.
    pub(super) fn takes(&self) -> bool {
        self.to.is_some() && self.rest.is_empty()
    }

    pub(super) fn close(&mut self) {
        *self = Input::default();
    }

    /// A client's input has ended.
    pub(super) fn client_ended(&mut self) {
        if self.kind == Kind::Once {
            self.close();
        }
    }

    pub(super) fn polled(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let waits = !self.rest.is_empty();
        let to = self.to.as_ref().filter(|_| waits)?;
        Some((to.as_fd(), PollFlags::OUT))
    }

    /// Writes what is left, when the container takes more.
    pub(super) fn flush(&mut self, ready: &[RawFd]) {
        let is_ready = |to: &OwnedFd| ready.contains(&to.as_raw_fd());
        if !self.rest.is_empty() && self.to.as_ref().is_some_and(is_ready) {
            let rest = std::mem::take(&mut self.rest);
            self.put(&rest);
        }
    }

    /// Writes a piece; what does not fit is kept. Only while it [`takes`](Input::takes).
    pub(super) fn put(&mut self, piece: &[u8]) {
        let Some(to) = &self.to else { return };
        match pipe::write_ready(to, piece) {
            Ok(rest) => self.rest = rest.to_vec(),
            Err(_) if self.kind == Kind::Terminal => {}
            // Nobody reads it any more.
            Err(_) => self.close(),
        }
    }
}
