//! The record of an image: what is known of it once it is in the store.

use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};

use super::name::Name;
use crate::model::Image;
use crate::state::Record;

/// An image in the store. Cheap to hold: handed out behind an `Arc`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// The digest of its configuration, `sha256:…`; of an artifact, that of its manifest.
    pub id: String,
    /// Names with a tag, sorted.
    pub repo_tags: Vec<String>,
    /// Names with a digest, sorted.
    pub repo_digests: Vec<String>,
    /// Bytes on disk of all its layers.
    pub size: u64,
    /// The digest of the manifest it came by.
    pub manifest_digest: String,
    /// The image's configuration.
    pub config: ImageConfiguration,
    /// The type of an artifact, which is no image: its layers are files to mount, its configuration is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    /// Its layers, lowest first.
    pub layers: Vec<LayerRef>,
    /// When it was pulled or imported first, nanoseconds since the epoch.
    pub created_at: i64,
}

impl Record for ImageRecord {
    const TABLE: &'static str = "images";
}

/// One layer of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRef {
    /// Digest of the uncompressed layer.
    pub diff_id: String,
    /// Digest of this layer and all below it (OCI image spec, config, "Layer ChainID").
    pub chain_id: String,
}

impl ImageRecord {
    /// The names it is known by, tags first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.repo_tags
            .iter()
            .chain(&self.repo_digests)
            .map(String::as_str)
    }

    /// The name to tell people of it by: the one of its names that is meant by what they wrote, or else its first.
    pub fn shown_as(&self, written: &str) -> Option<&str> {
        let meant = Name::parse(written).ok().map(|name| name.to_string());
        let meant = self.names().find(|name| Some(*name) == meant.as_deref());
        meant.or_else(|| self.names().next())
    }

    /// The chain id of its topmost layer; empty for an image without layers.
    pub fn chain_id(&self) -> &str {
        self.layers.last().map_or("", |l| l.chain_id.as_str())
    }

    /// The user its configuration names, as in `1000:1000`; empty is root.
    pub fn user(&self) -> &str {
        self.config
            .config()
            .as_ref()
            .and_then(|c| c.user().as_deref())
            .unwrap_or_default()
    }

    /// The signal its configuration asks to be stopped with.
    pub fn stop_signal(&self) -> Option<&str> {
        self.config
            .config()
            .as_ref()
            .and_then(|c| c.stop_signal().as_deref())
    }

    /// The paths its configuration declares as volumes, sorted.
    pub fn volumes(&self) -> Vec<String> {
        let mut volumes = self
            .config
            .config()
            .as_ref()
            .and_then(|c| c.volumes().clone())
            .unwrap_or_default();
        volumes.sort();
        volumes
    }

    /// Shows it as the model does.
    pub fn to_model(&self, pinned: bool) -> Image {
        let user = self.user().split(':').next().unwrap_or_default();
        let uid = user.parse::<u32>().ok().filter(|id| i32::try_from(*id).is_ok());
        Image {
            id: self.id.clone(),
            repo_tags: self.repo_tags.clone(),
            repo_digests: self.repo_digests.clone(),
            size: self.size,
            uid: uid.map_or(0, i64::from),
            username: if uid.is_some() {
                String::new()
            } else {
                user.to_owned()
            },
            has_uid: uid.is_some(),
            spec: None,
            pinned,
        }
    }
}
