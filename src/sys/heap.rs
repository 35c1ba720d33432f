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

/// Sizes of which glibc keeps freed pieces for each thread (its `tcache`), the step between them, and at most how many of each:
/// sixteen since 2.42, seven before.
const CACHED: std::ops::RangeInclusive<usize> = 24..=1032;
const STEP: usize = 16;
const EACH: usize = 16;

/// Has the calling thread keep freed pieces that lie together, in place of those that it keeps. These lie where a burst has left
/// them, each on a page that cannot be given back for its sake, and `malloc_trim` does not reach them: a thousand of them in
/// each thread. Only what a thread takes out of its store leaves it, and it is full again with the first that are freed.
pub fn renew() {
    // In a vector of their own: no more pieces of these sizes are needed to hold them.
    let take = || -> Vec<Vec<u8>> {
        let sizes = CACHED.step_by(STEP).flat_map(|size| [size; EACH]);
        sizes
            .map(|size| std::hint::black_box(Vec::with_capacity(size)))
            .collect()
    };
    let (kept, fresh) = (take(), take());
    drop(fresh);
    drop(kept);
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::*;

    #[test]
    fn what_a_thread_had_kept_it_does_not_keep_any_longer() {
        let pieces: Vec<Vec<u8>> = (0..2 * EACH).map(|_| Vec::with_capacity(200)).collect();
        let at: Vec<*const u8> = pieces.iter().map(Vec::as_ptr).collect();
        let next_is_one = || {
            let next: Vec<u8> = std::hint::black_box(Vec::with_capacity(200));
            at.contains(&next.as_ptr())
        };
        drop(pieces);
        let kept = next_is_one();

        renew();

        assert_eq!((kept, next_is_one()), (true, false));
    }
}
