//! Interim.
use std::path::{Path, PathBuf};
use oci_spec::runtime::LinuxSeccomp;
/// Interim.
pub fn compile(_profile: &LinuxSeccomp, _dir: &Path) -> std::io::Result<PathBuf> {
    Err(std::io::Error::other("interim"))
}
