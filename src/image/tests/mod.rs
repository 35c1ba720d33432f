//! The engine against registries: a real one, and one that misbehaves on demand. Needs root, as the engine does.

mod access;
mod artifact;
mod fixture;
mod hostile;
mod import;
mod pull;
mod registry;
mod store;
