//! Loading a compiled filter.

use std::io;

/// Size of one instruction (`struct sock_filter`).
pub const INSTRUCTION: usize = 8;
/// Most instructions that the kernel takes (BPF_MAXINSNS).
pub const MOST_INSTRUCTIONS: usize = 4096;

/// Loads a filter program for the calling thread, with the flags of seccomp(2); needs `no_new_privs` or CAP_SYS_ADMIN. Neither `rustix` nor `nix`
/// has it, and `libseccomp` loads only what it has compiled itself.
///
/// Allocates nothing: the caller may hold as little as `execve` afterwards.
pub fn load(program: &[u8], flags: u32) -> io::Result<()> {
    let count = program.len() / INSTRUCTION;
    if count == 0 || count > MOST_INSTRUCTIONS || !program.len().is_multiple_of(INSTRUCTION) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let fprog = libc::sock_fprog {
        len: count as u16,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: `fprog` names `count` whole instructions inside `program`, which outlives the call; the kernel copies them
    // (no alignment is asked of user memory) and does not write.
    match unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const fprog,
        )
    } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
