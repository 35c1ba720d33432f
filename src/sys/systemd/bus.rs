//! A connection to the service manager itself, without a bus between: the socket that `systemctl` uses as root. No name
//! is asked for and no signal subscribed to: who is connected here hears them all.

use crate::sys::systemd::SystemdError;
use crate::sys::systemd::wire::{self, FIXED, Message, Method, Writer};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// The largest message that is taken. Ours are far smaller, and larger ones are not for us.
const LARGEST: usize = 1 << 20;
/// The manager does one thing at a time; a machine that is busy starting services keeps it for seconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A connection, for as long as one piece of work takes: there is nothing to mend when the manager executes itself anew.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    until: Instant,
    /// Signals that came before an answer.
    signals: Vec<Message>,
}

impl Bus {
    /// Connects, and says who we are. In one piece: the manager does not look at a first call that comes together with
    /// `BEGIN` before something else comes. All of the work is to be done within `patience`.
    pub(super) fn connect(path: &Path, patience: Duration) -> io::Result<Bus> {
        let mut bus = Bus {
            stream: UnixStream::connect(path)?,
            serial: 0,
            until: Instant::now() + patience,
            signals: vec![],
        };
        let uid = rustix::process::getuid().as_raw().to_string();
        let uid: String = uid.bytes().map(|byte| format!("{byte:02x}")).collect();
        bus.stream.set_write_timeout(Some(PATIENCE))?;
        bus.stream
            .write_all(format!("\0AUTH EXTERNAL {uid}\r\nBEGIN\r\n").as_bytes())?;
        let answer = bus.line()?;
        if !answer.starts_with("OK ") {
            let refusal = format!("refused us: {}", answer.trim_end());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, refusal));
        }
        Ok(bus)
    }

    /// Calls a method and returns its answer.
    pub(super) fn call(&mut self, method: Method<'_>, arguments: Writer) -> Result<Message, SystemdError> {
        self.serial += 1;
        let bytes = wire::call(self.serial, method, arguments);
        self.stream.write_all(&bytes).map_err(SystemdError::Unreachable)?;
        loop {
            let message = self.receive()?;
            match message.kind {
                wire::SIGNAL => self.signals.push(message),
                wire::RETURN if message.answers == self.serial => return Ok(message),
                wire::ERROR if message.answers == self.serial => {
                    return Err(SystemdError::Refused {
                        name: message.error,
                        text: message.texts.into_iter().next().unwrap_or_default(),
                    });
                }
                _ => {}
            }
        }
    }

    /// Waits for a signal.
    pub(super) fn signal(&mut self, is_it: impl Fn(&Message) -> bool) -> Result<Message, SystemdError> {
        loop {
            if let Some(at) = self.signals.iter().position(&is_it) {
                return Ok(self.signals.swap_remove(at));
            }
            self.signals.clear();
            let message = self.receive()?;
            self.signals
                .extend((message.kind == wire::SIGNAL).then_some(message));
        }
    }

    fn receive(&mut self) -> Result<Message, SystemdError> {
        self.message().map_err(SystemdError::Unreachable)
    }

    fn message(&mut self) -> io::Result<Message> {
        let mut bytes = vec![0; FIXED];
        self.fill(&mut bytes)?;
        let fixed: &[u8; FIXED] = bytes.first_chunk().ok_or(io::ErrorKind::InvalidData)?;
        let (fields, body) = wire::lengths(fixed)?;
        if fields > LARGEST || body > LARGEST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        bytes.resize((FIXED + fields).next_multiple_of(8) + body, 0);
        self.fill(&mut bytes[FIXED..])?;
        wire::parse(&bytes)
    }

    /// A line of the greeting, byte by byte: what comes after it is another's to read.
    fn line(&mut self) -> io::Result<String> {
        let mut line = vec![];
        while !line.ends_with(b"\r\n") && line.len() < 512 {
            let mut byte = [0];
            self.fill(&mut byte)?;
            line.extend(byte);
        }
        String::from_utf8(line).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    fn fill(&mut self, mut bytes: &mut [u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => bytes = &mut bytes[count..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
