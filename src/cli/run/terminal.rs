//! This terminal and the container's, joined: keys go in raw, output comes out, the size follows.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::termios::{tcgetwinsize, tcsetwinsize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::cli::CliError;
use crate::cli::terminal::{RawMode, failed};

/// Bytes that are copied at once.
const PIECE: usize = 16 << 10;
/// How long output may take to come once the container has ended. Its processes are dead, so there is an end to it.
const DRAIN: Duration = Duration::from_secs(2);

/// Both terminals. This one is raw until the value is dropped.
#[derive(Debug)]
pub(super) struct Terminal {
    keys: AsyncFd<File>,
    master: AsyncFd<OwnedFd>,
    _raw: RawMode,
    /// No key comes any more.
    deaf: bool,
    /// No output comes any more.
    mute: bool,
}

impl Terminal {
    /// Joins this terminal with the one behind `master`.
    pub(super) fn attach(master: OwnedFd) -> Result<Terminal, CliError> {
        // Opened anew: non-blocking is a matter of the open file, and the one we were given is also the shell's.
        let keys = OpenOptions::new()
            .read(true)
            .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32)
            .open("/proc/self/fd/0")
            .map_err(failed)?;
        rustix::io::ioctl_fionbio(&master, true).map_err(|errno| failed(errno.into()))?;
        Ok(Terminal {
            keys: watch(keys, Interest::READABLE)?,
            master: watch(master, Interest::READABLE | Interest::WRITABLE)?,
            // Last: what cannot be watched leaves this terminal as it was.
            _raw: RawMode::begin()?,
            deaf: false,
            mute: false,
        })
    }

    /// Gives the container's terminal the size of this one.
    pub(super) fn resize(&mut self) -> Result<(), CliError> {
        let size = tcgetwinsize(io::stdin()).map_err(|errno| failed(errno.into()))?;
        tcsetwinsize(self.master.get_ref().as_fd(), size).map_err(|errno| failed(errno.into()))
    }

    /// Copies what is there, in either direction, and returns; waits if nothing is.
    async fn copy(&mut self) {
        let (mut key, mut output) = ([0; 256], [0; PIECE]);
        tokio::select! {
            count = read(&self.master, &mut output), if !self.mute => match count {
                Ok(count) if count > 0 => self.mute = show(&output[..count]).is_err(),
                // EIO: the other side has been closed by its last holder.
                _ => self.mute = true,
            },
            count = read(&self.keys, &mut key), if !self.deaf => match count {
                Ok(count) if count > 0 => self.deaf = write(&self.master, &key[..count]).await.is_err(),
                _ => self.deaf = true,
            },
            else => std::future::pending().await,
        }
    }

    /// Shows what is still to come.
    pub(super) async fn drain(&mut self) {
        self.deaf = true;
        let drained = async {
            while !self.mute {
                self.copy().await;
            }
        };
        // At the time's end nothing is to be done: what held the terminal open is dead or not ours.
        let _ = tokio::time::timeout(DRAIN, drained).await;
    }
}

/// Copies once; for ever waits without a terminal.
pub(super) async fn pump(terminal: &mut Option<Terminal>) {
    match terminal {
        Some(terminal) => terminal.copy().await,
        None => std::future::pending().await,
    }
}

fn watch<T: AsFd + AsRawFd>(fd: T, interest: Interest) -> Result<AsyncFd<T>, CliError> {
    #[expect(
        deprecated,
        reason = "an owned descriptor keeps what its unsafe successor has promised"
    )]
    AsyncFd::with_interest(fd, interest).map_err(failed)
}

async fn read(from: &AsyncFd<impl AsFd + AsRawFd>, into: &mut [u8]) -> io::Result<usize> {
    loop {
        let mut ready = from.readable().await?;
        if let Ok(result) = ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut *into)?)) {
            return result;
        }
    }
}

async fn write(to: &AsyncFd<OwnedFd>, mut from: &[u8]) -> io::Result<()> {
    while !from.is_empty() {
        let mut ready = to.writable().await?;
        if let Ok(count) = ready.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), from)?)) {
            from = &from[count?..];
        }
    }
    Ok(())
}

fn show(output: &[u8]) -> io::Result<()> {
    use std::io::Write;

    let mut out = io::stdout().lock();
    out.write_all(output)?;
    out.flush()
}
