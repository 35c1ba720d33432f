//! The adapter over the in-memory model, with a real store, and neither kernel nor plugins.

mod bad_input;
mod containers;
mod images;
mod node;
mod pods;
mod recovery;
mod support;
