//! The container's standard streams as the monitor holds them: output to read, log and pass on, input to keep open.

use crate::monitor::process::attached::{Attached, Client, MOST, Over, Stream};
use crate::monitor::process::failure;
use crate::monitor::process::input::Input;
use crate::monitor::process::log::{Lines, Log};
use crate::monitor::protocol::{CreateRequest, Event, Failure, FailureKind, Stdio, TerminalSize};
use crate::sys::{pipe, pty};
use rustix::event::PollFlags;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// Bytes read at once; on the stack, so small.
const CHUNK: usize = 8 << 10;
/// Chunks read from one output before the others get their turn.
const CHUNKS_A_TURN: usize = 8;
/// Chunks read at the container's end: the largest pipe there can be. Something else may write for ever.
const CHUNKS_AT_END: usize = (1 << 20) / CHUNK + 1;

/// Streams of one container.
#[derive(Debug, Default)]
pub(super) struct Streams {
    outputs: Vec<Output>,
    log: Option<Log>,
    input: Input,
    /// Master side of a terminal that the monitor reads, for its size.
    terminal: Option<OwnedFd>,
    attached: Attached,
    /// They are somebody else's.
    given: bool,
}

/// What a client's full pipe means to a reader.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    /// It waits: there is another turn.
    Stop,
    /// There is none: what does not fit is kept.
    GoOn,
}

#[derive(Debug)]
struct Output {
    fd: OwnedFd,
    stream: Stream,
    lines: Lines,
}

impl Streams {
    /// Opens the log and makes the pipes. The second value goes to the container; `None`: it gets a terminal.
    pub(super) fn open(
        request: &CreateRequest,
        given: Option<[OwnedFd; 3]>,
    ) -> io::Result<(Streams, Option<[OwnedFd; 3]>)> {
        let log = request.log.as_ref().map(Log::open).transpose()?;
        let mut streams = Streams {
            log,
            ..Streams::default()
        };
        let stdin = match request.stdio {
            Stdio::Given => {
                streams.given = true;
                return Ok((streams, given));
            }
            Stdio::GivenTerminal(_) => {
                streams.given = true;
                return Ok((streams, None));
            }
            Stdio::Terminal(_) => return Ok((streams, None)),
            Stdio::Pipes { stdin: false, .. } => File::open("/dev/null")?.into(),
            Stdio::Pipes {
                stdin: true,
                stdin_once,
            } => {
                let (reader, writer) = pipe::pair()?;
                pipe::set_nonblocking(&writer)?;
                streams.input = Input::pipe(writer, stdin_once);
                reader
            }
        };
        let stdout = streams.output(Stream::Stdout, request.stdio_owner)?;
        let stderr = streams.output(Stream::Stderr, request.stdio_owner)?;
        Ok((streams, Some([stdin, stdout, stderr])))
    }

    fn output(&mut self, stream: Stream, owner: (u32, u32)) -> io::Result<OwnedFd> {
        let (reader, writer) = pipe::pair()?;
        pipe::set_owner(&writer, owner.0, owner.1)?;
        pipe::set_nonblocking(&reader)?;
        self.outputs.push(Output::new(reader, stream));
        Ok(writer)
    }

    /// Takes over a terminal's master side; returns it when it is the caller's.
    pub(super) fn set_terminal(
        &mut self,
        master: OwnedFd,
        size: Option<TerminalSize>,
    ) -> io::Result<Option<OwnedFd>> {
        if let Some(size) = size {
            pty::set_size(&master, size.width, size.height)?;
        }
        if self.given {
            return Ok(Some(master));
        }
        pipe::set_nonblocking(&master)?;
        self.terminal = Some(master.try_clone()?);
        self.input = Input::terminal(master.try_clone()?);
        self.outputs.push(Output::new(master, Stream::Stdout));
        Ok(None)
    }

    pub(super) fn resize(&self, size: TerminalSize) -> io::Result<()> {
        let terminal = self.terminal.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        pty::set_size(terminal, size.width, size.height)
    }

    pub(super) fn close_stdin(&mut self) {
        self.input.close();
        self.attached.serve(&[], &mut self.input);
    }

    /// Opens the log again; `None`: there is no log.
    pub(super) fn reopen_log(&mut self) -> Option<io::Result<()>> {
        self.log.as_mut().map(Log::reopen)
    }

    /// Tells whether the log has yet to say what was dropped.
    pub(super) fn log_owes(&self) -> bool {
        self.log.as_ref().is_some_and(Log::owes)
    }

    /// Has the log say what was dropped, if it can; returns what the daemon is to be told.
    pub(super) fn log_news(&mut self) -> Vec<Event> {
        self.log.as_mut().map_or_else(Vec::new, |log| {
            log.make_up();
            log.take_news()
        })
    }

    /// Attaches a client from now on. Streams that have ended end for it at once.
    pub(super) fn attach(&mut self, mut client: Client) -> Result<(), Failure> {
        if self.given {
            let text = "the container's streams are with the one who has started it";
            return Err(failure::of(FailureKind::Phase, text));
        }
        let open = |stream| self.outputs.iter().any(|output| output.stream == stream);
        client.stdout.take_if(|_| !open(Stream::Stdout));
        client.stderr.take_if(|_| !open(Stream::Stderr));
        client.stdin.take_if(|_| !self.input.is_open());
        match self.attached.add(client) {
            true => Ok(()),
            false => {
                let text = format!("{MOST} clients are attached already");
                Err(failure::of(FailureKind::Exhausted, text))
            }
        }
    }

    /// Attachments that are over and have not been told.
    pub(super) fn take_over(&mut self) -> Vec<Over> {
        self.attached.take_over()
    }

    /// When there is something to do though nothing is ready.
    pub(super) fn wakes_in(&self, now: Instant) -> Option<Duration> {
        self.attached.wakes_in(now)
    }

    /// What to wait for.
    pub(super) fn polled(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let held = self.attached.is_full();
        let outputs = self.outputs.iter().filter(move |_| !held);
        outputs
            .map(|o| (o.fd.as_fd(), PollFlags::IN))
            .chain(self.input.polled())
            .chain(self.attached.polled(&self.input))
    }

    /// Logs and passes on what the ready outputs have, and takes the input that is ready.
    pub(super) fn read(&mut self, ready: &[RawFd]) {
        self.read_where(|fd| ready.contains(&fd), CHUNKS_A_TURN, Held::Stop);
        self.input.flush(ready);
        self.attached.serve(ready, &mut self.input);
    }

    /// Logs and passes on all that there is, lines without an end too. An output that something else still holds stays
    /// open; for clients this is the end.
    pub(super) fn drain(&mut self) {
        self.read_where(|_| true, CHUNKS_AT_END, Held::GoOn);
        if let Some(log) = &mut self.log {
            self.outputs.iter_mut().for_each(|o| o.lines.finish(log));
        }
        self.input.close();
        self.attached.end_all();
    }

    fn read_where(&mut self, wanted: impl Fn(RawFd) -> bool, chunks: usize, held: Held) {
        let (log, attached) = (&mut self.log, &mut self.attached);
        self.outputs
            .retain_mut(|o| !wanted(o.fd.as_raw_fd()) || o.read(log.as_mut(), attached, chunks, held));
    }
}

impl Output {
    fn new(fd: OwnedFd, stream: Stream) -> Output {
        let name = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        Output {
            fd,
            stream,
            lines: Lines::new(name),
        }
    }

    /// Returns false at the end of the stream.
    fn read(
        &mut self,
        mut log: Option<&mut Log>,
        attached: &mut Attached,
        chunks: usize,
        held: Held,
    ) -> bool {
        let mut chunk = [0; CHUNK];
        for _ in 0..chunks {
            if held == Held::Stop && attached.is_full() {
                return true;
            }
            match rustix::io::read(&self.fd, &mut chunk) {
                Ok(count) if count > 0 => {
                    let bytes = &chunk[..count];
                    if let Some(log) = log.as_deref_mut() {
                        self.lines.push(bytes, log);
                    }
                    attached.write(self.stream, bytes);
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return true,
                // Zero is the end of a pipe, EIO that of a terminal whose other side nobody holds.
                Ok(_) | Err(_) => {
                    if let Some(log) = log {
                        self.lines.finish(log);
                    }
                    attached.end(self.stream);
                    return false;
                }
            }
        }
        true
    }
}
