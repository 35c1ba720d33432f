//! The composition root: wires the layers, serves, drains.

pub mod admin;
pub mod client;
pub mod lock;
pub mod offline;

mod error;
mod images;

pub use error::AppError;
