//! Who makes the cgroups of containers on this machine, and where those go whose pods name no parent.

use super::error::AppError;
use super::node::text;
use crate::config::{CgroupDriver, Config};
use crate::sys::cgroup::{self, Driver, Version};
use crate::sys::systemd;

/// What the settings come to here. Of what does not change while the machine runs: a driver must not change under pods.
///
/// # Errors
/// systemd is asked for, or is there, and cannot be used.
pub(super) fn driver(config: &Config) -> Result<Driver, AppError> {
    match config.cgroup_driver {
        CgroupDriver::Cgroupfs => return Ok(Driver::Cgroupfs),
        CgroupDriver::Auto if !systemd::is_here() => return Ok(Driver::Cgroupfs),
        CgroupDriver::Systemd if cgroup::version() == Version::V1 => return Err(AppError::DriverNeedsV2),
        CgroupDriver::Auto | CgroupDriver::Systemd => {}
    }
    systemd::reach().map_err(AppError::Driver)?;
    Ok(Driver::Systemd)
}

/// The parent of cgroups of pods that name none.
///
/// # Errors
/// It is to be a slice, and cannot be one.
pub(super) fn parent(config: &Config, driver: Driver) -> Result<String, AppError> {
    match driver {
        Driver::Cgroupfs => Ok(text(&config.cgroup_parent)),
        Driver::Systemd => slice(config).ok_or_else(|| AppError::NoSlice(config.cgroup_parent.clone())),
    }
}

/// The path of the slice that the configured parent stands for.
pub(super) fn slice(config: &Config) -> Option<String> {
    let parent = text(&config.cgroup_parent);
    let named = format!("{parent}.slice");
    let slice = systemd::slice_of(&parent).or_else(|| systemd::slice_of(&named))?;
    Some(systemd::expand(slice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_parent_stands_for_a_slice() {
        let check = |given: &str, expected: Option<&str>| {
            let config = Config {
                cgroup_parent: given.into(),
                ..Config::default()
            };
            assert_eq!(slice(&config).as_deref(), expected, "{given}");
        };

        check("/coracle", Some("/coracle.slice"));
        check("/a-b.slice", Some("/a.slice/a-b.slice"));
        check("/a.slice/a-b.slice", Some("/a.slice/a-b.slice"));
        check("/a/b", None);
    }

    #[test]
    fn systemd_is_refused_where_it_cannot_be_used() {
        let config = Config {
            cgroup_driver: CgroupDriver::Systemd,
            ..Config::default()
        };
        if systemd::is_here() {
            return;
        }

        let refusal = driver(&config).unwrap_err();

        assert!(
            matches!(refusal, AppError::DriverNeedsV2 | AppError::Driver(_)),
            "{refusal}"
        );
    }
}
