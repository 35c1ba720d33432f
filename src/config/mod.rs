//! Settings: built-in defaults, then `config.toml`, then its drop-ins, then the command line.
//!
//! Every key is documented once, on its field in [`settings`]; `config dump` and the reference in
//! `docs/configuration.md` are made from that text. Reading files is [`load`]'s, printing [`render`]'s.

mod changes;
mod defaults;
mod load;
mod render;
mod settings;
mod validate;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use changes::{Changes, changes};
pub use load::{DEFAULT_FILE, Files, Overrides, load};
pub use render::dump;
pub use settings::{
    CgroupDriver, Cni, Config, Containers, Handler, Key, Log, LogFormat, LogLevel, Registry, Streaming,
};

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file could not be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A file is not TOML, or a key has a value of the wrong type.
    #[error("cannot parse {}", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: toml::de::Error,
    },
    /// A file has keys that no part of the program reads.
    #[error("unknown keys in {}: {}", .path.display(), .keys.join(", "))]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The keys, each with a suggestion where one is near.
        keys: Vec<String>,
    },
    /// A value cannot be used.
    #[error("{key} {reason}")]
    Invalid {
        /// The key, dotted.
        key: String,
        /// What it must be, and what it is.
        reason: String,
    },
}
