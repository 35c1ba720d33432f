//! Seccomp profiles compiled to programs, once per profile: the last stage only loads bytes.
//!
//! Compiling takes some 16 ms, loading half a millisecond. Programs are kept in a directory under a hash of the profile.
//!
//! ```text
//! file = "SCF1" flags(u32) program        flags of seccomp(2), both in the machine's byte order
//! ```

mod newer;

use crate::sys::seccomp::{INSTRUCTION, MOST_INSTRUCTIONS};
use crate::sys::{fs as files, image};
use libseccomp::error::SeccompError as LibraryError;
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator,
    LinuxSyscall,
};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::fs;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use thiserror::Error;

const MAGIC: &[u8; 4] = b"SCF1";
const HEADER: usize = 8;
/// Part of each program's name: a change of what is generated must not find the old programs.
const GENERATION: u8 = 1;
const EPERM: u32 = libc::EPERM as u32;

/// Why a profile did not become a program.
#[derive(Debug, Error)]
pub enum SeccompError {
    /// The profile asks for something that cannot be had.
    #[error("seccomp profile: {0} is not supported")]
    Unsupported(String),
    /// A rule was refused.
    #[error("seccomp profile: rule for {name}")]
    Rule {
        /// System call.
        name: String,
        /// Why.
        #[source]
        source: LibraryError,
    },
    /// The library failed otherwise.
    #[error("cannot compile the seccomp profile")]
    Compile(#[from] LibraryError),
    /// The program is longer than the kernel takes.
    #[error("the compiled seccomp profile has {0} instructions, the kernel takes {MOST_INSTRUCTIONS}")]
    TooLong(usize),
    /// The program could not be kept.
    #[error("cannot store the compiled seccomp profile in {}", dir.display())]
    Store {
        /// The directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Returns the file with the profile's program below `dir`, compiled now if it is not there yet. Blocks for some 20 ms
/// then: async callers use `spawn_blocking`. Compiling the same profile twice at once is harmless.
///
/// System calls with a higher number than any that the profile names are newer than the profile: they answer ENOSYS, so
/// that C libraries fall back to older ones, instead of the default EPERM, which they take for a verdict.
pub fn compile(profile: &LinuxSeccomp, dir: &Path) -> Result<PathBuf, SeccompError> {
    let store = |source| SeccompError::Store {
        dir: dir.to_owned(),
        source,
    };
    let path = dir.join(format!("{}.bpf", name(profile).map_err(store)?));
    if fs::metadata(&path).is_ok_and(|m| m.len() > HEADER as u64) {
        return Ok(path);
    }
    let mut file = MAGIC.to_vec();
    file.extend(flags(profile)?.to_ne_bytes());
    file.extend(program(profile)?);
    fs::create_dir_all(dir)
        .and_then(|()| files::write_atomic(&path, &file, 0o600))
        .map_err(store)?;
    Ok(path)
}

/// A compiled filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    /// For seccomp(2).
    pub(super) flags: u32,
    /// Whole instructions.
    pub(super) program: Vec<u8>,
}

impl Filter {
    /// Reads what [`compile`] has written.
    pub(super) fn read(path: &Path) -> io::Result<Filter> {
        let mut file = fs::read(path)?;
        let flags = match file.get(..HEADER) {
            Some([b'S', b'C', b'F', b'1', flags @ ..]) => <[u8; 4]>::try_from(flags).ok(),
            _ => None,
        };
        let flags = flags.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is not a compiled filter", path.display()),
            )
        })?;
        Ok(Filter {
            flags: u32::from_ne_bytes(flags),
            program: file.split_off(HEADER),
        })
    }
}

fn name(profile: &LinuxSeccomp) -> io::Result<String> {
    let library = libseccomp::ScmpVersion::current()
        .map(|v| (v.major, v.minor, v.micro))
        .unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update([GENERATION]);
    hash.update(format!("{library:?}"));
    hash.update(serde_json::to_vec(profile)?);
    Ok(hash.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

fn program(profile: &LinuxSeccomp) -> Result<Vec<u8>, SeccompError> {
    let architectures = architectures(profile)?;
    let default = action(profile.default_action(), profile.default_errno_ret(), None)?;
    let mut context = ScmpFilterContext::new(default)?;
    context.set_ctl_nnp(false)?;
    // A binary tree over the numbers: the kernel, which runs the program for each number at load, loads it faster.
    // Libraries before 2.5 have no such choice.
    let _ = context.set_ctl_optimize(2);
    for architecture in &architectures {
        if !context.is_arch_present(*architecture)? {
            context.add_arch(*architecture)?;
        }
    }
    for rule in profile.syscalls().iter().flatten() {
        let wanted = action(rule.action(), rule.errno_ret(), profile.default_errno_ret())?;
        // The library refuses rules that say what the default says.
        if wanted != default {
            add_rule(&mut context, rule, wanted)?;
        }
    }
    let compiled = export(&context)?;
    let mut program = match default {
        ScmpAction::Errno(libc::EPERM) => newer::prologue(&known_numbers(profile, &architectures)),
        _ => vec![],
    };
    program.extend(compiled);
    match program.len() / INSTRUCTION {
        count if count > MOST_INSTRUCTIONS => Err(SeccompError::TooLong(count)),
        _ => Ok(program),
    }
}

/// Each architecture of which the profile names a system call, with the highest number that it names.
fn known_numbers(profile: &LinuxSeccomp, architectures: &[ScmpArch]) -> Vec<(u32, u32)> {
    let newest = |a: &ScmpArch| Some((audit_number(*a)?, newest(profile, *a)?));
    architectures.iter().filter_map(newest).collect()
}

/// The highest number among the system calls that the profile names and this architecture has.
fn newest(profile: &LinuxSeccomp, architecture: ScmpArch) -> Option<u32> {
    let names = profile.syscalls().iter().flatten().flat_map(|rule| rule.names());
    let number = |name: &String| ScmpSyscall::from_name_by_arch(name, architecture).ok();
    // Negative numbers are the library's own for calls that this architecture does not have.
    names
        .filter_map(number)
        .filter_map(|call| u32::try_from(call.as_raw_syscall()).ok())
        .max()
}

/// AUDIT_ARCH_* of the architectures that Kubernetes runs on, and their 32-bit companions. Others have no prologue.
fn audit_number(architecture: ScmpArch) -> Option<u32> {
    match architecture {
        ScmpArch::X8664 => Some(0xc000_003e),
        ScmpArch::X86 => Some(0x4000_0003),
        ScmpArch::Aarch64 => Some(0xc000_00b7),
        ScmpArch::Arm => Some(0x4000_0028),
        ScmpArch::Ppc64Le => Some(0xc000_0015),
        ScmpArch::S390X => Some(0x8000_0016),
        ScmpArch::Riscv64 => Some(0xc000_00f3),
        _ => None,
    }
}

/// Into a file, because library versions before 2.6 cannot export to memory.
fn export(context: &ScmpFilterContext) -> Result<Vec<u8>, SeccompError> {
    let store = |source| SeccompError::Store {
        dir: PathBuf::from("memory"),
        source,
    };
    let mut file = image::anonymous_file().map_err(store)?;
    context.export_bpf(&file)?;
    let mut program = vec![];
    file.rewind()
        .and_then(|()| file.read_to_end(&mut program))
        .map_err(store)?;
    Ok(program)
}

fn add_rule(
    context: &mut ScmpFilterContext,
    rule: &LinuxSyscall,
    wanted: ScmpAction,
) -> Result<(), SeccompError> {
    let arguments = rule.args().as_deref().unwrap_or_default();
    // The specification means "or" for several conditions on one argument, which the library has as several rules.
    let repeated = (0..6).any(|index| arguments.iter().filter(|a| a.index() == index).count() > 1);
    for name in rule.names() {
        // A name of a newer kernel or of another architecture is no mistake.
        let Ok(call) = ScmpSyscall::from_name(name) else {
            continue;
        };
        let refused = |source| SeccompError::Rule {
            name: name.clone(),
            source,
        };
        match arguments {
            [] => context.add_rule(wanted, call).map(drop).map_err(refused)?,
            _ if repeated => {
                for argument in arguments {
                    context
                        .add_rule_conditional(wanted, call, &[compare(argument)])
                        .map_err(refused)?;
                }
            }
            _ => {
                let all: Vec<ScmpArgCompare> = arguments.iter().map(compare).collect();
                context
                    .add_rule_conditional(wanted, call, &all)
                    .map_err(refused)?;
            }
        }
    }
    Ok(())
}

fn architectures(profile: &LinuxSeccomp) -> Result<Vec<ScmpArch>, SeccompError> {
    let mut found = vec![ScmpArch::native()];
    for architecture in profile
        .architectures()
        .iter()
        .flatten()
        .filter(|a| **a != Arch::ScmpArchNative)
    {
        let name = serde_json::to_value(architecture)
            .ok()
            .and_then(|v| v.as_str().map(str::to_owned));
        let name = name.unwrap_or_else(|| format!("{architecture:?}"));
        let known = ScmpArch::from_str(&name).map_err(|_| SeccompError::Unsupported(name))?;
        if !found.contains(&known) {
            found.push(known);
        }
    }
    Ok(found)
}

fn action(
    action: LinuxSeccompAction,
    errno: Option<u32>,
    default_errno: Option<u32>,
) -> Result<ScmpAction, SeccompError> {
    let errno = errno.or(default_errno).unwrap_or(EPERM);
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => ScmpAction::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(errno as i32),
        LinuxSeccompAction::ScmpActTrace => ScmpAction::Trace(errno as u16),
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
        LinuxSeccompAction::ScmpActNotify => {
            return Err(SeccompError::Unsupported("action SCMP_ACT_NOTIFY".into()));
        }
    })
}

fn compare(argument: &LinuxSeccompArg) -> ScmpArgCompare {
    let value = argument.value();
    let (operator, datum) = match argument.op() {
        LinuxSeccompOperator::ScmpCmpNe => (ScmpCompareOp::NotEqual, value),
        LinuxSeccompOperator::ScmpCmpLt => (ScmpCompareOp::Less, value),
        LinuxSeccompOperator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, value),
        LinuxSeccompOperator::ScmpCmpEq => (ScmpCompareOp::Equal, value),
        LinuxSeccompOperator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, value),
        LinuxSeccompOperator::ScmpCmpGt => (ScmpCompareOp::Greater, value),
        LinuxSeccompOperator::ScmpCmpMaskedEq => (
            ScmpCompareOp::MaskedEqual(value),
            argument.value_two().unwrap_or(0),
        ),
    };
    ScmpArgCompare::new(argument.index() as u32, operator, datum)
}

/// For seccomp(2). A process with one thread has nobody to synchronize with.
fn flags(profile: &LinuxSeccomp) -> Result<u32, SeccompError> {
    let mut flags = 0;
    for flag in profile.flags().iter().flatten() {
        flags |= match flag {
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 0,
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG as u32,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32,
            // Concerns notifications only.
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 0,
        };
    }
    Ok(flags)
}

#[cfg(test)]
mod tests;
