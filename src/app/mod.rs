//! The composition root: wires the layers, serves, drains.

pub mod client;
pub mod lock;
