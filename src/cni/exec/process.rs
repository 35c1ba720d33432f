//! A plugin while it runs: its pipes fed and read within bounds, its process group ended with it.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin};

/// The most a plugin may answer.
pub(super) const STDOUT_MAX: usize = 1 << 20;
/// How much of a plugin's log is kept: its end, where the reason stands.
const STDERR_MAX: usize = 16 << 10;
/// How long an ended plugin's output is waited for when a process it left behind still holds it open.
const DRAIN: Duration = Duration::from_secs(1);
/// How long a killed plugin is waited for: one that the kernel holds fast is reaped whenever it is let go.
pub(in crate::cni) const REAP: Duration = Duration::from_secs(2);

/// A plugin that runs, in a process group of its own.
pub(super) struct Running {
    child: Child,
    done: bool,
}

/// How a plugin ended and what it wrote.
pub(super) struct Output {
    pub(super) status: ExitStatus,
    pub(super) stdout: Kept,
    pub(super) stderr: Kept,
}

/// What was read of a pipe that may carry more than is kept.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) bytes: Vec<u8>,
    pub(super) overflowed: bool,
}

impl Running {
    pub(super) fn new(child: Child) -> Self {
        Self { child, done: false }
    }

    /// Feeds the plugin and reads it until it has ended; its output a moment longer, in case a process that outlives
    /// it holds the pipes.
    pub(super) async fn finish(&mut self, input: Vec<u8>) -> io::Result<Output> {
        let stdin = self.child.stdin.take();
        let (out, err) = (self.child.stdout.take(), self.child.stderr.take());
        let (mut stdout, mut stderr) = (Kept::default(), Kept::default());

        let status = {
            let pipes = async {
                tokio::join!(
                    feed(stdin, &input),
                    read(out, &mut stdout, STDOUT_MAX, Keep::Start),
                    read(err, &mut stderr, STDERR_MAX, Keep::End),
                )
            };
            tokio::pin!(pipes);
            let ended = tokio::select! {
                (fed, read_out, read_err) = &mut pipes => {
                    fed.and(read_out).and(read_err)?;
                    None
                }
                status = self.child.wait() => Some(status?),
            };
            match ended {
                None => self.child.wait().await?,
                Some(status) => {
                    if let Ok((fed, read_out, read_err)) = tokio::time::timeout(DRAIN, pipes).await {
                        fed.and(read_out).and(read_err)?;
                    }
                    status
                }
            }
        };
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }

    /// Kills the plugin's process group and reaps the plugin.
    pub(super) async fn kill(&mut self) {
        self.kill_group();
        // Whether it could be waited for changes nothing in what is reported: it did not end by itself.
        let _ = tokio::time::timeout(REAP, self.child.wait()).await;
        self.done = true;
    }

    fn kill_group(&self) {
        // The child is its group's leader and not reaped yet (`id` is `None` afterwards): the number is still its own.
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            // Nothing to kill is as good as killed.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.done {
            // Reaping is left to the runtime: `kill_on_drop` hands it the child.
            self.kill_group();
        }
    }
}

async fn feed(stdin: Option<ChildStdin>, input: &[u8]) -> io::Result<()> {
    let Some(mut stdin) = stdin else { return Ok(()) };
    match stdin.write_all(input).await {
        // A plugin need not read what it does not want.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

enum Keep {
    Start,
    End,
}

/// Reads `pipe` to its end and keeps at most `max` bytes; the rest is read all the same, so that the writer goes on.
async fn read(
    pipe: Option<impl AsyncRead + Unpin>,
    kept: &mut Kept,
    max: usize,
    keep: Keep,
) -> io::Result<()> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    let mut chunk = vec![0; 8 << 10];
    loop {
        let count = pipe.read(&mut chunk).await?;
        if count == 0 {
            return Ok(());
        }
        kept.bytes.extend_from_slice(&chunk[..count]);
        if let Some(excess) = kept.bytes.len().checked_sub(max).filter(|excess| *excess > 0) {
            kept.overflowed = true;
            match keep {
                Keep::Start => kept.bytes.truncate(max),
                Keep::End => drop(kept.bytes.drain(..excess)),
            }
        }
    }
}
