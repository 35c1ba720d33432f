//! A process to run, in the container's start or in an exec.

use crate::monitor::protocol::TerminalSize;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A process to run, as the last stage needs it. Ids and limits are those of the container's user namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Command and arguments; a command without a slash is looked up in the environment's `PATH`.
    pub args: Vec<String>,
    /// `NAME=value` in any bytes, complete: nothing is added.
    #[serde(with = "bytes")]
    pub env: Vec<Vec<u8>>,
    /// Absolute working directory. Made (mode 0755) for the first process when missing, an error for an exec.
    pub cwd: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups, complete.
    pub groups: Vec<u32>,
    /// Capability sets.
    pub capabilities: Capabilities,
    /// Sets `no_new_privs`.
    pub no_new_privileges: bool,
    /// Limits; a hard limit beyond the kernel's permission is lowered with a warning.
    pub rlimits: Vec<Rlimit>,
    /// Value for `/proc/self/oom_score_adj`; raised to what the kernel allows with a warning.
    pub oom_score_adj: Option<i32>,
    /// File with the compiled filter, see `monitor::seccomp`.
    pub seccomp: Option<PathBuf>,
    /// File mode mask; `None`: 022.
    pub umask: Option<u32>,
    /// AppArmor profile to change to at `execve`.
    pub apparmor: Option<String>,
    /// SELinux label to change to at `execve`.
    pub selinux: Option<String>,
    /// Paths of the container, from and to: trees that are bound once more before anything else is done. For the first
    /// process only.
    #[serde(default)]
    pub binds: Vec<(PathBuf, PathBuf)>,
    /// SELinux label for the directory of message queues. For the first process only.
    #[serde(default)]
    pub queues: Option<String>,
}

/// Capability sets as bit masks, bit `n` = capability number `n` (see `sys::caps::mask`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Upper bound of what the process and its children can ever hold.
    pub bounding: u64,
    /// Effective and permitted.
    pub effective: u64,
    /// Inheritable.
    pub inheritable: u64,
    /// Kept over `execve` by a user other than root.
    pub ambient: u64,
}

/// One resource limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// The kernel's number (`RLIMIT_*`, see `sys::rlimit::resource`).
    pub resource: u32,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// A further process for a running container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ExecRequest {
    /// What to run.
    pub process: Process,
    /// After this many milliseconds every descendant is killed; 0: never.
    pub timeout_ms: u64,
    /// Allocates a terminal inside the container; its master side comes with [`Answer::ExecStarted`](crate::monitor::protocol::Answer::ExecStarted).
    pub terminal: Option<TerminalSize>,
}

/// Strings of any bytes in JSON: as text where they are UTF-8, else as a list of numbers.
mod bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Text {
        Utf8(String),
        Other(Vec<u8>),
    }

    pub(super) fn serialize<S: Serializer>(all: &[Vec<u8>], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(all.iter().map(|one| match std::str::from_utf8(one) {
            Ok(text) => Text::Utf8(text.to_owned()),
            Err(_) => Text::Other(one.clone()),
        }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Vec<u8>>, D::Error> {
        let all = Vec::<Text>::deserialize(from)?;
        Ok(all
            .into_iter()
            .map(|one| match one {
                Text::Utf8(text) => text.into_bytes(),
                Text::Other(bytes) => bytes,
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_of_any_bytes_survives_the_message() {
        let env = vec![b"TEXT=\xc3\xa4".to_vec(), b"OTHER=\xff\x00\xfe".to_vec()];
        let process = Process {
            env: env.clone(),
            ..Process::default()
        };

        let message = serde_json::to_vec(&process).unwrap();

        assert_eq!(serde_json::from_slice::<Process>(&message).unwrap().env, env);
    }
}
