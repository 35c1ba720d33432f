//! Reading a profile of the user's: the OCI's form, and the older one of container engines, with architecture maps
//! and conditions.

use std::borrow::Cow;

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSyscall,
    LinuxSyscallBuilder,
};
use serde::{Deserialize, Deserializer};

use super::{Context, SpecError, architectures};

/// Both forms in one: the OCI's has `architectures`, the other `archMap`, and `includes` and `excludes` in a rule.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "or_empty")]
    architectures: Vec<Arch>,
    #[serde(default, deserialize_with = "or_empty")]
    arch_map: Vec<ArchMap>,
    #[serde(default, deserialize_with = "or_empty")]
    flags: Vec<LinuxSeccompFilterFlag>,
    #[serde(default, deserialize_with = "or_empty")]
    syscalls: Vec<Rule>,
    #[serde(default, deserialize_with = "or_empty")]
    listener_path: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: Arch,
    #[serde(default)]
    sub_architectures: Option<Vec<Arch>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    /// Of the oldest form, which has one call in each rule.
    #[serde(default)]
    name: String,
    #[serde(default, deserialize_with = "or_empty")]
    names: Vec<String>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<LinuxSeccompArg>>,
    #[serde(default)]
    includes: Option<Conditions>,
    #[serde(default)]
    excludes: Option<Conditions>,
}

/// When a rule counts, or does not.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Conditions {
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

/// Go writes a list that was never filled as `null`.
fn or_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

/// Reads a profile and settles its conditions for one container.
///
/// # Errors
/// The text is not a profile, or asks for a supervisor to be notified, which there is none of.
pub fn parse(text: &str, context: &Context) -> Result<LinuxSeccomp, SpecError> {
    let profile: Profile = serde_json::from_str(text).map_err(SpecError::Profile)?;
    let notifies = profile.syscalls.iter().map(|rule| rule.action);
    if notifies
        .chain([profile.default_action])
        .any(|a| a == LinuxSeccompAction::ScmpActNotify)
        || !profile.listener_path.is_empty()
    {
        return Err(SpecError::unsupported(
            "seccomp profile",
            "asks for a supervisor, there is none",
        ));
    }
    let syscalls = profile
        .syscalls
        .iter()
        .filter(|rule| rule.counts(context))
        .flat_map(Rule::settled)
        .collect();
    let mut filter = super::filter(None, profile.default_action, profile.architectures(), syscalls);
    filter.set_default_errno_ret(profile.default_errno_ret);
    filter.set_flags(Some(profile.flags).filter(|flags| !flags.is_empty()));
    Ok(filter)
}

impl Profile {
    /// Those the profile names. One that names none means the machine's and its companions.
    fn architectures(&self) -> Vec<Arch> {
        let native = architectures();
        let mapped = self
            .arch_map
            .iter()
            .find(|map| native.first() == Some(&map.architecture));
        match mapped {
            Some(map) => {
                let companions = map.sub_architectures.iter().flatten().copied();
                std::iter::once(map.architecture).chain(companions).collect()
            }
            None if self.architectures.is_empty() => native,
            None => self.architectures.clone(),
        }
    }
}

impl Rule {
    fn counts(&self, context: &Context) -> bool {
        let included = self.includes.as_ref().is_none_or(|c| c.all_hold(context));
        let excluded = self.excludes.as_ref().is_some_and(|c| c.any_holds(context));
        included && !excluded
    }

    /// The rule in the OCI's form. Conditions on the same argument become rules of their own, any of which is
    /// enough: a filter can compare an argument only once in a rule.
    fn settled(&self) -> Vec<LinuxSyscall> {
        let args = self.args.clone().unwrap_or_default();
        let mut indices: Vec<usize> = args.iter().map(LinuxSeccompArg::index).collect();
        indices.sort_unstable();
        let repeats = indices.windows(2).any(|pair| pair[0] == pair[1]);
        if repeats {
            args.into_iter().map(|arg| self.with(vec![arg])).collect()
        } else {
            vec![self.with(args)]
        }
    }

    fn with(&self, args: Vec<LinuxSeccompArg>) -> LinuxSyscall {
        let mut names = self.names.clone();
        names.extend(Some(self.name.clone()).filter(|name| !name.is_empty()));
        let mut rule = LinuxSyscallBuilder::default()
            .names(names)
            .action(self.action)
            .build()
            .expect("names and action are set");
        rule.set_errno_ret(self.errno_ret);
        rule.set_args(Some(args).filter(|a| !a.is_empty()));
        rule
    }
}

impl Conditions {
    /// Every condition that is given holds; of several architectures one is enough, of capabilities all are needed.
    fn all_hold(&self, context: &Context) -> bool {
        self.arches
            .iter()
            .flatten()
            .next()
            .is_none_or(|_| self.this_arch())
            && self.caps.iter().flatten().all(|cap| context.has(cap))
            && self.min_kernel.as_ref().is_none_or(|v| at_least(v, context))
    }

    fn any_holds(&self, context: &Context) -> bool {
        self.this_arch()
            || self.caps.iter().flatten().any(|cap| context.has(cap))
            || self.min_kernel.as_ref().is_some_and(|v| at_least(v, context))
    }

    /// Whether the machine is among the architectures, which are named as in Go.
    fn this_arch(&self) -> bool {
        let go: Cow<'_, str> = match std::env::consts::ARCH {
            "x86_64" => "amd64".into(),
            "aarch64" => "arm64".into(),
            other => other.into(),
        };
        self.arches.iter().flatten().any(|arch| *arch == go)
    }
}

/// Whether the kernel is at least this version, as in `4.8`. A malformed one is never reached.
fn at_least(version: &str, context: &Context) -> bool {
    let mut parts = version.split('.').map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => context.kernel >= (major, minor),
        (Some(Ok(major)), None) => context.kernel >= (major, 0),
        _ => false,
    }
}
