//! Interim.
use oci_spec::runtime::LinuxSeccomp;
use std::path::{Path, PathBuf};
/// Interim.
pub fn compile(_profile: &LinuxSeccomp, _dir: &Path) -> std::io::Result<PathBuf> {
    Err(std::io::Error::other("interim"))
}
