//! The runtime itself: version and readiness.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::json::is_zero;

/// The condition that says: the runtime is up and accepts basic containers.
pub const RUNTIME_READY: &str = "RuntimeReady";
/// The condition that says: the network is up and containers that need it are accepted.
pub const NETWORK_READY: &str = "NetworkReady";
/// The condition that says: every record of the store could be read. Containers are accepted without it too.
pub const STORE_HEALTHY: &str = "StoreHealthy";

/// Asks for the version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VersionRequest {
    /// Version of the caller's API.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: String,
}

/// Answers with the version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionResponse {
    /// Version of the kubelet's runtime API.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: String,
    /// Name of the runtime.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub runtime_name: String,
    /// Version of the runtime, by semantic versioning.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub runtime_version: String,
    /// Version of the runtime's API.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub runtime_api_version: String,
}

/// Asks for readiness.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusRequest {
    /// Asks for `info` as well.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub verbose: bool,
}

/// Answers with conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusResponse {
    /// The conditions. In JSON `status`.
    #[serde(default, rename = "status", skip_serializing_if = "is_zero")]
    pub conditions: Vec<RuntimeCondition>,
    /// Further: JSON texts for debugging, when asked for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub info: std::collections::BTreeMap<String, String>,
}

/// Whether something that containers need is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RuntimeCondition {
    /// Which one: [`RUNTIME_READY`], [`NETWORK_READY`] or another. In JSON `type`.
    #[serde(default, rename = "type", skip_serializing_if = "is_zero")]
    pub kind: String,
    /// Whether it holds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub status: bool,
    /// Why not, as one word.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reason: String,
    /// Why not, for a person.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub message: String,
}
