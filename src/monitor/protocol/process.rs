//! A process to run, in the container's start or in an exec.

use crate::monitor::protocol::TerminalSize;
use crate::sys::{caps, rlimit};
use oci_spec::runtime;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use thiserror::Error;

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

/// An OCI process that cannot be run as it is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProcessError {
    /// Nothing to run.
    #[error("the process has no arguments")]
    NoArguments,
    /// A limit with a name that this platform does not have.
    #[error("unknown resource limit {0}")]
    UnknownLimit(String),
}

impl Process {
    /// Takes over an OCI process (`process` of `config.json`) with the filter compiled for it. The capability sets are cut
    /// to what this process itself could pass on (`sys::caps::bounding`).
    pub fn from_oci(process: &runtime::Process, seccomp: Option<PathBuf>) -> Result<Process, ProcessError> {
        let args = process
            .args()
            .clone()
            .filter(|a| !a.is_empty())
            .ok_or(ProcessError::NoArguments)?;
        let user = process.user();
        Ok(Process {
            args,
            env: process
                .env()
                .iter()
                .flatten()
                .map(|e| e.clone().into_bytes())
                .collect(),
            cwd: process.cwd().to_string_lossy().into_owned(),
            uid: user.uid(),
            gid: user.gid(),
            groups: user.additional_gids().clone().unwrap_or_default(),
            capabilities: capabilities(process.capabilities().as_ref()),
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
            rlimits: process
                .rlimits()
                .iter()
                .flatten()
                .map(limit)
                .collect::<Result<_, _>>()?,
            oom_score_adj: process.oom_score_adj(),
            seccomp,
            umask: user.umask(),
            apparmor: process.apparmor_profile().clone(),
            selinux: process.selinux_label().clone(),
        })
    }
}

fn capabilities(sets: Option<&runtime::LinuxCapabilities>) -> Capabilities {
    let Some(sets) = sets else {
        return Capabilities::default();
    };
    let most = caps::bounding().unwrap_or(u64::MAX);
    let mask = |set: &Option<runtime::Capabilities>| {
        caps::mask(set.iter().flatten().map(|capability| capability.to_string())) & most
    };
    Capabilities {
        bounding: mask(sets.bounding()),
        effective: mask(sets.effective()) & mask(sets.permitted()),
        inheritable: mask(sets.inheritable()),
        ambient: mask(sets.ambient()),
    }
}

fn limit(limit: &runtime::PosixRlimit) -> Result<Rlimit, ProcessError> {
    let name = serde_json::to_value(limit.typ())
        .ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default();
    let resource = rlimit::resource(&name).ok_or(ProcessError::UnknownLimit(name))?;
    Ok(Rlimit {
        resource,
        soft: limit.soft(),
        hard: limit.hard(),
    })
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
    use serde_json::json;

    #[test]
    fn an_oci_process_is_taken_over_whole() {
        let oci: runtime::Process = serde_json::from_value(json!({
            "user": { "uid": 1, "gid": 2, "additionalGids": [3, 4], "umask": 63 },
            "args": ["a", "b"], "env": ["X=1"], "cwd": "/work",
            "capabilities": {
                "bounding": ["CAP_KILL", "CAP_CHOWN"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL", "CAP_CHOWN"],
                "inheritable": [], "ambient": ["CAP_CHOWN"],
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 5, "hard": 6 }],
            "noNewPrivileges": true, "oomScoreAdj": -7, "apparmorProfile": "p",
        }))
        .unwrap();

        let process = Process::from_oci(&oci, Some("/filter".into())).unwrap();

        let expected = Process {
            args: vec!["a".into(), "b".into()],
            env: vec![b"X=1".to_vec()],
            cwd: "/work".into(),
            uid: 1,
            gid: 2,
            groups: vec![3, 4],
            capabilities: Capabilities {
                bounding: 0b10_0001,
                effective: 0b10_0000,
                inheritable: 0,
                ambient: 1,
            },
            no_new_privileges: true,
            rlimits: vec![Rlimit {
                resource: 7,
                soft: 5,
                hard: 6,
            }],
            oom_score_adj: Some(-7),
            seccomp: Some("/filter".into()),
            umask: Some(63),
            apparmor: Some("p".into()),
            selinux: None,
        };
        assert_eq!(process, expected);
    }

    #[test]
    fn a_process_without_arguments_is_refused() {
        let oci: runtime::Process =
            serde_json::from_value(json!({ "user": { "uid": 0, "gid": 0 }, "args": [], "cwd": "/" }))
                .unwrap();
        assert_eq!(Process::from_oci(&oci, None), Err(ProcessError::NoArguments));
    }
}
