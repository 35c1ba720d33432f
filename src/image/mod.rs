//! Images: references, registries, pull, unpack, layers, image records, and the writable layers above them.
//!
//! Mounts nothing: a [`Snapshot`] names directories, and whoever runs the container mounts them in a mount namespace of
//! its own. Runs no process.

mod record;
mod service;
mod settings;
mod snapshot;

pub use record::{ImageRecord, LayerRef};
pub use service::{Images, Imported, LayerProgress, PullProgress};
pub use settings::{Platform, Settings};
pub use snapshot::{Snapshot, VolumeSource};
