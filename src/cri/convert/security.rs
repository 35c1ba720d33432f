//! The security context of a container: who it is, what it may do, which profiles confine it.

use crate::cri::wire::v1;
use crate::model::{Capabilities, Error, GroupsPolicy, Profile, Result, Security, SelinuxLabel, User};
use crate::sys::planted;
use crate::sys::selinux::{is_level, is_part};

use super::{absolute, id, known, not_empty};

const FIELD: &str = "linux.security_context";

/// The model's security settings. A privileged container needs a sandbox that allows it.
///
/// # Errors
/// `InvalidArgument`, naming the field.
pub(super) fn security(
    from: v1::LinuxContainerSecurityContext,
    sandbox_privileged: bool,
) -> Result<Security> {
    if from.privileged && !sandbox_privileged && !planted("privileged") {
        return Err(Error::invalid(format!(
            "{FIELD}.privileged needs a privileged pod sandbox"
        )));
    }
    let label = selinux(from.selinux_options.as_ref(), &format!("{FIELD}.selinux_options"))?;
    let seccomp = seccomp(&from)?;
    let apparmor = apparmor(&from)?;
    let confined = |profile| match from.privileged {
        true => Profile::Unconfined,
        false => profile,
    };
    let policy: v1::SupplementalGroupsPolicy = known(
        from.supplemental_groups_policy,
        &format!("{FIELD}.supplemental_groups_policy"),
    )?;
    for (index, path) in from.masked_paths.iter().enumerate() {
        absolute(path, &format!("{FIELD}.masked_paths[{index}]"))?;
    }
    for (index, path) in from.readonly_paths.iter().enumerate() {
        absolute(path, &format!("{FIELD}.readonly_paths[{index}]"))?;
    }
    Ok(Security {
        privileged: from.privileged,
        without_host_devices: false,
        user: user(&from)?,
        group: group(&from)?,
        supplemental_groups: groups(&from.supplemental_groups)?,
        supplemental_groups_policy: match policy {
            v1::SupplementalGroupsPolicy::Merge => GroupsPolicy::Merge,
            v1::SupplementalGroupsPolicy::Strict => GroupsPolicy::Strict,
        },
        capabilities: capabilities(from.capabilities.unwrap_or_default())?,
        no_new_privileges: from.no_new_privs,
        readonly_rootfs: from.readonly_rootfs,
        seccomp: confined(seccomp),
        apparmor: confined(apparmor),
        masked_paths: from.masked_paths,
        readonly_paths: from.readonly_paths,
        selinux: label,
    })
}

fn user(from: &v1::LinuxContainerSecurityContext) -> Result<Option<User>> {
    match (&from.run_as_user, from.run_as_username.is_empty()) {
        (Some(_), false) => Err(Error::invalid(format!(
            "{FIELD}.run_as_username is set beside run_as_user"
        ))),
        (Some(user), true) => Ok(Some(User::Id(id(user.value, &format!("{FIELD}.run_as_user"))?))),
        (None, false) => user_name(&from.run_as_username).map(Some),
        (None, true) => Ok(None),
    }
}

/// A name as `/etc/passwd` could have it (passwd(5)).
fn user_name(name: &str) -> Result<User> {
    let odd = |c: char| c.is_control() || matches!(c, '/' | ':');
    match name.len() > 255 || matches!(name, "." | "..") || name.contains(odd) {
        true => Err(Error::invalid(format!(
            "{FIELD}.run_as_username is not the name of a user"
        ))),
        false => Ok(User::Name(name.to_owned())),
    }
}

fn group(from: &v1::LinuxContainerSecurityContext) -> Result<Option<u32>> {
    let Some(group) = &from.run_as_group else {
        return Ok(None);
    };
    if from.run_as_user.is_none() && from.run_as_username.is_empty() {
        return Err(Error::invalid(format!(
            "{FIELD}.run_as_group needs run_as_user or run_as_username"
        )));
    }
    id(group.value, &format!("{FIELD}.run_as_group")).map(Some)
}

fn groups(from: &[i64]) -> Result<Vec<u32>> {
    let field = |index| format!("{FIELD}.supplemental_groups[{index}]");
    from.iter()
        .enumerate()
        .map(|(index, group)| id(*group, &field(index)))
        .collect()
}

fn capabilities(from: v1::Capability) -> Result<Capabilities> {
    let lists = [
        (&from.add_capabilities, "add_capabilities"),
        (&from.drop_capabilities, "drop_capabilities"),
        (&from.add_ambient_capabilities, "add_ambient_capabilities"),
    ];
    for (names, list) in lists {
        for (index, name) in names.iter().enumerate() {
            not_empty(name, &format!("{FIELD}.capabilities.{list}[{index}]"))?;
        }
    }
    Ok(Capabilities {
        default: None,
        add: from.add_capabilities,
        drop: from.drop_capabilities,
        add_ambient: from.add_ambient_capabilities,
    })
}

/// The system call filter; none at all when none is named. Older clients name it in a field that is deprecated.
#[allow(deprecated, reason = "older clients set only this field")]
fn seccomp(from: &v1::LinuxContainerSecurityContext) -> Result<Profile> {
    if let Some(new) = &from.seccomp {
        return profile(new, &format!("{FIELD}.seccomp"));
    }
    match from.seccomp_profile_path.as_str() {
        "" => Ok(Profile::Unconfined),
        path => old_profile(path, &format!("{FIELD}.seccomp_profile_path")),
    }
}

/// The AppArmor profile; the runtime's own when none is named.
#[allow(deprecated, reason = "older clients set only this field")]
fn apparmor(from: &v1::LinuxContainerSecurityContext) -> Result<Profile> {
    if let Some(new) = &from.apparmor {
        return profile(new, &format!("{FIELD}.apparmor"));
    }
    match from.apparmor_profile.as_str() {
        "" => Ok(Profile::RuntimeDefault),
        name => old_profile(name, &format!("{FIELD}.apparmor_profile")),
    }
}

/// A profile by kind. The reference of a local one may have the prefix that the deprecated fields need.
pub(super) fn profile(from: &v1::SecurityProfile, field: &str) -> Result<Profile> {
    use v1::security_profile::ProfileType;
    let kind: ProfileType = known(from.profile_type, &format!("{field}.profile_type"))?;
    let reference = from.localhost_ref.trim_start_matches("localhost/");
    match kind {
        ProfileType::Localhost => {
            not_empty(reference, &format!("{field}.localhost_ref"))?;
            Ok(Profile::Localhost(reference.to_owned()))
        }
        _ if !reference.is_empty() => Err(Error::invalid(format!(
            "{field}.localhost_ref is set, but profile_type is not Localhost"
        ))),
        ProfileType::RuntimeDefault => Ok(Profile::RuntimeDefault),
        ProfileType::Unconfined => Ok(Profile::Unconfined),
    }
}

/// The parts of a label that are given; whether the node's policy knows them shows when they are used.
pub(super) fn selinux(from: Option<&v1::SeLinuxOption>, field: &str) -> Result<SelinuxLabel> {
    let Some(from) = from else {
        return Ok(SelinuxLabel::default());
    };
    let checked = |value: &String, name: &str, right: fn(&str) -> bool| match value.is_empty() || right(value)
    {
        true => Ok(value.clone()),
        false => Err(Error::invalid(format!(
            "{field}.{name} is not the {name} of a label"
        ))),
    };
    Ok(SelinuxLabel {
        user: checked(&from.user, "user", is_part)?,
        role: checked(&from.role, "role", is_part)?,
        kind: checked(&from.r#type, "type", is_part)?,
        level: checked(&from.level, "level", is_level)?,
    })
}

fn old_profile(name: &str, field: &str) -> Result<Profile> {
    match name {
        "runtime/default" | "docker/default" => Ok(Profile::RuntimeDefault),
        "unconfined" => Ok(Profile::Unconfined),
        other => match other.strip_prefix("localhost/") {
            Some(reference) if !reference.is_empty() => Ok(Profile::Localhost(reference.to_owned())),
            _ => Err(Error::invalid(format!("{field} {other} is not a profile"))),
        },
    }
}
