//! Measurements, for the calls that the pair leaves out.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::json::is_zero;

/// What one container uses (CRI `ContainerStats`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStats {
    /// The container's full id.
    pub id: String,
    /// Its processes; absent when it does not run.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub group: Option<GroupStats>,
    /// The container's writable layer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub writable_layer: Option<FilesystemUsage>,
}

/// What the processes of a control group use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupStats {
    /// When it was read, nanoseconds since the epoch.
    pub timestamp: i64,
    /// Processor time; absent where it is not accounted, as each of the others.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cpu: Option<CpuUsage>,
    /// Memory.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub memory: Option<MemoryUsage>,
    /// Processes and threads now.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tasks: Option<u64>,
    /// Time lost waiting for disks.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub io_pressure: Option<Pressure>,
}

/// Processor time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CpuUsage {
    /// Nanoseconds of all processors since the group was made.
    pub usage_core_nano_seconds: u64,
    /// Nanoseconds a second, from the last two readings; absent at the first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub usage_nano_cores: Option<u64>,
    /// Time lost waiting for a processor.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pressure: Option<Pressure>,
}

impl CpuUsage {
    /// Nanoseconds a second between two readings, each of a time and the nanoseconds used until then.
    pub fn rate(before: (i64, u64), after: (i64, u64)) -> Option<u64> {
        let elapsed = u64::try_from(after.0 - before.0).ok().filter(|ns| *ns > 0)?;
        let nanoseconds = u128::from(after.1.saturating_sub(before.1)) * 1_000_000_000;
        u64::try_from(nanoseconds / u128::from(elapsed)).ok()
    }
}

/// Memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemoryUsage {
    /// Usage without inactive file pages: what cannot be taken back easily.
    pub working_set_bytes: u64,
    /// Limit less working set; absent without a limit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub available_bytes: Option<u64>,
    /// Everything charged.
    pub usage_bytes: u64,
    /// Limit; absent without one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub limit_bytes: Option<u64>,
    /// Anonymous memory and swap cache.
    pub rss_bytes: u64,
    /// Page cache.
    pub cache_bytes: u64,
    /// Page cache that is mapped.
    pub mapped_file_bytes: u64,
    /// Minor and major page faults.
    pub page_faults: u64,
    /// Major page faults.
    pub major_page_faults: u64,
    /// Swap in use; absent where it is not accounted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub swap_usage_bytes: Option<u64>,
    /// Limit of swap alone; absent without one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub swap_limit_bytes: Option<u64>,
    /// Time lost waiting for memory.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pressure: Option<Pressure>,
}

impl MemoryUsage {
    /// Swap still free to use; absent without a limit.
    pub fn swap_available_bytes(&self) -> Option<u64> {
        let used = self.swap_usage_bytes.unwrap_or(0);
        self.swap_limit_bytes.map(|limit| limit.saturating_sub(used))
    }
}

/// Time lost waiting for a resource (the kernel's PSI).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pressure {
    /// By some of the tasks.
    pub some: Stall,
    /// By all of them at once.
    pub full: Stall,
}

/// How much time was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stall {
    /// Microseconds since the group was made.
    pub total: u64,
    /// Percent of the last ten seconds.
    pub avg10: f64,
    /// Percent of the last minute.
    pub avg60: f64,
    /// Percent of the last five minutes.
    pub avg300: f64,
}

/// Space on one file system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FilesystemUsage {
    /// When it was counted, nanoseconds since the epoch.
    pub timestamp: i64,
    /// A directory on the file system, one that outlives containers: who is told of it looks at it later.
    pub mountpoint: PathBuf,
    /// Bytes used.
    pub used_bytes: u64,
    /// Inodes used.
    pub inodes_used: u64,
}

/// Where images and containers lie, and what they take (CRI `ImageFsInfo`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageFilesystems {
    /// Image layers.
    pub images: Vec<FilesystemUsage>,
    /// Writable layers.
    pub containers: Vec<FilesystemUsage>,
}
