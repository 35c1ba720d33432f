//! Logging by `tracing`.
