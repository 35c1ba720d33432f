//! The allocator's memory.

/// Gives freed heap back to the kernel: for a process that works in a burst and then idles for days.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number; the allocator locks itself.
    unsafe {
        libc::malloc_trim(0);
    }
}
