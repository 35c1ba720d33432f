//! The model's containers, as the wire lists and reports them.

use bytes::Bytes;
use prost::Message as _;

use crate::cri::sandbox::TAG;
use crate::cri::wire::v1;
use crate::model::{
    Container, ContainerMetadata, ContainerState, ContainerStatus, ContainerUser, LinuxContainerResources,
    Mount, Tags,
};

use super::image::spec_to_wire;
use super::resources::to_wire;
use super::user::to_wire as user_mapping;
use super::{ADDED_MOUNTS_TAG, ATTEMPT_TAG, NAME_TAG, signal};

/// A container in a list, encoded. One that belongs to no sandbox is not the adapter's to list.
pub(in crate::cri) fn container_written(from: Container) -> Option<Bytes> {
    container_item(from).map(|item| item.encode_to_vec().into())
}

fn container_item(from: Container) -> Option<v1::Container> {
    let pod_sandbox_id = from.tags.get(TAG)?.clone();
    Some(v1::Container {
        pod_sandbox_id,
        metadata: metadata(&from.tags, from.metadata),
        id: from.id,
        image: from.image.map(spec_to_wire),
        image_ref: from.image_ref,
        state: state(from.state),
        created_at: from.created_at,
        labels: from.labels,
        annotations: from.annotations,
        image_id: from.image_id,
    })
}

/// A container's status.
pub(in crate::cri) fn container_status(from: ContainerStatus) -> v1::ContainerStatus {
    let added = added_mounts(&from.tags);
    v1::ContainerStatus {
        metadata: metadata(&from.tags, from.metadata),
        id: from.id,
        state: state(from.state),
        created_at: from.created_at,
        started_at: from.started_at,
        finished_at: from.finished_at,
        exit_code: from.exit_code,
        image: from.image.map(spec_to_wire),
        image_ref: from.image_ref,
        reason: from.reason,
        message: from.message,
        labels: from.labels,
        annotations: from.annotations,
        // Only what was asked for: the kubelet and its tests know nothing of ours.
        mounts: from.mounts.into_iter().skip(added).map(mount).collect(),
        log_path: from.log_path,
        resources: from.resources.map(resources),
        image_id: from.image_id,
        user: from.user.map(user),
        stop_signal: signal::number(&from.stop_signal),
    }
}

/// Whose a container with these tags is, for a person to read; `None`: it belongs to no sandbox.
pub fn owner(tags: &Tags) -> Option<String> {
    tags.get(TAG).map(|id| format!("the kubelet (pod sandbox {id})"))
}

/// How many of a container's mounts, the first ones, are the adapter's.
pub(in crate::cri) fn added_mounts(tags: &Tags) -> usize {
    tags.get(ADDED_MOUNTS_TAG)
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

/// The identity that was asked with; the tags have it, whatever the model calls the container.
pub(super) fn metadata(tags: &Tags, from: Option<ContainerMetadata>) -> Option<v1::ContainerMetadata> {
    let from = from.unwrap_or_default();
    let attempt = tags.get(ATTEMPT_TAG).and_then(|n| n.parse().ok());
    Some(v1::ContainerMetadata {
        name: tags.get(NAME_TAG).cloned().unwrap_or(from.name),
        attempt: attempt.unwrap_or(from.attempt),
    })
}

fn state(from: ContainerState) -> i32 {
    let state = match from {
        ContainerState::Created => v1::ContainerState::ContainerCreated,
        ContainerState::Running => v1::ContainerState::ContainerRunning,
        ContainerState::Exited => v1::ContainerState::ContainerExited,
        ContainerState::Unknown => v1::ContainerState::ContainerUnknown,
    };
    state as i32
}

fn mount(from: Mount) -> v1::Mount {
    v1::Mount {
        container_path: from.container_path,
        host_path: from.host_path,
        readonly: from.readonly,
        selinux_relabel: from.selinux_relabel,
        propagation: i32::from(from.propagation),
        recursive_read_only: from.recursive_read_only,
        image: from.image.map(spec_to_wire),
        image_sub_path: from.image_sub_path,
        uid_mappings: from.uid_mappings.into_iter().map(user_mapping).collect(),
        gid_mappings: from.gid_mappings.into_iter().map(user_mapping).collect(),
        mount_options: from.flags.iter().map(|flag| flag.name().to_owned()).collect(),
    }
}

fn resources(from: LinuxContainerResources) -> v1::ContainerResources {
    v1::ContainerResources {
        linux: Some(to_wire(from)),
        windows: None,
    }
}

fn user(from: ContainerUser) -> v1::ContainerUser {
    v1::ContainerUser {
        linux: Some(v1::LinuxContainerUser {
            uid: from.uid.into(),
            gid: from.gid.into(),
            supplemental_groups: from.supplemental_groups.into_iter().map(i64::from).collect(),
        }),
    }
}
