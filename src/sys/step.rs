//! Named step points: the places where a side effect outside memory has just happened or is about to.
//!
//! Crash tests end or hold a process at each of them in turn ([`board`]). In a release build nothing is left of them but a
//! look whether somebody [watches](watch).

#[cfg(any(feature = "steps", debug_assertions))]
pub mod board;
mod points;

use std::sync::OnceLock;

pub use points::POINTS;

/// Who is told of each step of this process.
static WATCHER: OnceLock<fn(&'static str)> = OnceLock::new();

/// The environment variable that names the board's file.
pub const VARIABLE: &str = "CORACLE_STEPS";

/// Has somebody told of each step that this process takes from now on. The first call counts; forks have it too.
pub fn watch(watcher: fn(&'static str)) {
    let _ = WATCHER.set(watcher);
}

/// Marks a step; `name` is one of [`POINTS`]. In debug builds (or with the feature `steps`) the process that a test has
/// armed the point for dies here by SIGKILL, or waits.
#[inline(always)]
pub fn step(name: &'static str) {
    #[cfg(any(feature = "steps", debug_assertions))]
    board::step(name);
    if let Some(watcher) = WATCHER.get() {
        watcher(name);
    }
}
