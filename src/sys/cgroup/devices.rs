//! Device rules of a v2 group, where they are not files but a small program.
//!
//! The kernel runs it at each `open` and `mknod` of a device with `struct bpf_cgroup_dev_ctx { access_type, major, minor }`,
//! `access_type = access << 16 | type`; it returns 1 to allow. As in the v1 controller, a later rule overrides an earlier
//! one: so the last rule is asked first.

use crate::sys::cgroup::{Cgroup, Version};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// One rule. `None` matches every number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRule {
    /// Allows or denies.
    pub allow: bool,
    /// Kind of device; `None`: both.
    pub kind: Option<DeviceKind>,
    /// Major number.
    pub major: Option<u32>,
    /// Minor number.
    pub minor: Option<u32>,
    /// Bits of [`MKNOD`], [`READ`], [`WRITE`].
    pub access: u32,
}

/// Kind of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// Block device.
    Block = 1,
    /// Character device.
    Character = 2,
}

/// Making the device's node.
pub const MKNOD: u32 = 1;
/// Opening for reading.
pub const READ: u32 = 2;
/// Opening for writing.
pub const WRITE: u32 = 4;
const ALL: u32 = MKNOD | READ | WRITE;

/// Registers.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
/// Free, but for the access asked for.
const SCRATCH: u8 = 1;

/// Operation codes: 32-bit arithmetic with a constant or register, loads and jumps.
const LOAD_32: u8 = 0x61;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const MOVE_REGISTER: u8 = 0xbc;
const MOVE: u8 = 0xb7;
const JUMP_UNLESS_EQUAL: u8 = 0x55;
const JUMP_UNLESS_SAME: u8 = 0x5d;
const EXIT: u8 = 0x95;

impl Cgroup {
    /// Sets the device rules of a v2 group; on v1 the engine has written them. No rules: nothing is changed. May be called
    /// once per group: the kernel lets a device pass that every attached program lets pass.
    pub fn set_device_rules(&self, rules: &[DeviceRule]) -> io::Result<()> {
        if self.version() == Version::V1 || rules.is_empty() {
            return Ok(());
        }
        attach(&File::open(self.dir(""))?, &assemble(rules))
    }
}

/// `struct bpf_insn`.
fn instruction(code: u8, destination: u8, source: u8, offset: i16, constant: i32) -> u64 {
    let mut bytes = [0; 8];
    bytes[0] = code;
    bytes[1] = if cfg!(target_endian = "little") {
        source << 4 | destination
    } else {
        destination << 4 | source
    };
    bytes[2..4].copy_from_slice(&offset.to_ne_bytes());
    bytes[4..].copy_from_slice(&constant.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}

fn assemble(rules: &[DeviceRule]) -> Vec<u64> {
    let mut program = vec![
        instruction(LOAD_32, KIND, CONTEXT, 0, 0),
        instruction(AND, KIND, 0, 0, 0xffff),
        instruction(LOAD_32, ACCESS, CONTEXT, 0, 0),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(LOAD_32, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_32, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules.iter().rev() {
        program.extend(block(rule));
        if matches!(
            rule,
            DeviceRule {
                kind: None,
                major: None,
                minor: None,
                access: ALL,
                ..
            }
        ) {
            // Nothing gets past it, and the kernel refuses what cannot be reached.
            return program;
        }
    }
    // What no rule speaks of is allowed, as in a v1 group below one that allows all.
    program.extend([instruction(MOVE, RESULT, 0, 0, 1), instruction(EXIT, 0, 0, 0, 0)]);
    program
}

/// Tests, each of which jumps behind the block if it fails, then the verdict.
fn block(rule: &DeviceRule) -> Vec<u64> {
    let mut tests = vec![];
    if let Some(kind) = rule.kind {
        tests.push((JUMP_UNLESS_EQUAL, KIND, 0, kind as i32));
    }
    if rule.access & ALL != ALL {
        // Everything that is asked for must be in the rule.
        tests.push((MOVE_REGISTER, SCRATCH, ACCESS, 0));
        tests.push((AND, SCRATCH, 0, (rule.access & ALL) as i32));
        tests.push((JUMP_UNLESS_SAME, SCRATCH, ACCESS, 0));
    }
    for (register, number) in [(MAJOR, rule.major), (MINOR, rule.minor)] {
        if let Some(number) = number {
            tests.push((JUMP_UNLESS_EQUAL, register, 0, number as i32));
        }
    }
    let length = tests.len() + 2;
    let mut block = vec![];
    for (at, (code, destination, source, constant)) in tests.into_iter().enumerate() {
        let is_jump = code == JUMP_UNLESS_EQUAL || code == JUMP_UNLESS_SAME;
        let offset = if is_jump { (length - at - 1) as i16 } else { 0 };
        block.push(instruction(code, destination, source, offset, constant));
    }
    block.extend([
        instruction(MOVE, RESULT, 0, 0, rule.allow.into()),
        instruction(EXIT, 0, 0, 0, 0),
    ]);
    block
}

/// Loads a program and attaches it to a group's directory beside those that are there. The group keeps it.
fn attach(group: &File, program: &[u64]) -> io::Result<()> {
    const PROG_LOAD: u32 = 5;
    const PROG_ATTACH: u32 = 8;
    const TYPE_CGROUP_DEVICE: u32 = 15;
    const CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;
    let license = c"Apache-2.0";
    // union bpf_attr for PROG_LOAD: prog_type, insn_cnt, insns, license, ...; expected_attach_type is at byte 68.
    let mut load = [0u32; 32];
    (load[0], load[1]) = (TYPE_CGROUP_DEVICE, program.len() as u32);
    load[2..4].copy_from_slice(&address(program.as_ptr().cast()));
    load[4..6].copy_from_slice(&address(license.as_ptr().cast()));
    load[17] = CGROUP_DEVICE;
    let fd = bpf(PROG_LOAD, &load)?;
    // SAFETY: the call above has returned a new descriptor, which nobody else owns.
    let loaded = unsafe { OwnedFd::from_raw_fd(fd) };
    // union bpf_attr for PROG_ATTACH: target_fd, attach_bpf_fd, attach_type, attach_flags.
    let mut to = [0u32; 32];
    to[..4].copy_from_slice(&[
        group.as_raw_fd() as u32,
        loaded.as_raw_fd() as u32,
        CGROUP_DEVICE,
        ALLOW_MULTI,
    ]);
    bpf(PROG_ATTACH, &to).map(drop)
}

/// A 64-bit address as the two halves that it has in an array of 32-bit fields.
fn address(pointer: *const u8) -> [u32; 2] {
    let bytes = (pointer as u64).to_ne_bytes();
    let half = |i: usize| u32::from_ne_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]);
    [half(0), half(4)]
}

fn bpf(command: u32, attributes: &[u32; 32]) -> io::Result<i32> {
    // SAFETY: `attributes` has the layout of the command, zero where nothing is said, and what it points to outlives the
    // call. No safe crate of ours has bpf(2).
    match unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.as_ptr(),
            size_of_val(attributes),
        )
    } {
        -1 => Err(io::Error::last_os_error()),
        fd => Ok(fd as i32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    fn rule(allow: bool, numbers: Option<(u32, u32)>, access: u32) -> DeviceRule {
        DeviceRule {
            allow,
            kind: numbers.map(|_| DeviceKind::Character),
            major: numbers.map(|n| n.0),
            minor: numbers.map(|n| n.1),
            access,
        }
    }

    /// The unified hierarchy, which takes such programs on a hybrid machine too.
    fn unified() -> Option<&'static Path> {
        let places = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
        let root = rustix::process::geteuid().is_root();
        places
            .into_iter()
            .find(|p| root && p.join("cgroup.controllers").exists())
    }

    #[test]
    fn the_kernel_obeys_the_last_rule_that_matches() {
        let Some(root) = unified() else {
            return eprintln!("skipped: needs root and cgroup v2");
        };
        let group = root.join(format!("coracle-test-devices-{}", std::process::id()));
        fs::create_dir(&group).unwrap();
        let rules = [
            rule(false, None, ALL),
            rule(true, Some((1, 3)), ALL),
            rule(true, Some((1, 5)), READ),
            rule(true, Some((1, 9)), ALL),
            rule(false, Some((1, 9)), ALL),
        ];

        let attached = attach(&File::open(&group).unwrap(), &assemble(&rules));
        let script = format!(
            "echo 0 > {}/cgroup.procs; for f in null zero urandom full; do (: < /dev/$f) 2>&- && echo r $f; \
             (: > /dev/$f) 2>&- && echo w $f; done; true",
            group.display()
        );
        let seen = Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
        fs::remove_dir(&group).unwrap();

        attached.unwrap();
        assert_eq!(
            String::from_utf8_lossy(&seen.stdout),
            "r null\nw null\nr zero\n",
            "{seen:?}"
        );
    }
}
