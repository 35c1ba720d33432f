//! SPDY/3.1 as the clients of remote commands speak it: many streams, each both ways, over one connection.
//!
//! [`frame`] and [`headers`] are the wire, [`connection`] drives it, [`stream`] is what a session holds. The other side
//! knows no windows: it grants none and waits for none, so what bounds memory is that a full queue stops the reading of
//! the connection. What the streams are for is left to the sessions.

mod connection;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod headers;
mod stream;
#[cfg(test)]
mod tests;
mod writer;

pub(super) use connection::{Connection, Options};
pub(super) use stream::{Stream, StreamWriter};
