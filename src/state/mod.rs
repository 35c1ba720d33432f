//! The embedded record store.
