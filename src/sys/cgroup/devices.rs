//! Which devices the processes of a cgroup v2 group may use: a small program in the kernel, made from a list of rules.
//!
//! Version 1 has files for this; version 2 asks a BPF program of type `cgroup_device` at each open and mknod. The
//! program is a chain of comparisons, the last rule first, since a later rule overrides an earlier one:
//!
//! ```text
//! r2 = type    r3 = access    r4 = major    r5 = minor      from struct bpf_cgroup_dev_ctx
//! rule n:      if type, major or minor differ: to rule n-1
//!              allow: if access has bits that the rule has not: to rule n-1
//!              deny:  if access has no bit that the rule has:   to rule n-1
//!              return allow
//! at the end:  return deny
//! ```
//!
//! It goes with the group. libcontainer can do this by way of libbpf, a C library with two more behind it; see the ADR.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

/// One rule. Of those that match, the last counts; where none does, access is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRule {
    /// Allows, or denies.
    pub allow: bool,
    /// Block or character devices; `None`: both.
    pub kind: Option<DeviceKind>,
    /// Major number; `None`: any.
    pub major: Option<u32>,
    /// Minor number; `None`: any.
    pub minor: Option<u32>,
    /// What is allowed or denied: a sum of [`MKNOD`], [`READ`] and [`WRITE`].
    pub access: i32,
}

/// What kind of device, in the numbers of `BPF_DEVCG_DEV_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// Block device.
    Block = 1,
    /// Character device.
    Char = 2,
}

/// Making a node (`BPF_DEVCG_ACC_MKNOD`).
pub const MKNOD: i32 = 1;
/// Reading.
pub const READ: i32 = 2;
/// Writing.
pub const WRITE: i32 = 4;

/// `struct bpf_insn`: operation, registers (destination in the low half), jump offset, immediate.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xbc;
const MOVE_NUMBER: u8 = 0xb4;
const AND_NUMBER: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const JUMP_UNLESS_NUMBER: u8 = 0x55;
const JUMP_UNLESS_EQUAL: u8 = 0x5d;
const JUMP_IF_NUMBER: u8 = 0x15;
const EXIT: u8 = 0x95;

fn instruction(code: u8, to: u8, from: u8, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: to | from << 4,
        offset: 0,
        immediate,
    }
}

/// Lets the processes of the v2 group at `dir` use the devices that `rules` say, and no others.
///
/// # Errors
/// When the kernel has no such programs, or the group does not exist.
pub fn restrict(dir: &Path, rules: &[DeviceRule]) -> io::Result<()> {
    let group = File::open(dir)?;
    let program = load(&program(rules)?)?;
    attach(&group, &program)
}

fn program(rules: &[DeviceRule]) -> io::Result<Vec<Instruction>> {
    let mut program = vec![
        // The context: access in the upper and type in the lower half of one word, then major and minor.
        instruction(LOAD_WORD, 2, 1, 0),
        instruction(MOVE, 3, 2, 0),
        instruction(AND_NUMBER, 2, 0, 0xffff),
        instruction(SHIFT_RIGHT, 3, 0, 16),
        Instruction {
            offset: 4,
            ..instruction(LOAD_WORD, 4, 1, 0)
        },
        Instruction {
            offset: 8,
            ..instruction(LOAD_WORD, 5, 1, 0)
        },
    ];
    for rule in rules.iter().rev() {
        program.extend(block(rule)?);
    }
    program.extend([instruction(MOVE_NUMBER, 0, 0, 0), instruction(EXIT, 0, 0, 0)]);
    Ok(program)
}

fn block(rule: &DeviceRule) -> io::Result<Vec<Instruction>> {
    let number = |n: u32| i32::try_from(n).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let mut block = vec![];
    if let Some(kind) = rule.kind {
        block.push(instruction(JUMP_UNLESS_NUMBER, 2, 0, kind as i32));
    }
    if let Some(major) = rule.major {
        block.push(instruction(JUMP_UNLESS_NUMBER, 4, 0, number(major)?));
    }
    if let Some(minor) = rule.minor {
        block.push(instruction(JUMP_UNLESS_NUMBER, 5, 0, number(minor)?));
    }
    if rule.access != MKNOD | READ | WRITE {
        block.extend([
            instruction(MOVE, 1, 3, 0),
            instruction(AND_NUMBER, 1, 0, rule.access),
        ]);
        block.push(match rule.allow {
            true => instruction(JUMP_UNLESS_EQUAL, 1, 3, 0),
            false => instruction(JUMP_IF_NUMBER, 1, 0, 0),
        });
    }
    block.extend([
        instruction(MOVE_NUMBER, 0, 0, i32::from(rule.allow)),
        instruction(EXIT, 0, 0, 0),
    ]);
    // A jump leads behind the block; it is counted from the instruction after the jump.
    let length = block.len();
    for (at, one) in block.iter_mut().enumerate() {
        if matches!(one.code, JUMP_UNLESS_NUMBER | JUMP_UNLESS_EQUAL | JUMP_IF_NUMBER) {
            one.offset = i16::try_from(length - at - 1).expect("a block has at most eight instructions");
        }
    }
    Ok(block)
}

/// The part of `union bpf_attr` that loading reads. Zeros after it are what the kernel takes for absent.
#[repr(C)]
struct LoadAttributes {
    program_type: u32,
    count: u32,
    instructions: u64,
    license: u64,
    rest: [u64; 4],
}

/// The part of `union bpf_attr` that attaching reads.
#[repr(C)]
struct AttachAttributes {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
}

const PROG_LOAD: i32 = 5;
const PROG_ATTACH: i32 = 8;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
/// Programs of ancestors go on counting.
const ALLOW_MULTI: u32 = 2;

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    let count = u32::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let attributes = LoadAttributes {
        program_type: TYPE_CGROUP_DEVICE,
        count,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        rest: [0; 4],
    };
    // SAFETY: bpf(2) reads the structure of the given size, and through it `program` and the literal, which outlive the
    // call. No safe crate offers the call without a loader for object files.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_LOAD,
            &raw const attributes,
            size_of::<LoadAttributes>(),
        )
    };
    match i32::try_from(fd) {
        // SAFETY: a number that is not negative is a new descriptor, and nobody else has it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn attach(group: &File, program: &OwnedFd) -> io::Result<()> {
    let number = |fd: i32| u32::try_from(fd).expect("an open descriptor is not negative");
    let attributes = AttachAttributes {
        target: number(group.as_raw_fd()),
        program: number(program.as_raw_fd()),
        attach_type: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: bpf(2) reads the structure of the given size and keeps no pointer; both descriptors are open.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_ATTACH,
            &raw const attributes,
            size_of::<AttachAttributes>(),
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: i32 = MKNOD | READ | WRITE;

    fn rule(allow: bool, kind: Option<DeviceKind>, numbers: Option<(u32, u32)>, access: i32) -> DeviceRule {
        let (major, minor) = (numbers.map(|n| n.0), numbers.map(|n| n.1));
        DeviceRule {
            allow,
            kind,
            major,
            minor,
            access,
        }
    }

    /// Runs a program as the kernel would: enough of it for ours.
    fn run(program: &[Instruction], kind: DeviceKind, numbers: (u32, u32), access: i32) -> bool {
        let context = [access << 16 | kind as i32, numbers.0 as i32, numbers.1 as i32];
        let mut registers = [0_i32; 10];
        let mut at = 0;
        loop {
            let Instruction {
                code,
                registers: both,
                offset,
                immediate,
            } = program[at];
            let (to, from) = (usize::from(both & 15), usize::from(both >> 4));
            at += 1;
            let jump = match code {
                LOAD_WORD => {
                    registers[to] = context[offset as usize / 4];
                    false
                }
                MOVE => {
                    registers[to] = registers[from];
                    false
                }
                MOVE_NUMBER => {
                    registers[to] = immediate;
                    false
                }
                AND_NUMBER => {
                    registers[to] &= immediate;
                    false
                }
                SHIFT_RIGHT => {
                    registers[to] >>= immediate;
                    false
                }
                JUMP_UNLESS_NUMBER => registers[to] != immediate,
                JUMP_UNLESS_EQUAL => registers[to] != registers[from],
                JUMP_IF_NUMBER => registers[to] == immediate,
                EXIT => return registers[0] != 0,
                other => panic!("unknown instruction {other:#x}"),
            };
            if jump {
                at += offset as usize;
            }
        }
    }

    #[test]
    fn the_last_rule_that_matches_counts() {
        let rules = [
            rule(false, None, None, ALL),
            rule(true, Some(DeviceKind::Char), None, MKNOD),
            rule(true, Some(DeviceKind::Char), Some((1, 3)), ALL),
            rule(false, Some(DeviceKind::Char), Some((1, 5)), WRITE),
        ];
        let program = program(&rules).unwrap();
        let allowed = |kind, numbers, access| run(&program, kind, numbers, access);

        assert!(allowed(DeviceKind::Char, (1, 3), READ | WRITE));
        assert!(
            allowed(DeviceKind::Char, (7, 7), MKNOD),
            "making any node gives no access"
        );
        assert!(
            !allowed(DeviceKind::Char, (7, 7), MKNOD | READ),
            "a part of the access is not all of it"
        );
        assert!(
            !allowed(DeviceKind::Block, (1, 3), READ),
            "a block device of the same number is another"
        );
        assert!(
            !allowed(DeviceKind::Char, (1, 5), READ | WRITE),
            "a denied part denies all of it"
        );
        assert!(!allowed(DeviceKind::Block, (8, 0), MKNOD));
    }

    #[test]
    fn the_kernel_takes_the_program() {
        let rules = [
            rule(false, None, None, ALL),
            rule(true, Some(DeviceKind::Char), Some((1, 3)), READ),
        ];

        load(&program(&rules).unwrap()).unwrap();
    }
}
