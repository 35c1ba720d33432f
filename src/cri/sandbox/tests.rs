//! Sandbox life.
