//! End-to-end tests: the real daemon, driven over gRPC on a node of its own.
//!
//! Not run by libtest's harness, which has no place for what comes before the first test and after the last one:
//! [`harness::stage`] makes a node (namespaces, disk, network) and takes it down however the tests end. Needs root.
//! Arguments are those of any test binary.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests panic on what they do not expect, talk to a person, and end with their process"
)]

mod harness;

mod api;
mod api_attach;
mod api_cli;
mod artifacts;
mod attach;
mod attacks;
mod cdi;
mod check;
mod check_deep;
mod containers;
mod crowd;
mod devices;
mod dump;
mod escapes;
mod events;
mod exec;
mod features;
mod forward;
mod handlers;
mod holes;
mod hostile_images;
mod image_volumes;
mod logs;
mod meters;
mod metrics;
mod misbehaving_networks;
mod misbehaving_registries;
mod model;
mod network;
mod node;
mod old_profiles;
mod old_version;
mod pods;
mod process;
mod pulls;
mod pulls_refused;
mod reflection;
mod refusals;
mod reload;
mod resources;
mod restart;
mod scarcity;
mod stats;
mod streaming;
mod streams;
mod traces;
mod traffic;
mod userns;
mod watchdog;

use std::process::ExitCode;

use libtest_mimic::Trial;

fn main() -> ExitCode {
    // The engine starts the program that it is part of once more, to have a process that can be forked. For the test
    // of the model alone, that program is this one.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == coracle::sys::zygote::ARGUMENT)
    {
        coracle::monitor::zygote::zygote_main();
    }
    harness::stage::main(tests)
}

fn tests() -> Vec<Trial> {
    [
        api::tests(),
        api_attach::tests(),
        api_cli::tests(),
        pods::tests(),
        network::tests(),
        traffic::tests(),
        node::tests(),
        check::tests(),
        check_deep::tests(),
        misbehaving_networks::tests(),
        misbehaving_registries::tests(),
        containers::tests(),
        cdi::tests(),
        devices::tests(),
        logs::tests(),
        exec::tests(),
        attach::tests(),
        forward::tests(),
        crowd::tests(),
        events::tests(),
        streaming::tests(),
        process::tests(),
        handlers::tests(),
        resources::tests(),
        features::tests(),
        holes::tests(),
        escapes::tests(),
        image_volumes::tests(),
        artifacts::tests(),
        userns::tests(),
        hostile_images::tests(),
        pulls::tests(),
        pulls_refused::tests(),
        reflection::tests(),
        refusals::tests(),
        attacks::tests(),
        restart::tests(),
        reload::tests(),
        dump::tests(),
        scarcity::tests(),
        stats::tests(),
        metrics::tests(),
        meters::tests(),
        streams::tests(),
        traces::tests(),
        watchdog::tests(),
        model::tests(),
        old_version::tests(),
        old_profiles::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
