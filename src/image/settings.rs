//! What the operator decides about images.

use std::path::PathBuf;
use std::time::Duration;

/// The settings of the image store and its registries.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Directory of everything: layers, writable layers, unfinished work. Made when it does not exist, mode 0700.
    pub root: PathBuf,
    /// Directory of per-registry settings: `<dir>/<host>/hosts.toml`, read again at each pull. May not exist.
    pub registry_config_dir: PathBuf,
    /// Credentials in docker's `config.json` layout, read again at each pull.
    pub auth_file: Option<PathBuf>,
    /// What to choose from an image index.
    pub platform: Platform,
    /// Names or patterns (a final `*`) of images reported as pinned.
    pub pinned: Vec<String>,
    /// Layers of one image downloaded and unpacked at a time.
    pub concurrent_layers: usize,
    /// Inflated bytes that one layer may have.
    pub max_layer_bytes: u64,
    /// Entries that one layer may have.
    pub max_layer_entries: u64,
    /// Names in a path of a layer, one below the other.
    pub max_layer_depth: usize,
    /// How many times larger one layer may be inflated than packed; 0 is no limit.
    pub max_layer_ratio: u64,
    /// Largest manifest, index or configuration.
    pub max_document_bytes: u64,
    /// A pull that receives nothing for so long fails.
    pub progress_timeout: Duration,
    /// A pull that nobody waits for any more ends after so long.
    pub abandoned_pull_grace: Duration,
    /// The least time between two counts of one writable layer.
    pub usage_interval: Duration,
}

impl Settings {
    /// Settings below `root`, with defaults for all else.
    pub fn at(root: impl Into<PathBuf>) -> Settings {
        Settings {
            root: root.into(),
            registry_config_dir: PathBuf::from("/etc/coracle/certs.d"),
            auth_file: None,
            platform: Platform::current(),
            pinned: Vec::new(),
            concurrent_layers: std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 6)),
            max_layer_bytes: 64 << 30,
            max_layer_entries: 4_000_000,
            max_layer_depth: 256,
            max_layer_ratio: 1100,
            max_document_bytes: 4 << 20,
            progress_timeout: Duration::from_secs(60),
            abandoned_pull_grace: Duration::from_secs(30),
            usage_interval: Duration::from_secs(10),
        }
    }
}

/// A platform, in the words of the OCI image index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// As Go names it: `amd64`, `arm64`.
    pub architecture: String,
    /// `v8`, `v7`; empty takes the architecture's usual one.
    pub variant: String,
}

impl Platform {
    /// The platform this program was built for.
    pub fn current() -> Platform {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "x86" => ("386", ""),
            "aarch64" => ("arm64", "v8"),
            "arm" => ("arm", "v7"),
            "powerpc64" => ("ppc64le", ""),
            "loongarch64" => ("loong64", ""),
            other => (other, ""),
        };
        Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        }
    }
}
