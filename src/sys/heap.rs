//! The allocator's memory.

/// Gives freed heap back to the kernel: for a process that works in a burst and then idles for days.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number; the allocator locks itself.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// How many heaps threads share: each keeps what it once needed.
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 2;

/// Has threads share heaps, for a process whose many threads allocate little; before there are any.
pub fn share() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes two numbers; no other thread allocates yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
}
