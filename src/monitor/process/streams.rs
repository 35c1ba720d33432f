//! The container's standard streams as the monitor holds them: output to read and log, input to keep open.

use crate::monitor::process::log::{Lines, Log};
use crate::monitor::protocol::{CreateRequest, Event, Stdio, TerminalSize};
use crate::sys::{pipe, pty};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

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
    /// Kept open, so that the container does not read an end of its input.
    stdin: Option<OwnedFd>,
    /// Master side of a terminal that the monitor reads, for its size.
    terminal: Option<OwnedFd>,
}

#[derive(Debug)]
struct Output {
    fd: OwnedFd,
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
            Stdio::Given => return Ok((streams, given)),
            Stdio::Terminal(_) => return Ok((streams, None)),
            Stdio::Pipes { stdin: false, .. } => File::open("/dev/null")?.into(),
            Stdio::Pipes { stdin: true, .. } => {
                let (reader, writer) = pipe::pair()?;
                streams.stdin = Some(writer);
                reader
            }
        };
        let stdout = streams.output("stdout", request.stdio_owner)?;
        let stderr = streams.output("stderr", request.stdio_owner)?;
        Ok((streams, Some([stdin, stdout, stderr])))
    }

    fn output(&mut self, stream: &'static str, owner: (u32, u32)) -> io::Result<OwnedFd> {
        if self.log.is_none() {
            return Ok(File::options().write(true).open("/dev/null")?.into());
        }
        let (reader, writer) = pipe::pair()?;
        pipe::set_owner(&writer, owner.0, owner.1)?;
        pipe::set_nonblocking(&reader)?;
        self.outputs.push(Output {
            fd: reader,
            lines: Lines::new(stream),
        });
        Ok(writer)
    }

    /// Takes over a terminal's master side; returns it when it is the caller's to read.
    pub(super) fn set_terminal(
        &mut self,
        master: OwnedFd,
        size: Option<TerminalSize>,
    ) -> io::Result<Option<OwnedFd>> {
        if let Some(size) = size {
            pty::set_size(&master, size.width, size.height)?;
        }
        if self.log.is_none() {
            return Ok(Some(master));
        }
        pipe::set_nonblocking(&master)?;
        self.terminal = Some(master.try_clone()?);
        self.outputs.push(Output {
            fd: master,
            lines: Lines::new("stdout"),
        });
        Ok(None)
    }

    pub(super) fn resize(&self, size: TerminalSize) -> io::Result<()> {
        let terminal = self.terminal.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        pty::set_size(terminal, size.width, size.height)
    }

    pub(super) fn close_stdin(&mut self) {
        self.stdin = None;
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

    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.outputs.iter().map(|o| o.fd.as_fd())
    }

    /// Logs what the ready outputs have.
    pub(super) fn read(&mut self, ready: &[RawFd]) {
        self.read_where(|fd| ready.contains(&fd), CHUNKS_A_TURN);
    }

    /// Logs all that there is, lines without an end too. An output that something else still holds stays open.
    pub(super) fn drain(&mut self) {
        self.read_where(|_| true, CHUNKS_AT_END);
        if let Some(log) = &mut self.log {
            self.outputs.iter_mut().for_each(|o| o.lines.finish(log));
        }
        self.stdin = None;
    }

    fn read_where(&mut self, wanted: impl Fn(RawFd) -> bool, chunks: usize) {
        let Some(log) = &mut self.log else { return };
        self.outputs
            .retain_mut(|o| !wanted(o.fd.as_raw_fd()) || o.read(log, chunks));
    }
}

impl Output {
    /// Returns false at the end of the stream.
    fn read(&mut self, log: &mut Log, chunks: usize) -> bool {
        let mut chunk = [0; CHUNK];
        for _ in 0..chunks {
            match rustix::io::read(&self.fd, &mut chunk) {
                Ok(count) if count > 0 => self.lines.push(&chunk[..count], log),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return true,
                // Zero is the end of a pipe, EIO that of a terminal whose other side nobody holds.
                Ok(_) | Err(_) => {
                    self.lines.finish(log);
                    return false;
                }
            }
        }
        true
    }
}
