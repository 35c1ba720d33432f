//! The wire: CRI types, clients and servers generated from `proto/runtime/v1/api.proto` at build time.
//!
//! By hand is [`Encoded`] alone: lists whose items were encoded before. Converting to and from the model is the adapter's
//! work.

/// Kubernetes CRI v1: protobuf package `runtime.v1`.
///
/// Import the service modules rather than their traits: `runtime_service_server` and `image_service_server`
/// hold traits with the names that the adapter's own types like to have.
pub mod v1 {
    #![allow(
        clippy::all,
        missing_debug_implementations,
        unreachable_pub,
        rustdoc::all,
        deprecated,
        reason = "generated code"
    )]

    tonic::include_proto!("runtime.v1");

    /// The answers that `build.rs` leaves to it.
    pub use super::Encoded as ListContainersResponse;
    pub use super::Encoded as ListPodSandboxResponse;
    pub use super::Encoded as StreamContainersResponse;
    pub use super::Encoded as StreamPodSandboxesResponse;
}

mod encoded;

pub use encoded::Encoded;

/// Describes package `runtime.v1` as an encoded `google.protobuf.FileDescriptorSet`, with source comments.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("cri-v1");

/// Bytes a message may have, in either direction: what the kubelet's client allows.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests;
