//! What a container is: states, list entries, status, and the requests about them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::config::{ContainerConfig, ContainerMetadata, ImageSpec, LinuxContainerResources, Mount, Tags};
use super::json::is_zero;

/// The four states of a container. In JSON its number; absent at 0.
///
/// ```text
///  create          start           exit or kill
/// --------> Created ------> Running -----------> Exited
///              |               |                    |
///              | failed start  | its fate cannot    | remove
///              v               v be known           v
///            Exited         Unknown ----remove---> (gone)
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "i32", from = "i32")]
pub enum ContainerState {
    /// Made, its command not yet executed: 0.
    #[default]
    Created,
    /// Its command runs: 1.
    Running,
    /// Its command has ended, or could not be executed: 2.
    Exited,
    /// What became of it cannot be told: 3.
    Unknown,
}

/// The names of the states, by number (the reduced API's `ContainerStateName`).
pub const CONTAINER_STATE_NAMES: [(i32, &str); 4] = [
    (0, "CONTAINER_CREATED"),
    (1, "CONTAINER_RUNNING"),
    (2, "CONTAINER_EXITED"),
    (3, "CONTAINER_UNKNOWN"),
];

/// The number of a state's name (the reduced API's `ContainerStateValues`).
pub fn container_state_value(name: &str) -> Option<i32> {
    CONTAINER_STATE_NAMES
        .iter()
        .find(|(_, n)| *n == name)
        .map(|(value, _)| *value)
}

impl ContainerState {
    /// The state's name, as in `CONTAINER_RUNNING`.
    pub fn name(self) -> &'static str {
        CONTAINER_STATE_NAMES[i32::from(self) as usize].1
    }
}

impl From<ContainerState> for i32 {
    fn from(value: ContainerState) -> i32 {
        value as i32
    }
}

impl From<i32> for ContainerState {
    fn from(value: i32) -> ContainerState {
        match value {
            0 => ContainerState::Created,
            1 => ContainerState::Running,
            2 => ContainerState::Exited,
            _ => ContainerState::Unknown,
        }
    }
}

impl JsonSchema for ContainerState {
    fn schema_name() -> Cow<'static, str> {
        "ContainerState".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "integer",
            "enum": CONTAINER_STATE_NAMES.map(|(value, _)| value),
            "description": "0 is created, 1 running, 2 exited, 3 unknown; absent is 0.",
        })
    }
}

/// A state to filter by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerStateValue {
    /// The state.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub state: ContainerState,
}

/// A container in a list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Its id.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub id: String,
    /// Its name.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub metadata: Option<ContainerMetadata>,
    /// Its image, as the configuration named it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub image: Option<ImageSpec>,
    /// The image in use, by a name with a digest where it has one, by id otherwise.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub image_ref: String,
    /// Its state.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub state: ContainerState,
    /// When it was made, in nanoseconds since the epoch.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub created_at: i64,
    /// The configuration's labels.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub labels: BTreeMap<String, String>,
    /// Further: the image in use, by id.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub image_id: String,
    /// Further: the configuration's annotations.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub annotations: BTreeMap<String, String>,
    /// Further: the adapter's pairs.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tags: Tags,
}

/// What containers to list; every given field must match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerFilter {
    /// An id, or the beginning of one. One that is unknown, or begins several, matches nothing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub id: String,
    /// A state.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub state: Option<ContainerStateValue>,
    /// Labels the container must have.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub label_selector: BTreeMap<String, String>,
    /// Further: tags the container must have.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tag_selector: Tags,
}

/// All that can be told about one container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    /// Its id.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub id: String,
    /// Its name.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub metadata: Option<ContainerMetadata>,
    /// Its state.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub state: ContainerState,
    /// When it was made, in nanoseconds since the epoch.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub created_at: i64,
    /// When its command was executed; 0 before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub started_at: i64,
    /// When its command ended; 0 before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub finished_at: i64,
    /// Exit code, or 128 and the signal's number. Means something once `finished_at` is set.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub exit_code: i32,
    /// Its image, as the configuration named it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub image: Option<ImageSpec>,
    /// The image in use, by a name with a digest where it has one, by id otherwise.
    #[serde(default, rename = "image_Ref", skip_serializing_if = "is_zero")]
    pub image_ref: String,
    /// Why it is in this state, as one word: `Completed`, `Error`, `OOMKilled`, `StartError`, `Unknown`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reason: String,
    /// The same for a person.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub message: String,
    /// The configuration's labels.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub labels: BTreeMap<String, String>,
    /// The configuration's mounts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub mounts: Vec<Mount>,
    /// The log file.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub log_path: String,
    /// Further: the image in use, by id.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub image_id: String,
    /// Further: the configuration's annotations.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub annotations: BTreeMap<String, String>,
    /// Further: the adapter's pairs.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tags: Tags,
    /// Further: the identity its first process was started with.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub user: Option<ContainerUser>,
    /// Further: its resources, as last set.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub resources: Option<LinuxContainerResources>,
    /// Further: name of the signal that stops it, as in `SIGTERM`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stop_signal: String,
    /// Further: number of its first process on the host, while it is created or running.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pid: Option<u32>,
    /// Further: it has a terminal.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tty: bool,
    /// Further: it takes standard input.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stdin: bool,
}

/// The identity of a container's first process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerUser {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Every group, the primary one included.
    pub supplemental_groups: Vec<u32>,
}

/// Asks for a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateContainerRequest {
    /// What it is to be.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub config: Option<ContainerConfig>,
    /// Further: the id it gets; empty lets the runtime choose. An id in use is an error.
    #[serde(default, skip_serializing_if = "is_zero", rename = "containerID")]
    pub container_id: String,
}

/// Answers with the new container's id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreateContainerResponse {
    /// Its id.
    #[serde(default, rename = "containerID", skip_serializing_if = "is_zero")]
    pub container_id: String,
}

/// Asks to execute a created container's command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StartContainerRequest {
    /// Which container: its id, or the unique beginning of it.
    #[serde(default, rename = "containerID", skip_serializing_if = "is_zero")]
    pub container_id: String,
}

/// Asks to end a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StopContainerRequest {
    /// Which container: its id, or the unique beginning of it.
    #[serde(default, rename = "containerID", skip_serializing_if = "is_zero")]
    pub container_id: String,
    /// Seconds from the stop signal to SIGKILL; 0 and less kill at once.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout: i64,
}

/// Asks to remove a container, running or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemoveContainerRequest {
    /// Which container: its id, or the unique beginning of it.
    #[serde(default, rename = "containerID", skip_serializing_if = "is_zero")]
    pub container_id: String,
}

/// Asks for containers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListContainersRequest {
    /// Which ones; absent lists all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub filter: Option<ContainerFilter>,
}

/// Answers with containers, in no particular order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListContainersResponse {
    /// The containers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub containers: Vec<Container>,
}

/// Asks about one container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerStatusRequest {
    /// Which container: its id, or the unique beginning of it.
    #[serde(default, rename = "containerID", skip_serializing_if = "is_zero")]
    pub container_id: String,
    /// Asks for `info` as well.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub verbose: bool,
}

/// Answers about one container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerStatusResponse {
    /// Its status.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub status: Option<ContainerStatus>,
    /// JSON texts for debugging: `info` holds pid, effective specification and image configuration.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub info: BTreeMap<String, String>,
}

/// Asks to change a container's limits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UpdateContainerResourcesRequest {
    /// Which container: its id, or the unique beginning of it.
    #[serde(default, rename = "containerID", skip_serializing_if = "is_zero")]
    pub container_id: String,
    /// The new values; what is not specified stays.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub linux: Option<LinuxContainerResources>,
}

/// Asks to open the log file anew, after it was moved away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReopenContainerLogRequest {
    /// Which container: its id, or the unique beginning of it.
    #[serde(default, rename = "containerID", skip_serializing_if = "is_zero")]
    pub container_id: String,
}
