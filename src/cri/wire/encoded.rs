//! Answers that are a list of messages, each encoded already.
//!
//! A kubelet lists all containers and pods every second, and what it is told of one seldom changes: it is encoded once, and
//! copied into each answer. On the wire a repeated field of messages is one of bytes, so this stands for each of the answers
//! that `build.rs` names.

use bytes::Bytes;
use prost::{DecodeError, Message};

/// A `ListContainersResponse`, `ListPodSandboxResponse`, `StreamContainersResponse` or `StreamPodSandboxesResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Encoded {
    /// The containers or pods.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub items: Vec<Bytes>,
}

impl Encoded {
    /// The items as messages, for who receives them.
    ///
    /// # Errors
    /// They are of another kind.
    pub fn decoded<T: Message + Default>(&self) -> Result<Vec<T>, DecodeError> {
        self.items.iter().map(|item| T::decode(item.as_ref())).collect()
    }
}
