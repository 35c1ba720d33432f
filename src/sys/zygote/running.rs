//! One process that is, or is about to be, the zygote. What it is asked is `super`'s business.

use super::{ZygoteAnswer, ZygoteOptions, ZygoteRequest};
use crate::sys::message::{self, Packet};
use crate::sys::socket;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A zygote that takes longer is stuck, and replaced. Everything asked of it takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// A zygote process, which is ended by [`Running::end`] alone.
#[derive(Debug)]
pub(super) struct Running {
    process: Child,
    socket: OwnedFd,
    is_set_up: bool,
}

impl Running {
    /// Starts a process of `image` and tells it how to set itself up. The daemon may have threads by now: `Command` spawns
    /// without running our code in the child, and the socket travels as its stdin, so no descriptor is ever inheritable by
    /// another child.
    pub(super) fn begin(image: BorrowedFd, options: &ZygoteOptions) -> io::Result<Running> {
        let (ours, theirs) = socket::pair()?;
        let mut command = Command::new(format!("/proc/self/fd/{}", image.as_raw_fd()));
        command.args(&options.arguments).env_clear().current_dir("/");
        // Debug builds only: where crash tests stop processes, see `step`.
        #[cfg(any(feature = "steps", debug_assertions))]
        {
            use crate::sys::step::VARIABLE;
            command.envs(std::env::var_os(VARIABLE).map(|value| (VARIABLE, value)));
        }
        #[cfg(feature = "planted")]
        command.envs(std::env::var_os("CORACLE_PLANTED").map(|v| ("CORACLE_PLANTED", v)));
        command
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let running = Running {
            process: command.spawn()?,
            socket: ours,
            is_set_up: false,
        };
        // It holds the other side open too, and the end of the zygote would not be seen.
        drop(command);
        let setup = Packet::new(&ZygoteRequest::Setup(options.clone()), vec![]);
        match setup.and_then(|setup| setup.send(running.socket.as_fd())) {
            Ok(()) => Ok(running),
            Err(error) => Err(running.failed(error)),
        }
    }

    /// Waits until it has set itself up; one that cannot is ended.
    pub(super) fn set_up(mut self) -> io::Result<Running> {
        if self.is_set_up {
            return Ok(self);
        }
        match self.receive() {
            Ok(ZygoteAnswer { error: None, .. }) => {
                self.is_set_up = true;
                Ok(self)
            }
            Ok(answer) => Err(self.failed(io::Error::other(answer.error.unwrap_or_default()))),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Process id.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends a request and waits for its answer.
    pub(super) fn ask(&self, request: &Packet) -> io::Result<ZygoteAnswer> {
        request.send(self.socket.as_fd())?;
        self.receive()
    }

    fn receive(&self) -> io::Result<ZygoteAnswer> {
        match message::receive_within(self.socket.as_fd(), PATIENCE)? {
            Some((answer, _)) => Ok(answer),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn failed(self, error: io::Error) -> io::Error {
        self.end();
        error
    }

    /// Makes sure that it is gone and leaves no zombie.
    pub(super) fn end(mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
