//! Thin kernel wrappers, and the only `unsafe` code of the crate.
