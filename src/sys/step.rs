//! Named step points: the places where a side effect outside memory has just happened or is about to.
//!
//! Crash tests end or hold a process at each of them in turn ([`board`]). Nothing is left of them in a release build.

#[cfg(any(feature = "steps", debug_assertions))]
pub mod board;
mod points;

pub use points::POINTS;

/// The environment variable that names the board's file.
pub const VARIABLE: &str = "CORACLE_STEPS";

/// Marks a step; `name` is one of [`POINTS`]. In debug builds (or with the feature `steps`) the process that a test has
/// armed the point for dies here by SIGKILL, or waits; in a release build this is empty.
#[inline(always)]
pub fn step(name: &'static str) {
    #[cfg(any(feature = "steps", debug_assertions))]
    board::step(name);
    #[cfg(not(any(feature = "steps", debug_assertions)))]
    let _ = name;
}
