//! Images: references, registries, pull, unpack, layers, image records, and the writable layers above them.
//!
//! Mounts nothing: a [`Snapshot`] names directories, and whoever runs the container mounts them in a mount namespace of
//! its own. Runs no process.

mod artifact;
mod attributes_sum;
mod audit;
mod blocking;
mod commit;
mod content;
mod copy;
mod credentials;
mod description;
mod digest;
mod error;
mod fetch;
mod flight;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod hosts;
mod import;
mod index;
mod inside;
mod layers;
mod live;
mod manifest;
mod mend;
mod merged;
mod name;
mod number;
mod progress;
mod pull;
mod record;
mod registry;
mod service;
mod settings;
mod settle;
mod snapshot;
mod staging;
#[cfg(test)]
mod tests;
mod traits;
mod unpack;
mod usage;
mod verify;

pub use audit::{audit_at_rest, repair_at_rest};
pub use mend::Mended;
pub use progress::{LayerProgress, PullProgress};
pub use record::{ImageRecord, LayerRef};
pub use service::{Images, Imported};
pub use settings::{Platform, Settings};
pub use snapshot::{Snapshot, VolumeSource};
pub use verify::{Compared, compare_at_rest};
