//! Requests and answers that the model has no types for: those of its narrow traits, and what a command wrote.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{ContainerFilter, ContainerStats};

/// Answers that it is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Empty {}

/// Asks what one container uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerStatsRequest {
    /// Which container: its id, or the unique beginning of it.
    #[serde(default, rename = "containerID")]
    pub container_id: String,
}

/// Answers what one container uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerStatsResponse {
    /// What it uses.
    pub stats: ContainerStats,
}

/// Asks what containers use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListContainerStatsRequest {
    /// Which ones; absent measures all that run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<ContainerFilter>,
}

/// Answers what containers use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListContainerStatsResponse {
    /// Of each what it uses, in no particular order.
    #[serde(default)]
    pub stats: Vec<ContainerStats>,
}

/// Asks where images lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageFsInfoRequest {}

/// Answers when a command has ended: the reduced API's `ExecResponse`, and what the command wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ExecOutput {
    /// The container's full id.
    #[serde(rename = "ContainerID")]
    pub container_id: String,
    /// The command's exit code, or 128 and the signal's number.
    pub exit_code: i32,
    /// Standard output, with U+FFFD for what is not UTF-8.
    #[serde(default)]
    pub stdout: String,
    /// Standard error, with U+FFFD for what is not UTF-8.
    #[serde(default)]
    pub stderr: String,
    /// Standard output in base64, when it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout_base64: Option<String>,
    /// Standard error in base64, when it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr_base64: Option<String>,
    /// A stream was longer than an answer has room for: its end is left out.
    #[serde(default)]
    pub truncated: bool,
}
