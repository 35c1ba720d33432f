//! Mounts and devices of a container.

use crate::cri::sandbox::Mappings;
use crate::cri::wire::v1;
use crate::model::{Device, Error, ImageSpec, Kind, Mount, MountPropagation, Result};

use super::image::image_spec;
use super::user::{check_mount, mount_mappings};
use super::{absolute, known, no_nul};

/// The model's mounts, of a container in this user namespace.
///
/// # Errors
/// `InvalidArgument` or `Unimplemented`, naming the mount's field.
pub(super) fn mounts(from: Vec<v1::Mount>, user: Option<Mappings>) -> Result<Vec<Mount>> {
    from.into_iter()
        .enumerate()
        .map(|(index, mount)| one(mount, user, &format!("mounts[{index}]")))
        .collect()
}

fn one(from: v1::Mount, user: Option<Mappings>, field: &str) -> Result<Mount> {
    unsupported(&from, field)?;
    absolute(&from.container_path, &format!("{field}.container_path"))?;
    let image = image(&from, field)?;
    if image.is_none() {
        absolute(&from.host_path, &format!("{field}.host_path"))?;
    }
    let propagation: v1::MountPropagation = known(from.propagation, &format!("{field}.propagation"))?;
    if from.recursive_read_only {
        if !from.readonly {
            return Err(Error::invalid(format!(
                "{field}.recursive_read_only needs readonly"
            )));
        }
        if propagation != v1::MountPropagation::PropagationPrivate {
            return Err(Error::invalid(format!(
                "{field}.recursive_read_only needs private propagation"
            )));
        }
    }
    let (uid_mappings, gid_mappings) = (
        mount_mappings(from.uid_mappings),
        mount_mappings(from.gid_mappings),
    );
    check_mount(&uid_mappings, &gid_mappings, user, field)?;
    Ok(Mount {
        uid_mappings,
        gid_mappings,
        container_path: from.container_path,
        host_path: from.host_path,
        readonly: from.readonly,
        image,
        image_sub_path: from.image_sub_path,
        propagation: match propagation {
            v1::MountPropagation::PropagationPrivate => MountPropagation::Private,
            v1::MountPropagation::PropagationHostToContainer => MountPropagation::HostToContainer,
            v1::MountPropagation::PropagationBidirectional => MountPropagation::Bidirectional,
        },
        recursive_read_only: from.recursive_read_only,
        selinux_relabel: from.selinux_relabel,
    })
}

/// The image to mount, and what may not be said beside it (CRI `Mount.image`).
fn image(from: &v1::Mount, field: &str) -> Result<Option<ImageSpec>> {
    let refused = |name: &str, why: &str| Err(Error::invalid(format!("{field}.{name} {why}")));
    let Some(image) = &from.image else {
        return match from.image_sub_path.is_empty() {
            true => Ok(None),
            false => refused("image_sub_path", "is set without an image"),
        };
    };
    if image.image.is_empty() {
        return refused("image.image", "is empty");
    }
    if !from.host_path.is_empty() {
        return refused("host_path", "is set beside an image");
    }
    if from.propagation != v1::MountPropagation::PropagationPrivate as i32 {
        return refused("propagation", "of an image can be private only");
    }
    if from.image_sub_path.split('/').any(|part| part == "..") {
        return refused("image_sub_path", "leads out of the image");
    }
    no_nul(&image.image, &format!("{field}.image.image"))?;
    no_nul(&from.image_sub_path, &format!("{field}.image_sub_path"))?;
    Ok(Some(image_spec(image.clone())))
}

/// What cannot be honoured is refused, never passed over.
fn unsupported(from: &v1::Mount, field: &str) -> Result<()> {
    match from.mount_options.is_empty() {
        true => Ok(()),
        false => Err(Error::new(
            Kind::Unimplemented,
            format!("{field}.mount_options is not supported"),
        )),
    }
}

/// The model's devices.
///
/// # Errors
/// `InvalidArgument`, naming the device's field.
pub(super) fn devices(from: Vec<v1::Device>) -> Result<Vec<Device>> {
    from.into_iter()
        .enumerate()
        .map(|(index, device)| device_one(device, &format!("devices[{index}]")))
        .collect()
}

fn device_one(from: v1::Device, field: &str) -> Result<Device> {
    absolute(&from.host_path, &format!("{field}.host_path"))?;
    let container_path = match from.container_path.is_empty() {
        true => from.host_path.clone(),
        false => from.container_path,
    };
    absolute(&container_path, &format!("{field}.container_path"))?;
    if let Some(odd) = from.permissions.chars().find(|c| !"rwm".contains(*c)) {
        return Err(Error::invalid(format!(
            "{field}.permissions contains {odd:?}, not one of r, w, m"
        )));
    }
    Ok(Device {
        container_path,
        host_path: from.host_path,
        permissions: match from.permissions.is_empty() {
            true => "rwm".to_owned(),
            false => from.permissions,
        },
    })
}
