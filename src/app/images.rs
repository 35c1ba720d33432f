//! The image store of a state directory, opened with the configured settings.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::AppError;
use crate::config::Config;
use crate::image::{Images, Settings};
use crate::state::Store;

/// Name of the record store's file in the state directory.
const RECORDS: &str = "state.redb";

/// Opens the records of `config.state_dir`, which the caller has locked.
pub(super) fn open_records(config: &Config) -> Result<Store, AppError> {
    Ok(Store::open(&config.state_dir.join(RECORDS))?)
}

/// Opens the images of `config.state_dir`.
pub(super) async fn open_images(config: &Config, records: &Store) -> Result<Images, AppError> {
    Images::open(settings(config), records.clone())
        .await
        .map_err(AppError::Images)
}

/// Directory of all image data; archives on their way in lie here, nameless.
pub(super) fn image_root(state_dir: &Path) -> PathBuf {
    state_dir.join("images")
}

/// The settings of its image store.
pub(super) fn settings(config: &Config) -> Settings {
    Settings {
        registry_config_dir: config.registry.config_dir.clone(),
        auth_file: config.registry.auth_file.clone(),
        progress_timeout: Duration::from_secs(config.registry.progress_timeout_seconds.get().into()),
        concurrent_layers: config.registry.max_parallel_layers.get(),
        max_layer_bytes: config.images.max_layer_bytes.get(),
        max_layer_entries: config.images.max_layer_entries.get(),
        max_layer_depth: config.images.max_layer_depth.get(),
        max_layer_ratio: config.images.max_layer_ratio,
        max_document_bytes: config.images.max_document_bytes.get(),
        pinned: config.images.pinned.clone(),
        ..Settings::at(image_root(&config.state_dir))
    }
}
