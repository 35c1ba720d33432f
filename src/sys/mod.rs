//! Thin kernel wrappers, and the only `unsafe` code of the crate.
//!
//! Safe wrappers of `rustix` and `nix` are used where they exist; a wrapper here either narrows one of them to what
//! the crate needs, or says why neither will do. [`zygote`] is the client of the process that forks monitors.

#![allow(unsafe_code)]

pub mod caps;
pub mod cgroup;
pub mod clock;
pub mod command;
pub mod credentials;
pub mod fds;
pub mod fork;
pub mod fs;
pub mod heap;
pub mod idmap;
pub mod image;
pub mod links;
pub mod loopback;
pub mod message;
pub mod mount;
pub mod namespace;
pub mod panics;
pub mod pidfd;
pub mod pipe;
mod planted;
pub mod proc;
pub mod pty;
pub mod rlimit;
pub mod seccomp;
pub mod selinux;
pub mod signal;
pub mod socket;
pub mod step;
pub mod systemd;
pub mod traffic;
pub mod watch;
pub mod zygote;

pub use planted::planted;
pub use step::step;
