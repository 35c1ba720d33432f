//! The composition root: wires the layers, serves, drains.
