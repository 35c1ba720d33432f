//! Where things are on the node: paths as the node has them, below the directory that the node's root is seen at.

use std::path::{Path, PathBuf};

/// Versions of the program, one directory each, and the link to the one in use.
pub(super) const HOME: &str = "/opt/coracle";
/// The program, whichever version is in use.
pub(super) const PROGRAM: &str = "/opt/coracle/current/coracle";
/// The program on everybody's path.
pub(super) const COMMAND: &str = "/usr/local/bin/coracle";
/// Settings that the installation brings; the main file beside is the operator's.
pub(super) const SETTINGS: &str = "/etc/coracle/config.toml.d/50-node.toml";
/// What this command remembers.
pub(super) const MEMORY: &str = "/var/lib/coracle-node";
/// The daemon's unit, and the directory of units.
pub(super) const UNIT: &str = "coracle.service";
pub(super) const UNITS: &str = "/etc/systemd/system";

/// The node's root directory: `/`, or where a container sees it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    root: PathBuf,
}

impl Place {
    pub(super) fn new(root: &Path) -> Place {
        Place {
            root: root.to_owned(),
        }
    }

    /// Whether this is the root of this process.
    pub(super) fn is_here(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where this process finds what is at `path` on the node.
    pub(super) fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// Where a unit's file belongs.
pub(super) fn unit_file(unit: &str) -> String {
    format!("{UNITS}/{unit}")
}
