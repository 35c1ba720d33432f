//! Images, their names, credentials and file systems.

use crate::cri::wire::v1;
use crate::model::{AuthConfig, FilesystemUsage, Image, ImageSpec, Result};

use super::{no_nul, not_empty, required};

/// The model's name of an image. All handlers share one store, so that images are told of as no handler's: the kubelet
/// compares what the lists of containers and of images say.
pub(in crate::cri) fn image_spec(from: v1::ImageSpec) -> ImageSpec {
    ImageSpec {
        image: from.image,
        user_specified_image: from.user_specified_image,
        annotations: from.annotations,
        image_ref: from.image_ref,
    }
}

/// The name of an image that must be given.
///
/// # Errors
/// `InvalidArgument`, naming the field.
pub(in crate::cri) fn required_image(from: Option<v1::ImageSpec>, field: &str) -> Result<ImageSpec> {
    let spec = required(from, field)?;
    not_empty(&spec.image, &format!("{field}.image"))?;
    no_nul(&spec.image, &format!("{field}.image"))?;
    Ok(image_spec(spec))
}

/// The wire's name of an image.
pub(super) fn spec_to_wire(from: ImageSpec) -> v1::ImageSpec {
    v1::ImageSpec {
        image: from.image,
        annotations: from.annotations,
        user_specified_image: from.user_specified_image,
        runtime_handler: String::new(),
        image_ref: from.image_ref,
    }
}

/// The wire's image.
pub(in crate::cri) fn image(from: Image) -> v1::Image {
    v1::Image {
        id: from.id,
        repo_tags: from.repo_tags,
        repo_digests: from.repo_digests,
        size: from.size,
        uid: from.has_uid.then_some(v1::Int64Value { value: from.uid }),
        username: from.username,
        spec: from.spec.map(spec_to_wire),
        pinned: from.pinned,
    }
}

/// The model's credentials.
pub(in crate::cri) fn auth(from: v1::AuthConfig) -> AuthConfig {
    AuthConfig {
        username: from.username,
        password: from.password,
        auth: from.auth,
        server_address: from.server_address,
        identity_token: from.identity_token,
        registry_token: from.registry_token,
    }
}

/// The wire's usage of a file system. Every field is set: the kubelet reads them without asking.
pub(in crate::cri) fn filesystem(from: FilesystemUsage) -> v1::FilesystemUsage {
    v1::FilesystemUsage {
        timestamp: from.timestamp,
        fs_id: Some(v1::FilesystemIdentifier {
            mountpoint: from.mountpoint.to_string_lossy().into_owned(),
        }),
        used_bytes: Some(v1::UInt64Value {
            value: from.used_bytes,
        }),
        inodes_used: Some(v1::UInt64Value {
            value: from.inodes_used,
        }),
    }
}
