//! System call filters: the runtime's own default, and profiles of the user's.

use oci_spec::runtime::LinuxSeccomp;

use super::error::SpecError;

/// What a profile's conditions are judged by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The container's bounding set.
    pub capabilities: u64,
    /// Kernel version, major and minor.
    pub kernel: (u32, u32),
}

/// The runtime's default filter.
pub fn default_profile(_context: &Context) -> LinuxSeccomp {
    LinuxSeccomp::default()
}

/// Reads a profile.
///
/// # Errors
/// The text is not one.
pub fn parse(text: &str, _context: &Context) -> Result<LinuxSeccomp, SpecError> {
    serde_json::from_str(text).map_err(SpecError::Profile)
}
