//! System call filters: the runtime's own default, and profiles of the user's.
//!
//! The default allows what ordinary programs use, refuses (`EPERM`) what is known and dangerous, and says of
//! everything else, above all of calls newer than the tables, that it does not exist (`ENOSYS`): programs then fall
//! back to an older call, where `EPERM` would make them fail. What a capability grants anyway is allowed together
//! with the capability.
//!
//! A filter here is data; compiling and loading it is left to others. Equal inputs give equal filters, in the same
//! order, so that compiled ones can be kept by their text.

mod calls;
mod profile;

#[cfg(test)]
mod published;
#[cfg(test)]
mod tests;

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompOperator,
    LinuxSyscall, LinuxSyscallBuilder,
};

use super::capabilities;
use super::error::SpecError;

pub use profile::parse;

/// Clone flags that make namespaces: mount, cgroup, UTS, IPC, user, PID, network.
const NAMESPACE_FLAGS: [u64; 7] = [
    0x0002_0000,
    0x0200_0000,
    0x0400_0000,
    0x0800_0000,
    0x1000_0000,
    0x2000_0000,
    0x4000_0000,
];
/// Execution domains without privilege: Linux, Linux with 32-bit uname (`UNAME26`, `PER_LINUX32`), both, and asking.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x0002_0000, 0x0002_0008, 0xffff_ffff];
/// Address families that no container has: the kernel's cryptography, a surface that others than containers need (what
/// copy.fail went through), and virtual machine sockets, which reach the hypervisor past every network namespace.
const AF_ALG: u64 = 38;
const AF_VSOCK: u64 = 40;

/// What a profile's conditions are judged by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The container's bounding set.
    pub capabilities: u64,
    /// Kernel version, major and minor.
    pub kernel: (u32, u32),
}

impl Context {
    /// Whether the container has a capability, by name.
    fn has(&self, name: &str) -> bool {
        capabilities::mask([name]).is_ok_and(|mask| self.capabilities & mask != 0)
    }
}

/// The runtime's default filter.
pub fn default_profile(context: &Context) -> LinuxSeccomp {
    let mut allowed: Vec<&str> = calls::ALLOWED.iter().flat_map(|group| words(group)).collect();
    let mut refused: Vec<&str> = words(calls::REFUSED).collect();
    // Before 4.8 a tracer could change the call after the filter had looked at it.
    let traceable = context.kernel >= (4, 8) || context.has("SYS_PTRACE");
    choose(traceable, words(calls::TRACING), &mut allowed, &mut refused);
    for (capabilities, gated) in calls::GATED {
        let granted = capabilities.iter().any(|c| context.has(c));
        choose(granted, words(gated), &mut allowed, &mut refused);
    }
    // A call may stand behind several capabilities: one is enough.
    refused.retain(|name| !allowed.contains(name));

    let mut rules = vec![
        rule(allowed, LinuxSeccompAction::ScmpActAllow, None, vec![]),
        rule(
            refused,
            LinuxSeccompAction::ScmpActErrno,
            Some(libc::EPERM),
            vec![],
        ),
    ];
    rules.extend(conditional(context));
    filter(
        Some(libc::ENOSYS),
        LinuxSeccompAction::ScmpActErrno,
        architectures(),
        rules,
    )
}

fn choose<'a>(
    granted: bool,
    names: impl Iterator<Item = &'a str>,
    allowed: &mut Vec<&'a str>,
    refused: &mut Vec<&'a str>,
) {
    if granted { allowed } else { refused }.extend(names);
}

fn words(group: &'static str) -> impl Iterator<Item = &'static str> {
    group.split_whitespace()
}

/// Calls that depend on their arguments.
fn conditional(context: &Context) -> Vec<LinuxSyscall> {
    use LinuxSeccompAction::{ScmpActAllow, ScmpActErrno};
    use LinuxSeccompOperator::{ScmpCmpEq, ScmpCmpGt, ScmpCmpLt, ScmpCmpMaskedEq};
    let allow = |name, arg| rule(vec![name], ScmpActAllow, None, vec![arg]);
    let refuse = |name, arg| rule(vec![name], ScmpActErrno, Some(libc::EPERM), vec![arg]);

    let mut rules = vec![
        allow("socket", arg(ScmpCmpLt, AF_ALG, None)),
        refuse("socket", arg(ScmpCmpEq, AF_ALG, None)),
        // The one between them.
        allow("socket", arg(ScmpCmpEq, AF_ALG + 1, None)),
        refuse("socket", arg(ScmpCmpEq, AF_VSOCK, None)),
        allow("socket", arg(ScmpCmpGt, AF_VSOCK, None)),
    ];
    rules.extend(PERSONALITIES.map(|p| allow("personality", arg(ScmpCmpEq, p, None))));
    if context.has("SYS_ADMIN") {
        rules.push(rule(vec!["clone", "clone3"], ScmpActAllow, None, vec![]));
        return rules;
    }
    let all = NAMESPACE_FLAGS.iter().sum();
    rules.push(allow("clone", arg(ScmpCmpMaskedEq, all, Some(0))));
    // Each alone: a filter can compare an argument only once in a rule.
    rules.extend(NAMESPACE_FLAGS.map(|flag| refuse("clone", arg(ScmpCmpMaskedEq, flag, Some(flag)))));
    // Its flags lie in memory, which a filter cannot read; C libraries fall back to clone.
    rules.push(rule(vec!["clone3"], ScmpActErrno, Some(libc::ENOSYS), vec![]));
    rules
}

fn arg(op: LinuxSeccompOperator, value: u64, value_two: Option<u64>) -> LinuxSeccompArg {
    let builder = LinuxSeccompArgBuilder::default()
        .index(0_usize)
        .value(value)
        .op(op);
    match value_two {
        Some(two) => builder.value_two(two),
        None => builder,
    }
    .build()
    .expect("index, value and operator are set")
}

fn rule(
    names: Vec<&str>,
    action: LinuxSeccompAction,
    errno: Option<i32>,
    args: Vec<LinuxSeccompArg>,
) -> LinuxSyscall {
    let mut rule = LinuxSyscallBuilder::default()
        .names(names.into_iter().map(str::to_owned).collect::<Vec<_>>())
        .action(action)
        .build()
        .expect("names and action are set");
    rule.set_errno_ret(errno.map(i32::unsigned_abs));
    rule.set_args(Some(args).filter(|a| !a.is_empty()));
    rule
}

fn filter(
    errno: Option<i32>,
    default: LinuxSeccompAction,
    architectures: Vec<Arch>,
    rules: Vec<LinuxSyscall>,
) -> LinuxSeccomp {
    let mut filter = LinuxSeccomp::default();
    filter
        .set_default_action(default)
        .set_default_errno_ret(errno.map(i32::unsigned_abs))
        .set_architectures(Some(architectures))
        .set_syscalls(Some(rules));
    filter
}

/// The machine's architecture and those whose programs it runs as well: a filter kills the calls of any other.
fn architectures() -> Vec<Arch> {
    match std::env::consts::ARCH {
        "x86_64" => vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
        "aarch64" => vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm],
        _ => vec![Arch::ScmpArchNative],
    }
}
