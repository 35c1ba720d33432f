//! Coracle, a Kubernetes container runtime.
//!
//! A gRPC server speaks Kubernetes CRI v1 and adapts it onto a reduced container model that has no pods in it.
//! Modules form layers; each names only lower ones (held by a test in `layering`):
//!
//! | layer | modules |
//! | --- | --- |
//! | 5 | [`app`], [`cli`]: parse, wire, serve, drain |
//! | 4 | [`cri`]: the adapter, the only code that knows pods and gRPC; [`api`]: the model over HTTP and JSON |
//! | 3 | [`core`]: the runtime core; [`streaming`]: sessions over SPDY and WebSocket |
//! | 2 | [`image`], [`spec`], [`monitor`], [`cni`]: engines, none names another |
//! | 1 | [`config`], [`telemetry`], [`state`] |
//! | 0 | [`model`]: the reduced model; [`sys`]: kernel wrappers, the only `unsafe` |

pub mod api;
pub mod app;
pub mod cli;
pub mod cni;
pub mod config;
pub mod core;
pub mod cri;
pub mod image;
#[cfg(test)]
mod layering;
pub mod model;
pub mod monitor;
pub mod spec;
pub mod state;
pub mod streaming;
pub mod sys;
pub mod telemetry;
