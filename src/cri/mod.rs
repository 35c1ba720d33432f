//! The CRI adapter: the only code that knows pods and gRPC.

pub mod wire;
