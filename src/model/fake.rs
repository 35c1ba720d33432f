//! An in-memory implementation of the pair.
