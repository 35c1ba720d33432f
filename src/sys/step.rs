//! Named step points: the places where a side effect outside memory has just happened or is about to.
//!
//! Crash tests end the process at each of them in turn. Nothing is left of them in a release build.

/// Marks a step. In debug builds (or with the feature `steps`) the process dies by SIGKILL at the step that the
/// environment variable `CORACLE_DIE_AT` names, as after a power cut; in a release build this is empty.
#[inline(always)]
pub fn step(name: &'static str) {
    #[cfg(any(feature = "steps", debug_assertions))]
    driven::step(name);
    #[cfg(not(any(feature = "steps", debug_assertions)))]
    let _ = name;
}

#[cfg(any(feature = "steps", debug_assertions))]
mod driven {
    use std::sync::OnceLock;

    /// Read once: forks inherit the answer, and the last stage asks after the environment is gone.
    static DIE_AT: OnceLock<Option<String>> = OnceLock::new();

    pub(super) fn step(name: &'static str) {
        let wanted = DIE_AT.get_or_init(|| std::env::var("CORACLE_DIE_AT").ok());
        if wanted.as_deref() == Some(name) {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
}
