//! Crashes: what is left, and what is told, when processes are killed at every step, at random instants, by a reboot, or
//! replaced by newer ones. Runs on a node of its own, as the tests over gRPC do; needs root, and a build with step points
//! (a debug build, or the feature `steps`).

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests panic on what they do not expect, talk to a person, and end with their process"
)]

#[allow(dead_code, reason = "shared with the tests over gRPC, which use all of it")]
#[path = "../grpc/harness/mod.rs"]
mod harness;

mod alone;
mod caller;
mod fate;
mod lane;
mod life;
mod names;
mod processes;
mod random;
mod reboot;
mod upgrade;
mod walk;
mod world;

use std::process::ExitCode;

use libtest_mimic::Trial;

fn main() -> ExitCode {
    harness::stage::main(tests)
}

fn tests() -> Vec<Trial> {
    [walk::tests(), random::tests(), reboot::tests(), upgrade::tests()]
        .into_iter()
        .flatten()
        .collect()
}

/// The number that all random choices of a run come from: the environment's, else one of the clock.
pub(crate) fn seed() -> u64 {
    match std::env::var("CORACLE_SEED") {
        Ok(text) => text.parse().expect("CORACLE_SEED is a number"),
        Err(_) => rand::random::<u32>().into(),
    }
}
