//! The CRI adapter: the only code that knows pods and gRPC.

pub mod client;
pub mod server;
pub mod v1alpha2;
pub mod wire;
