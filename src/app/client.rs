//! What a client of a running daemon needs from the layers below: the command line names no other of them.

pub use crate::api::client::{Client, ClientError, Command, Insistence};
pub use crate::api::{Call, Empty, ListContainerStatsRequest, ListContainerStatsResponse};
pub use crate::cri::client::{ConnectError, channel};
pub use crate::cri::owner;
pub use crate::cri::wire::MAX_MESSAGE_BYTES;
pub use crate::streaming::client::Ends;
