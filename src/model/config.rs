//! What a container is asked to be: configuration, mounts, devices, resources, namespaces.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::ids::{IdMapping, UserNamespace};
use super::json::is_zero;
use super::security::Security;

/// Key-value pairs that the model stores, returns and filters by, and whose meaning only the adapter knows.
pub type Tags = BTreeMap<String, String>;

/// Everything that is needed to create a container (CRI `ContainerConfig`, less the pod).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerConfig {
    /// The container's name.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub metadata: Option<ContainerMetadata>,
    /// The image: a name, a name with a digest, or an image id. It must be in the store already.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub image: Option<ImageSpec>,
    /// Replaces the image's entrypoint, and then its command as well.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub command: Vec<String>,
    /// Replaces the image's command.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub args: Vec<String>,
    /// Working directory; empty takes the image's. Made when it does not exist.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub working_dir: String,
    /// Environment, after and over the image's.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub envs: Vec<KeyValue>,
    /// Host directories and files bound into the container.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub mounts: Vec<Mount>,
    /// Host devices made available in the container.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub devices: Vec<Device>,
    /// Pairs to select containers by.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub labels: BTreeMap<String, String>,
    /// Keeps standard input open for attaching clients.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stdin: bool,
    /// Closes standard input after the first attached client has left.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stdin_once: bool,
    /// Gives the container a terminal; then stdout and stderr are one stream.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tty: bool,
    /// Settings of Linux containers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub linux: Option<LinuxContainerConfig>,
    /// Directory the log is written in. Always present in JSON.
    #[serde(default)]
    pub log_directory: String,
    /// Log file below `log_directory`; both empty: no log is kept. Always present in JSON.
    #[serde(default)]
    pub log_path: String,

    /// Further: unstructured pairs, returned as given.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub annotations: BTreeMap<String, String>,
    /// Further: pairs that the OCI configuration has beside `annotations`, which win. Returned nowhere.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub default_annotations: BTreeMap<String, String>,
    /// Further: the adapter's pairs.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tags: Tags,
    /// Further: options of the overlay that is its root, such as `volatile`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub mount_options: Vec<String>,
    /// Further: name of the signal that asks the container to end (`SIGUSR1`); empty takes the image's, then SIGTERM.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stop_signal: String,
    /// Further: devices by their full names, `vendor/class=name`, as vendors describe them (CRI `CDI_devices`).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub described_devices: Vec<String>,
    /// Further: hostname, when the container makes its own UTS namespace.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hostname: String,
}

/// The container's name, and how often it was tried before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerMetadata {
    /// Name of the container.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub name: String,
    /// Further: number of the try, from 0 (CRI `ContainerMetadata.attempt`).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempt: u32,
}

/// The name of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageSpec {
    /// A reference or an image id.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub image: String,
    /// Further: what the user wrote, where it differs from `image` (CRI `ImageSpec.user_specified_image`).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub user_specified_image: String,
    /// Further: unstructured pairs, returned as given.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub annotations: BTreeMap<String, String>,
    /// Further: what the caller keeps for a mounted image (CRI `ImageSpec.image_ref`), returned as given.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub image_ref: String,
}

impl ImageSpec {
    /// Names an image and nothing else.
    pub fn named(image: impl Into<String>) -> ImageSpec {
        ImageSpec {
            image: image.into(),
            ..ImageSpec::default()
        }
    }
}

/// One variable of the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyValue {
    /// Name.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub key: String,
    /// Value, with U+FFFD for what is not UTF-8.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub value: String,
    /// Further: the bytes of a value that is not UTF-8, which `value` cannot hold.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bytes: Vec<u8>,
}

impl KeyValue {
    /// Makes a variable of any bytes.
    pub fn new(key: impl Into<String>, value: &[u8]) -> KeyValue {
        let (value, bytes) = match std::str::from_utf8(value) {
            Ok(text) => (text.to_owned(), vec![]),
            Err(_) => (String::from_utf8_lossy(value).into_owned(), value.to_vec()),
        };
        KeyValue {
            key: key.into(),
            value,
            bytes,
        }
    }

    /// The value as it was given.
    pub fn value_bytes(&self) -> &[u8] {
        if self.bytes.is_empty() {
            self.value.as_bytes()
        } else {
            &self.bytes
        }
    }
}

/// A host path, or the files of an image, mounted in the container (CRI `Mount`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Where it appears in the container.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub container_path: String,
    /// What is bound. Must exist; a symbolic link is followed. Empty when `image` is given.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub host_path: String,
    /// Mounted read-only; mounts below it stay as they are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub readonly: bool,
    /// How mounts made later travel.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub propagation: MountPropagation,
    /// Further: read-only with every mount below it. Needs `readonly` and private propagation.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub recursive_read_only: bool,
    /// Further: asks for an SELinux label; ignored where SELinux is off.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub selinux_relabel: bool,
    /// Further: an image of the store whose files are mounted, read-only and not executable (CRI `Mount.image`). It
    /// keeps its layers while the container exists.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub image: Option<ImageSpec>,
    /// Further: the path in that image to mount instead of its root; links are followed inside it. Must exist.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub image_sub_path: String,
    /// Further: owners of its files appear in the container by these ids, and in no other way are the files changed (CRI
    /// `Mount.uidMappings`). Given with `gid_mappings`, and those of the container's user namespace; empty, owners are
    /// the host's, most of whom that namespace does not know.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uid_mappings: Vec<IdMapping>,
    /// Further: the same for groups.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gid_mappings: Vec<IdMapping>,
    /// Further: what the mount itself forbids, beside what `readonly` does (CRI `Mount.mount_options`). Mounts below it
    /// stay as they are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub flags: Vec<MountFlag>,
}

/// What a mount forbids, whatever its files allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MountFlag {
    /// Programs are not run.
    NoExec,
    /// Set-user-ID bits and file capabilities do nothing.
    NoSuid,
    /// Device nodes are not opened.
    NoDev,
}

impl MountFlag {
    /// All there are.
    pub const ALL: [MountFlag; 3] = [MountFlag::NoExec, MountFlag::NoSuid, MountFlag::NoDev];

    /// Its name, as mount(8) has it.
    pub fn name(self) -> &'static str {
        match self {
            MountFlag::NoExec => "noexec",
            MountFlag::NoSuid => "nosuid",
            MountFlag::NoDev => "nodev",
        }
    }
}

/// How mounts made later, on either side, travel to the other. In JSON its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "i32", try_from = "i32")]
pub enum MountPropagation {
    /// Not at all (`rprivate`): 0.
    #[default]
    Private,
    /// From the host into the container (`rslave`): 1.
    HostToContainer,
    /// Both ways (`rshared`): 2.
    Bidirectional,
}

impl From<MountPropagation> for i32 {
    fn from(value: MountPropagation) -> i32 {
        value as i32
    }
}

impl TryFrom<i32> for MountPropagation {
    type Error = String;

    fn try_from(value: i32) -> Result<Self, String> {
        match value {
            0 => Ok(MountPropagation::Private),
            1 => Ok(MountPropagation::HostToContainer),
            2 => Ok(MountPropagation::Bidirectional),
            other => Err(format!("unknown mount propagation {other}")),
        }
    }
}

impl JsonSchema for MountPropagation {
    fn schema_name() -> Cow<'static, str> {
        "MountPropagation".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "integer",
            "enum": [0, 1, 2],
            "description": "How mounts made later travel: 0 is not at all, 1 from the host, 2 both ways; absent is 0.",
        })
    }
}

/// A host device made available in the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Path in the container.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub container_path: String,
    /// Path on the host.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub host_path: String,
    /// Any of `r` (read), `w` (write), `m` (make the node).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub permissions: String,
}

/// Settings of Linux containers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinuxContainerConfig {
    /// Limits and weights.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub resources: Option<LinuxContainerResources>,
    /// Further: user, capabilities, profiles.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub security: Security,
    /// Further: which namespaces are made, shared with the host, or joined.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub namespaces: Namespaces,
    /// Further: a user namespace to join; absent is the host's. Every other namespace that is joined must belong to it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub user: Option<UserNamespace>,
    /// Further: parent of the container's cgroup, from the root of each hierarchy; empty takes the configured default.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cgroup_parent: String,
    /// Further: namespaced kernel parameters, for namespaces that the container makes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sysctls: BTreeMap<String, String>,
}

/// Where one namespace of a container comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Namespace {
    /// A new one, for this container alone. A new network namespace has its loopback up.
    #[default]
    New,
    /// The host's.
    Host,
    /// The one that this file stands for. Who made it is none of the model's business.
    Join(PathBuf),
}

/// The namespaces a container can choose. Mount and cgroup namespaces are always new.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Namespaces {
    /// Network.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub network: Namespace,
    /// System V IPC and POSIX message queues.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ipc: Namespace,
    /// Hostname.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uts: Namespace,
    /// Process numbers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pid: Namespace,
}

/// Limits and weights of a container; zero and empty mean "not specified" (CRI `LinuxContainerResources`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinuxContainerResources {
    /// CFS period in microseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cpu_period: i64,
    /// CFS quota in microseconds a period; -1 is no limit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cpu_quota: i64,
    /// Relative weight, 2 to 262144.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cpu_shares: i64,
    /// Memory in bytes; -1 is no limit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub memory_limit_in_bytes: i64,
    /// Score that makes the kernel's choice at global memory shortage, -1000 to 1000.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub oom_score_adj: i64,
    /// Processors, as in `0-2,7`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cpuset_cpus: String,
    /// Memory nodes, as in `0-1`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cpuset_mems: String,
    /// Limits of huge pages, one a page size.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hugepage_limits: Vec<HugepageLimit>,
    /// Further: memory and swap together, in bytes; -1 is no limit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub memory_swap_limit_in_bytes: i64,
    /// Further: cgroup v2 files by name, with their contents.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unified: BTreeMap<String, String>,
}

/// The limit of one huge page size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HugepageLimit {
    /// As in the control file's name: `2MB`, `1GB`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub page_size: String,
    /// Limit in bytes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub limit: u64,
}
