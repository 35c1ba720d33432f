//! Images and the requests about them.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::ImageSpec;
use super::json::is_zero;

/// An image in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Its id: the digest of its configuration, as in `sha256:…`. The same in every call.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub id: String,
    /// Names with a tag.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repo_tags: Vec<String>,
    /// Names with a digest.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repo_digests: Vec<String>,
    /// Bytes on disk.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size: u64,
    /// User number of its configuration; 0 also when there is none, or a name.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uid: i64,
    /// User name of its configuration.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub username: String,
    /// Further: its configuration names a user number, which may be 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub has_uid: bool,
    /// Further: the first name it was pulled by.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spec: Option<ImageSpec>,
    /// Further: never removed to gain space.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pinned: bool,
}

/// What images to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageFilter {
    /// Only the image of this name or id.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub image: Option<ImageSpec>,
}

/// Asks for images.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListImagesRequest {
    /// Which ones; absent lists all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub filter: Option<ImageFilter>,
}

/// Answers with images, in no particular order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListImagesResponse {
    /// The images.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub images: Vec<Image>,
}

/// Asks about one image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageStatusRequest {
    /// Its name or id.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub image: Option<ImageSpec>,
    /// Asks for `info` as well.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub verbose: bool,
}

/// Answers about one image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageStatusResponse {
    /// The image; absent when it is not in the store.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub image: Option<Image>,
    /// JSON texts for debugging: `info` holds the chain id and the image configuration.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub info: BTreeMap<String, String>,
}

/// Asks to bring an image into the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PullImageRequest {
    /// Its name.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub image: Option<ImageSpec>,
    /// Who asks the registry.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub auth: Option<AuthConfig>,
}

/// Answers with the image that was pulled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PullImageResponse {
    /// Its id.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub image_ref: String,
}

/// Asks to remove an image, with all its names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemoveImageRequest {
    /// Any of its names, or its id.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub image: Option<ImageSpec>,
}

/// Credentials for one registry. Never printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuthConfig {
    /// User.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub username: String,
    /// Password.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub password: String,
    /// `user:password` in base64.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub auth: String,
    /// The registry they are for; empty is any.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub server_address: String,
    /// A refresh token, exchanged for an access token.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub identity_token: String,
    /// A bearer token, sent as it is.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub registry_token: String,
}

impl fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthConfig")
            .field("server_address", &self.server_address)
            .finish_non_exhaustive()
    }
}
