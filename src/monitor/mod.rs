//! The processes of a container: zygote, monitor, workers; and the daemon's side, [`client`].
//!
//! # Life of a container
//!
//! 1. The daemon starts the *zygote* ([`zygote::spawn`]): itself, by a mount that cannot be written, one thread, in a
//!    mount namespace with few mounts ("lean"). `main` calls [`zygote::zygote_main`] first thing when asked to be it.
//! 2. [`MonitorClient::spawn`]: the zygote forks a *monitor* for a directory. It keeps that directory's
//!    `monitor.sock` (any number of clients, a later daemon too) and outlives both daemon and zygote.
//! 3. [`MonitorClient::create`]: a *worker* (fork of the monitor) enters a mount namespace of its own, attaches the
//!    staged trees, mounts the overlay and has libcontainer build the container. The new process is the
//!    monitor's own child and waits.
//! 4. [`MonitorClient::start`]: it goes on to *our* last stage: limits, ids, capabilities, filter, `execve`. The
//!    call returns when `execve` has succeeded, or says why not.
//! 5. While it runs the monitor writes the log, reaps everything, watches for OOM kills, and forks workers for
//!    [`MonitorClient::exec`]; clients take part in its streams by [`MonitorClient::attach`].
//! 6. The process ends: the pipes are drained into the log, `exit.json` is written, then `Exited` is told to every
//!    client and kept in [`MonitorClient::exited`].
//! 7. [`MonitorClient::delete`]: a worker removes cgroups and engine state; the monitor ends.
//!
//! A monitor that has neither container nor client ends by itself. Filters are compiled by [`seccomp::compile`],
//! in the daemon, once per profile.

pub mod audit;
pub mod client;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod process;
pub mod protocol;
pub mod seccomp;
#[cfg(test)]
mod tests;
pub mod zygote;

pub use client::{Exec, ExecOutcome, MonitorClient, MonitorError};
