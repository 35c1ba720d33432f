//! One run of one plugin (CNI specification, section 2): its environment, standard input and output, its deadline
//! and its error. What is asked of it, and in which order, is left to the callers.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::Instant;

/// The most a plugin may answer.
const STDOUT_MAX: usize = 1 << 20;
/// How much of a plugin's log is kept: its end, where the reason stands.
const STDERR_MAX: usize = 16 << 10;
/// How much of what a plugin wrote is repeated in an error.
const EXCERPT_MAX: usize = 512;
/// How long an ended plugin's output is waited for when a process it left behind still holds it open.
const DRAIN: Duration = Duration::from_secs(1);
/// How often, and after what pause, a plugin is tried that is being written at this moment.
const BUSY_TRIES: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// Variables of this process that speak to its own supervisor and mean nothing to a plugin.
const PRIVATE: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
];

/// What a plugin is asked to do: `CNI_COMMAND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as the specification has them")]
pub enum Verb {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

impl Verb {
    fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The directories plugins are found in, first match first.
#[derive(Clone, Debug)]
pub(super) struct PluginPath {
    dirs: Vec<PathBuf>,
}

impl PluginPath {
    pub(super) fn new(dirs: Vec<PathBuf>) -> Self {
        Self { dirs }
    }

    /// Returns where the plugin's executable is.
    pub(super) fn find(&self, plugin: &str) -> Result<PathBuf, ExecError> {
        let executable = |path: &PathBuf| {
            std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        };
        self.dirs
            .iter()
            .map(|dir| dir.join(plugin))
            .find(executable)
            .ok_or_else(|| ExecError::NotFound {
                plugin: plugin.to_owned(),
                searched: self
                    .dirs
                    .iter()
                    .map(|dir| dir.display().to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }

    /// Returns the directories as `CNI_PATH` has them.
    fn joined(&self) -> OsString {
        let mut joined = OsString::new();
        for (index, dir) in self.dirs.iter().enumerate() {
            if index > 0 {
                joined.push(":");
            }
            joined.push(dir);
        }
        joined
    }
}

/// What the plugins of one operation share: the specification wants the same environment for each.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) verb: Verb,
    pub(super) path: &'a PluginPath,
    /// `CNI_CONTAINERID`, `CNI_IFNAME`, `CNI_NETNS` and `CNI_ARGS`, for the verbs that are about an attachment.
    pub(super) subject: Option<Subject<'a>>,
    /// When a plugin still running is killed.
    pub(super) deadline: Instant,
}

/// The attachment an operation is about.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    pub(super) id: &'a str,
    pub(super) ifname: &'a str,
    /// `None` when the namespace is gone: plugins then get an empty `CNI_NETNS`.
    pub(super) netns: Option<&'a Path>,
    /// Joined already.
    pub(super) args: &'a str,
}

impl Run<'_> {
    /// Runs `plugin` with `config` on its standard input and returns what it wrote to its standard output.
    ///
    /// Cancel safety: dropping the future kills the plugin and what it started.
    ///
    /// # Errors
    ///
    /// [`ExecError`], of which `Reported` is the plugin's own.
    pub(super) async fn plugin(&self, plugin: &str, config: &Value) -> Result<Vec<u8>, ExecError> {
        let started = Instant::now();
        let file = self.path.find(plugin)?;
        let mut running = self.spawn(plugin, &file).await?;
        let input = serde_json::to_vec(config).expect("a JSON value has string keys");

        let finished = tokio::time::timeout_at(self.deadline, running.finish(input)).await;
        let run_failed = |source| ExecError::Io {
            plugin: plugin.to_owned(),
            verb: self.verb,
            source,
        };
        let Ok(finished) = finished else {
            running.kill().await.map_err(run_failed)?;
            return Err(ExecError::Deadline {
                plugin: plugin.to_owned(),
                verb: self.verb,
                after: started.elapsed(),
            });
        };
        let output = match finished {
            Ok(output) => output,
            Err(error) => {
                running.kill().await.map_err(run_failed)?;
                return Err(run_failed(error));
            }
        };
        running.done = true;
        tracing::debug!(plugin, verb = %self.verb, elapsed = ?started.elapsed(), status = %output.status, "plugin ran");
        self.judge(plugin, output)
    }

    async fn spawn(&self, plugin: &str, file: &Path) -> Result<Running, ExecError> {
        let mut command = Command::new(file);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .current_dir("/")
            .process_group(0)
            .kill_on_drop(true);
        self.set_environment(&mut command);

        let mut tries = 0;
        let child = loop {
            tries += 1;
            match command.spawn() {
                Ok(child) => break child,
                // A node's network agent replaces its plugins while they are in use.
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES => {
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                Err(source) => {
                    let (plugin, path) = (plugin.to_owned(), file.to_owned());
                    return Err(ExecError::Spawn { plugin, path, source });
                }
            }
        };
        Ok(Running { child, done: false })
    }

    fn set_environment(&self, command: &mut Command) {
        for name in PRIVATE {
            command.env_remove(name);
        }
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"CNI_") {
                command.env_remove(name);
            }
        }
        if std::env::var_os("PATH").is_none() {
            command.env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            );
        }
        command
            .env("CNI_COMMAND", self.verb.as_str())
            .env("CNI_PATH", self.path.joined());
        if let Some(subject) = &self.subject {
            command
                .env("CNI_CONTAINERID", subject.id)
                .env("CNI_IFNAME", subject.ifname)
                .env("CNI_NETNS", subject.netns.unwrap_or(Path::new("")))
                .env("CNI_ARGS", subject.args);
        }
    }

    /// Reads success or the plugin's error from how it ended (specification, section 5 "Error").
    fn judge(&self, plugin: &str, output: Output) -> Result<Vec<u8>, ExecError> {
        let (plugin, verb) = (plugin.to_owned(), self.verb);
        if output.stdout.overflowed {
            return Err(ExecError::TooLong { plugin, verb });
        }
        if output.status.success() {
            return Ok(output.stdout.bytes);
        }
        match serde_json::from_slice::<PluginReport>(&output.stdout.bytes) {
            Ok(report) => Err(ExecError::Reported { plugin, verb, report }),
            Err(_) => Err(ExecError::Garbage {
                plugin,
                verb,
                status: output.status,
                stdout: excerpt(&output.stdout.bytes),
                stderr: excerpt(&output.stderr.bytes),
            }),
        }
    }
}

/// A plugin that runs, in a process group of its own.
struct Running {
    child: Child,
    done: bool,
}

struct Output {
    status: ExitStatus,
    stdout: Kept,
    stderr: Kept,
}

/// What was read of a pipe that may carry more than is kept.
#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    overflowed: bool,
}

impl Running {
    /// Feeds the plugin and reads it until it has ended; its output a moment longer, in case a process that outlives
    /// it holds the pipes.
    async fn finish(&mut self, input: Vec<u8>) -> io::Result<Output> {
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
    async fn kill(&mut self) -> io::Result<()> {
        self.kill_group();
        self.done = true;
        self.child.wait().await.map(drop)
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

/// Returns the end of what a plugin wrote, on one line.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    let tail = &bytes[bytes.len().saturating_sub(EXCERPT_MAX)..];
    String::from_utf8_lossy(tail)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// A plugin's own error (specification, section 5 "Error").
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PluginReport {
    /// The code: 1 to 99 the specification's (7 invalid configuration, 11 try again later, 50 not available), 100 and
    /// above the plugin's.
    pub code: u32,
    /// What happened, in short.
    #[serde(default)]
    pub msg: String,
    /// What happened, at length.
    #[serde(default)]
    pub details: String,
}

impl fmt::Display for PluginReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.msg.trim(), self.code)?;
        if !self.details.is_empty() {
            write!(f, ": {}", self.details.trim())?;
        }
        Ok(())
    }
}

/// Why a run of a plugin did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// None of the directories has it.
    #[error("plugin {plugin} is in none of {searched}")]
    NotFound {
        /// The plugin's type.
        plugin: String,
        /// The directories.
        searched: String,
    },
    /// It could not be started.
    #[error("cannot start plugin {path}", path = path.display())]
    Spawn {
        /// The plugin's type.
        plugin: String,
        /// Its file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its pipes or its end could not be followed.
    #[error("cannot follow {verb} by plugin {plugin}")]
    Io {
        /// The plugin's type.
        plugin: String,
        /// What it was doing.
        verb: Verb,
        /// Why.
        source: io::Error,
    },
    /// It took too long, and was killed.
    #[error("plugin {plugin} was killed after {after:.1?} of {verb}")]
    Deadline {
        /// The plugin's type.
        plugin: String,
        /// What it was doing.
        verb: Verb,
        /// How long it ran.
        after: Duration,
    },
    /// It refused and said why.
    #[error("plugin {plugin} refused {verb}: {report}")]
    Reported {
        /// The plugin's type.
        plugin: String,
        /// What it was to do.
        verb: Verb,
        /// Its words.
        report: PluginReport,
    },
    /// It failed and what it wrote is not an error of the specification.
    #[error(
        "plugin {plugin} ended {verb} with {status} and no readable error; it wrote {stdout:?}, and logged {stderr:?}"
    )]
    Garbage {
        /// The plugin's type.
        plugin: String,
        /// What it was doing.
        verb: Verb,
        /// How it ended.
        status: ExitStatus,
        /// The end of its output.
        stdout: String,
        /// The end of its log.
        stderr: String,
    },
    /// It wrote more than any answer has.
    #[error("plugin {plugin} answered {verb} with more than 1 MiB")]
    TooLong {
        /// The plugin's type.
        plugin: String,
        /// What it was doing.
        verb: Verb,
    },
}

#[cfg(test)]
mod tests;
