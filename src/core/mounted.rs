//! Images that a container mounts as volumes beside its own: found before anything is made, and in the monitor's terms.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::image::{ImageRecord, Images};
use crate::model::{ContainerConfig, Error, Result};
use crate::monitor::protocol::ImageTree;
use crate::spec::{Source, StagedMount};

/// The images, by the number of the mount that names each.
pub(super) type Mounted = BTreeMap<usize, Arc<ImageRecord>>;

/// Finds them.
///
/// # Errors
/// `NotFound`: an image is not in the store; `InvalidArgument`: it has nothing at the path that is asked for.
pub(super) async fn find(config: &ContainerConfig, images: &Images) -> Result<Mounted> {
    let mut found = Mounted::new();
    for (n, mount) in config.mounts.iter().enumerate() {
        let Some(spec) = &mount.image else { continue };
        let image = images.find(&spec.image)?.ok_or_else(|| {
            Error::not_found(format!(
                "image {} to mount at {} is not in the store",
                spec.image, mount.container_path
            ))
        })?;
        if !images.holds(&image, &mount.image_sub_path).await? {
            return Err(Error::invalid(format!(
                "image_sub_path {:?} does not exist in image {}",
                mount.image_sub_path, spec.image
            )));
        }
        found.insert(n, image);
    }
    Ok(found)
}

/// The layers of a mounted image in the monitor's terms.
///
/// # Errors
/// `NotFound`: they are not in the store any more.
pub(super) fn tree(
    mount: &StagedMount,
    config: &ContainerConfig,
    mounted: &Mounted,
    images: &Images,
) -> Result<Option<ImageTree>> {
    let Source::Image(n) = mount.source else {
        return Ok(None);
    };
    let image = mounted.get(&n).zip(config.mounts.get(n));
    let (image, asked) = image.ok_or_else(|| Error::internal(format!("mounts[{n}] was not looked up")))?;
    Ok(Some(ImageTree {
        lower: images.mounted_layers(image)?,
        sub_path: asked.image_sub_path.clone(),
        options: vec![],
    }))
}
