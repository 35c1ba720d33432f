//! Mounts and devices of a container.

use std::collections::BTreeMap;

use crate::cri::sandbox::Mappings;
use crate::cri::wire::v1;
use crate::model::{Device, Error, ImageSpec, Mount, MountFlag, MountPropagation, Result};

use super::image::image_spec;
use super::user::{check_mount, mount_mappings};
use super::{absolute, known, no_nul};

/// The model's mounts, of a container in this user namespace.
///
/// # Errors
/// `InvalidArgument`, naming the mount's field.
pub(super) fn mounts(from: Vec<v1::Mount>, user: Option<Mappings>) -> Result<Vec<Mount>> {
    from.into_iter()
        .enumerate()
        .map(|(index, mount)| one(mount, user, &format!("mounts[{index}]")))
        .collect()
}

fn one(from: v1::Mount, user: Option<Mappings>, field: &str) -> Result<Mount> {
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
        flags: flags(&from.mount_options, field)?,
        // The kubelet sets it beside any volume that has a `subPath`, which the host's path then has already.
        image_sub_path: match image {
            Some(_) => from.image_sub_path,
            None => String::new(),
        },
        image,
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
        return Ok(None);
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

/// The flags that Kubernetes lets a mount have, each once. What would allow more than the volume does is no option.
fn flags(options: &[String], field: &str) -> Result<Vec<MountFlag>> {
    let mut flags = vec![];
    for (index, option) in options.iter().enumerate() {
        let Some(flag) = MountFlag::ALL.into_iter().find(|flag| flag.name() == option) else {
            return Err(Error::invalid(format!(
                "{field}.mount_options[{index}] {option:?} is none of noexec, nosuid, nodev"
            )));
        };
        if !flags.contains(&flag) {
            flags.push(flag);
        }
    }
    Ok(flags)
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

/// Full names of described devices, each once: those of the field, then those that annotations name, as kubelets did
/// before there was the field.
///
/// # Errors
/// `InvalidArgument`, naming the field or the annotation. Whether a name is one and known, the runtime finds out.
pub(super) fn described_devices(
    from: Vec<v1::CdiDevice>,
    annotations: &BTreeMap<String, String>,
) -> Result<Vec<String>> {
    const PREFIX: &str = "cdi.k8s.io/";
    let mut found: Vec<String> = vec![];
    let mut add = |name: &str, field: &str| {
        if name.is_empty() {
            return Err(Error::invalid(format!("{field} is empty")));
        }
        if !found.iter().any(|known| known == name) {
            found.push(name.to_owned());
        }
        Ok(())
    };
    for (index, device) in from.iter().enumerate() {
        add(&device.name, &format!("CDI_devices[{index}].name"))?;
    }
    for (key, names) in annotations.iter().filter(|(key, _)| key.starts_with(PREFIX)) {
        for name in names.split(',') {
            add(name.trim(), &format!("a device of annotation {key}"))?;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(field: &[&str], annotations: &[(&str, &str)]) -> Result<Vec<String>> {
        let field = field.iter().map(|name| v1::CdiDevice { name: (*name).into() });
        let annotations = annotations.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        described_devices(field.collect(), &annotations.collect())
    }

    #[test]
    fn described_devices_of_field_and_annotations_come_once_and_in_order() {
        let found = names(
            &["v/c=b", "v/c=a"],
            &[
                ("cdi.k8s.io/z", "v/c=d"),
                ("cdi.k8s.io/a", "v/c=a, v/c=c"),
                ("other.io/x", "v/c=e"),
            ],
        );

        assert_eq!(found.unwrap(), ["v/c=b", "v/c=a", "v/c=c", "v/c=d"]);
    }

    #[test]
    fn an_empty_name_of_a_device_is_refused_by_its_place() {
        let field = names(&[""], &[]).unwrap_err().to_string();
        let annotation = names(&[], &[("cdi.k8s.io/a", "v/c=a,")]).unwrap_err().to_string();

        assert_eq!(field, "CDI_devices[0].name is empty");
        assert_eq!(annotation, "a device of annotation cdi.k8s.io/a is empty");
    }
}
