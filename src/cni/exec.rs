//! One run of one plugin (CNI specification, section 2): its environment, standard input and output, its deadline
//! and its error. What is asked of it, and in which order, is left to the callers.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::Instant;
use tracing::Instrument as _;

mod error;
mod process;

pub(super) use error::excerpt;
pub use error::{ExecError, PluginReport};

use crate::sys::step;
use crate::telemetry::{self, Stage, traces};
pub(super) use process::REAP;
use process::{Output, Running};

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
        let (started, _underway) = (Instant::now(), telemetry::begin(Stage::Plugin));
        let span = traces::part(
            "plugin",
            &[("cni.plugin", plugin), ("cni.verb", self.verb.as_str())],
        );
        let ran = self.run(started, plugin, config).instrument(span).await;
        telemetry::plugin_ended(self.verb.as_str(), ran.is_ok(), started.elapsed());
        ran
    }

    async fn run(&self, started: Instant, plugin: &str, config: &Value) -> Result<Vec<u8>, ExecError> {
        let file = self.path.find(plugin)?;
        let mut running = self.spawn(plugin, &file).await?;
        let input = serde_json::to_vec(config).expect("a JSON value has string keys");

        let finished = tokio::time::timeout_at(self.deadline, running.finish(input)).await;
        let Ok(finished) = finished else {
            running.kill().await;
            return Err(ExecError::Deadline {
                plugin: plugin.to_owned(),
                verb: self.verb,
                after: started.elapsed(),
            });
        };
        let output = match finished {
            Ok(output) => output,
            Err(error) => {
                running.kill().await;
                return Err(ExecError::Io {
                    plugin: plugin.to_owned(),
                    verb: self.verb,
                    source: error,
                });
            }
        };
        step("network.plugin.ran");
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
            step("network.plugin");
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
        step("network.plugin.runs");
        Ok(Running::new(child))
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

#[cfg(test)]
mod tests;
