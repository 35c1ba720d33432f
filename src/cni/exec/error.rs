//! Why a run of a plugin did not succeed, in the plugin's words where it had any.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use serde::Deserialize;

use crate::cni::Verb;

/// How much of what a plugin wrote is repeated in an error.
const EXCERPT_MAX: usize = 512;

/// A plugin's own error (specification, section 5 "Error").
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PluginReport {
    /// The code: 1 to 99 the specification's (7 invalid configuration, 11 try again later, 50 not available), 100 and
    /// above the plugin's.
    #[serde(default)]
    pub code: u32,
    /// What happened, in short.
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

/// Returns the end of what a plugin wrote, on one line.
pub(in crate::cni) fn excerpt(bytes: &[u8]) -> String {
    let tail = &bytes[bytes.len().saturating_sub(EXCERPT_MAX)..];
    String::from_utf8_lossy(tail)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}
