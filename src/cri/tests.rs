//! The adapter over the in-memory model, with a real store, and neither kernel nor plugins.

mod bad_calls;
mod bad_containers;
mod bad_pods;
mod containers;
mod events;
mod handlers;
mod images;
mod node;
mod pods;
mod queries;
mod recovery;
mod requests;
mod selinux;
mod streaming;
mod support;
