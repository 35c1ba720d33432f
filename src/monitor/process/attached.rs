//! Clients that are attached to the container: what it writes goes to each of them, and what they send goes to it.
//!
//! The pipes that a client has brought are its queues. They are emptied by a daemon that keeps for its clients what they do not
//! take, or lets go of them: so a full pipe means that the daemon has not had its turn, and is waited for, but not for long.
//! What clients send stays in their pipes until the container takes it.

use crate::monitor::process::input::Input;
use crate::monitor::protocol::Detachment;
use crate::sys::pipe;
use rustix::event::PollFlags;
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// Most clients at once: each has up to three descriptors here.
pub(super) const MOST: usize = 100;
/// Bytes of input taken at once; a pipe takes so many whole or not at all.
const PIECE: usize = 4 << 10;
/// Pieces taken from one client before the others get their turn.
const PIECES_A_TURN: usize = 16;

/// How long a full pipe holds up the container's output.
const PATIENCE: Duration = Duration::from_secs(1);

/// An output of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// An attached client: who has asked, and its pipes' ends, none of which waits.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) client: u64,
    pub(super) call: u64,
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: Option<To>,
    pub(super) stderr: Option<To>,
}

/// Where an output goes.
#[derive(Debug)]
pub(super) struct To {
    pipe: OwnedFd,
    /// What did not fit, and since when it has not.
    rest: Vec<u8>,
    full_since: Option<Instant>,
    /// Nothing comes behind the rest.
    last: bool,
}

impl To {
    pub(super) fn new(pipe: OwnedFd) -> To {
        To {
            pipe,
            rest: vec![],
            full_since: None,
            last: false,
        }
    }

    /// Writes behind what is left; false: nobody reads it any more.
    fn write(&mut self, bytes: &[u8]) -> bool {
        if !self.rest.is_empty() {
            self.rest.extend_from_slice(bytes);
            return true;
        }
        match pipe::write_ready(&self.pipe, bytes) {
            Ok([]) => self.full_since = None,
            Ok(rest) => {
                self.rest = rest.to_vec();
                self.full_since.get_or_insert_with(Instant::now);
            }
            Err(_) => return false,
        }
        true
    }

    /// Writes what is left; false: nobody reads it any more, or that was the last of it.
    fn flush(&mut self) -> bool {
        let rest = std::mem::take(&mut self.rest);
        let length = rest.len();
        let open = self.write(&rest);
        if self.rest.len() < length {
            // It moves.
            self.full_since = self.full_since.map(|_| Instant::now());
        }
        open && !(self.last && self.rest.is_empty())
    }

    /// Ends it behind what is left; false: nothing is.
    fn end(&mut self) -> bool {
        self.last = true;
        !self.rest.is_empty()
    }
}

/// An attachment that is over, to be told.
#[derive(Debug)]
pub(super) struct Over {
    pub(super) client: u64,
    pub(super) call: u64,
    pub(super) how: Detachment,
}

/// All of them, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Attached {
    clients: Vec<Client>,
    over: Vec<Over>,
}

impl Client {
    fn output(&mut self, stream: Stream) -> &mut Option<To> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    fn has_output(&self) -> bool {
        self.stdout.is_some() || self.stderr.is_some()
    }

    fn outputs(&self) -> impl Iterator<Item = &To> {
        self.stdout.iter().chain(&self.stderr)
    }

    /// Does something to each output, which goes when the answer is false.
    fn keep(&mut self, mut stays: impl FnMut(&mut To) -> bool) {
        self.stdout.take_if(|to| !stays(to));
        self.stderr.take_if(|to| !stays(to));
    }

    /// Only what it had sent is left of it.
    fn has_left(&self) -> bool {
        let hung_up = |stdin: &OwnedFd| pipe::has_hung_up(stdin).unwrap_or(false);
        !self.has_output() && self.stdin.as_ref().is_some_and(hung_up)
    }

    fn over(&self, how: Detachment) -> Over {
        Over {
            client: self.client,
            call: self.call,
            how,
        }
    }
}

impl Attached {
    /// Adds a client; false: there are too many.
    pub(super) fn add(&mut self, client: Client) -> bool {
        if self.clients.len() >= MOST {
            // Clients that have gone, with input that the container has never taken, are none to refuse others for.
            self.retain(|client| !client.has_left());
        }
        let room = self.clients.len() < MOST;
        if room {
            self.clients.push(client);
        }
        self.settle();
        room
    }

    pub(super) fn polled(&self, input: &Input) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let takes = input.takes();
        self.clients.iter().flat_map(move |client| {
            let outputs = client.outputs().map(|to| {
                // The end of its reader is told unasked.
                let events = match to.rest.is_empty() {
                    true => PollFlags::empty(),
                    false => PollFlags::OUT,
                };
                (to.pipe.as_fd(), events)
            });
            let stdin = client.stdin.as_ref().filter(|_| takes);
            outputs.chain(stdin.map(|fd| (fd.as_fd(), PollFlags::IN)))
        })
    }

    /// Tells whether a full pipe holds up the container's output.
    pub(super) fn is_full(&self) -> bool {
        let mut outputs = self.clients.iter().flat_map(Client::outputs);
        outputs.any(|to| !to.rest.is_empty())
    }

    /// When a full pipe has been waited for long enough.
    pub(super) fn wakes_in(&self, now: Instant) -> Option<Duration> {
        let outputs = self.clients.iter().flat_map(Client::outputs);
        let ends = outputs.filter_map(|to| to.full_since.map(|since| since + PATIENCE));
        ends.min().map(|end| end.saturating_duration_since(now))
    }

    /// Passes on what the container has written.
    pub(super) fn write(&mut self, stream: Stream, bytes: &[u8]) {
        for client in &mut self.clients {
            client.output(stream).take_if(|to| !to.write(bytes));
        }
    }

    /// An output has ended.
    pub(super) fn end(&mut self, stream: Stream) {
        for client in &mut self.clients {
            client.output(stream).take_if(|to| !to.end());
        }
        self.settle();
    }

    /// Goes on with full pipes, lets go of outputs that nobody reads any more, and passes on what clients have sent.
    pub(super) fn serve(&mut self, ready: &[RawFd], input: &mut Input) {
        let now = Instant::now();
        for client in &mut self.clients {
            client.keep(|to| !ready.contains(&to.pipe.as_raw_fd()) || !to.rest.is_empty() && to.flush());
        }
        let late = |to: &To| to.full_since.is_some_and(|since| now >= since + PATIENCE);
        let over = &mut self.over;
        self.clients.retain(|client| {
            let late = client.outputs().any(late);
            if late {
                over.push(client.over(Detachment::Behind));
            }
            !late
        });
        for client in &mut self.clients {
            let sent = client.stdin.as_ref();
            if sent.is_some_and(|fd| ready.contains(&fd.as_raw_fd())) {
                feed(&mut client.stdin, input);
            }
        }
        if !input.is_open() {
            self.clients.iter_mut().for_each(|client| client.stdin = None);
        }
        self.settle();
    }

    /// The container has ended.
    pub(super) fn end_all(&mut self) {
        for client in &mut self.clients {
            client.stdin = None;
            client.keep(To::end);
        }
        self.settle();
    }

    /// Those that are over and have not been told.
    pub(super) fn take_over(&mut self) -> Vec<Over> {
        std::mem::take(&mut self.over)
    }

    /// Lets go of clients whose streams have all ended.
    fn settle(&mut self) {
        self.retain(|client| client.has_output() || client.stdin.is_some());
    }

    fn retain(&mut self, stays: impl Fn(&Client) -> bool) {
        let over = &mut self.over;
        self.clients.retain(|client| {
            let stays = stays(client);
            if !stays {
                over.push(client.over(Detachment::Ended));
            }
            stays
        });
        if self.clients.is_empty() {
            // Given back: most containers never see a client.
            self.clients = vec![];
        }
    }
}

/// Passes on what one client has sent, as far as the container takes it.
fn feed(from: &mut Option<OwnedFd>, input: &mut Input) {
    for _ in 0..PIECES_A_TURN {
        let Some(fd) = from.as_ref().filter(|_| input.takes()) else {
            return;
        };
        let mut piece = [0; PIECE];
        match rustix::io::read(fd, &mut piece) {
            Ok(count) if count > 0 => input.put(&piece[..count]),
            Err(Errno::AGAIN | Errno::INTR) => return,
            Ok(_) | Err(_) => {
                *from = None;
                input.client_ended();
            }
        }
    }
}
