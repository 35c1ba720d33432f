//! Measurements, for the calls that the pair leaves out.

use std::path::PathBuf;

/// What one container uses (CRI `ContainerStats`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerStats {
    /// The container's full id.
    pub id: String,
    /// Processor time; absent when the container does not run.
    pub cpu: Option<CpuUsage>,
    /// Memory; absent when the container does not run.
    pub memory: Option<MemoryUsage>,
    /// The container's writable layer.
    pub writable_layer: Option<FilesystemUsage>,
    /// Processes now in the container.
    pub processes: Option<u64>,
}

/// Processor time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuUsage {
    /// When it was read, nanoseconds since the epoch.
    pub timestamp: i64,
    /// Nanoseconds of all processors since the container was made.
    pub usage_core_nano_seconds: u64,
    /// Nanoseconds a second, from the last two readings; absent at the first.
    pub usage_nano_cores: Option<u64>,
}

/// Memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// When it was read, nanoseconds since the epoch.
    pub timestamp: i64,
    /// Usage without inactive file pages: what cannot be taken back easily.
    pub working_set_bytes: u64,
    /// Limit less working set; absent without a limit.
    pub available_bytes: Option<u64>,
    /// Everything charged.
    pub usage_bytes: u64,
    /// Anonymous memory and swap cache.
    pub rss_bytes: u64,
    /// Minor and major page faults.
    pub page_faults: u64,
    /// Major page faults.
    pub major_page_faults: u64,
    /// Swap in use; absent where it is not accounted.
    pub swap_usage_bytes: Option<u64>,
    /// Swap still free to use; absent without a limit.
    pub swap_available_bytes: Option<u64>,
}

/// Space on one file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesystemUsage {
    /// When it was counted, nanoseconds since the epoch.
    pub timestamp: i64,
    /// A directory on the file system.
    pub mountpoint: PathBuf,
    /// Bytes used.
    pub used_bytes: u64,
    /// Inodes used.
    pub inodes_used: u64,
}

/// Where images and containers lie, and what they take (CRI `ImageFsInfo`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageFilesystems {
    /// Image layers.
    pub images: Vec<FilesystemUsage>,
    /// Writable layers.
    pub containers: Vec<FilesystemUsage>,
}
