//! Pure functions between the wire and the model, both ways. Each request is decoded whole, and refused with the name
//! of the field that is wrong, before anything is done.

mod container;
mod filter;
mod image;
mod mounts;
mod resources;
mod sandbox;
mod security;
mod signal;
mod stats;
mod status;
mod user;

#[cfg(test)]
mod tests;

pub(super) use container::{PidSource, container, metadata, pid_source};
pub(super) use filter::{container_filter, sandbox_matches, sandbox_state_filter, stats_filter};
pub(super) use image::{auth, filesystem, image, image_spec, required_image};
pub(super) use resources::resources;
pub(super) use sandbox::{cgroup_parent, pod_resources, sandbox, sandbox_status, sandbox_written};
pub(super) use stats::{container_stats, network, sandbox_stats, together};
pub use status::owner;
pub(super) use status::{added_mounts, container_status, container_written};

use crate::model::{Error, Result};

/// The tag with the container's name.
pub(super) const NAME_TAG: &str = "cri.name";
/// The tag with the number of the try.
pub(super) const ATTEMPT_TAG: &str = "cri.attempt";
/// The tag that says how many mounts, the first ones, are the adapter's and not the request's.
const ADDED_MOUNTS_TAG: &str = "cri.added-mounts";

/// A required field.
fn required<T>(value: Option<T>, field: &str) -> Result<T> {
    value.ok_or_else(|| Error::invalid(format!("{field} is missing")))
}

/// A field that must say something.
pub(super) fn not_empty(value: &str, field: &str) -> Result<()> {
    match value.is_empty() {
        true => Err(Error::invalid(format!("{field} is empty"))),
        false => Ok(()),
    }
}

/// A name that becomes a file's name, a plugin's argument, or a part of a key.
fn name(value: &str, field: &str) -> Result<()> {
    not_empty(value, field)?;
    if value.len() > 253 {
        return Err(Error::invalid(format!("{field} is longer than 253 bytes")));
    }
    match value.chars().find(|c| *c == '/' || *c == ';' || c.is_control()) {
        Some(odd) => Err(Error::invalid(format!("{field} contains {odd:?}"))),
        None => Ok(()),
    }
}

/// An absolute path.
fn absolute(value: &str, field: &str) -> Result<()> {
    not_empty(value, field)?;
    if !value.starts_with('/') {
        return Err(Error::invalid(format!("{field} {value} is not absolute")));
    }
    no_nul(value, field)
}

/// Whether a path, or a name in it, is longer than file systems take (limits.h: PATH_MAX, NAME_MAX), with room for
/// what goes before it.
fn too_long(path: &str) -> bool {
    path.len() > 3072 || path.split('/').any(|name| name.len() > 255)
}

fn no_nul(value: &str, field: &str) -> Result<()> {
    match value.contains('\0') {
        true => Err(Error::invalid(format!("{field} contains a NUL byte"))),
        false => Ok(()),
    }
}

/// A number of one of the wire's enumerations.
fn known<T: TryFrom<i32>>(value: i32, field: &str) -> Result<T> {
    T::try_from(value).map_err(|_| Error::invalid(format!("{field} has unknown value {value}")))
}

/// A user or group number.
fn id(value: i64, field: &str) -> Result<u32> {
    // The highest number means "unchanged" to setresuid(2).
    match u32::try_from(value) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err(Error::invalid(format!("{field} {value} is out of range"))),
    }
}
