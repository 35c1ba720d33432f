//! The composition root: wires the layers, serves, drains.

pub mod admin;
pub mod check;
pub mod client;
pub mod lock;
pub mod offline;

mod attended;
mod driver;
mod dump;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod handlers;
mod images;
mod node;
mod notify;
mod readings;
mod reload;
mod serve;
mod shutdown;
mod threads;
mod watchdog;

pub use attended::{Attach, Attended};
pub use error::AppError;
pub use node::wanted;
pub use serve::serve;
