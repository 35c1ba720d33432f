//! Doors for fuzzing: each takes bytes, and panics at what must not come of them. Not in an ordinary build.

use std::path::Path;

use prost::Message as _;

use crate::cri::convert::{self, PidSource};
use crate::cri::sandbox::{Attachment, Phase, Record};
use crate::cri::wire::v1;
use crate::model::{ContainerConfig, Namespace};

/// The sandbox's and the container's part of a `CreateContainerRequest`, as far as it is one that would be taken.
pub fn container(data: &[u8]) -> Option<ContainerConfig> {
    let request = v1::CreateContainerRequest::decode(data).ok()?;
    let sandbox = v1::RunPodSandboxRequest {
        config: request.sandbox_config,
        runtime_handler: String::new(),
    };
    let record = Record {
        id: "ab".repeat(32),
        config: convert::sandbox(sandbox).ok()?,
        created_at: 1,
        phase: Phase::Ready,
        network: Attachment::None,
        ips: vec![],
    };
    let _ = (
        convert::sandbox_written(&record),
        convert::sandbox_status(&record),
    );
    let config = request.config?;
    let dir = Path::new("/run/c/sandboxes/ab");
    let pid = match convert::pid_source(&config, &record, dir).ok()? {
        PidSource::Is(namespace) => namespace,
        PidSource::Target(_) => Namespace::Join("/proc/1/ns/pid".into()),
    };
    let config = convert::container(config, &record, dir, pid).ok()?;
    let log = Path::new(&config.log_path);
    assert!(!log.is_absolute() && !log.components().any(|c| c == std::path::Component::ParentDir));
    Some(config)
}

/// A record that can be read is written so that it reads the same.
pub fn record(data: &[u8]) {
    let Ok(record) = serde_json::from_slice::<Record>(data) else {
        return;
    };
    let written = serde_json::to_vec(&record).expect("a record can be written");
    let again: Record = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(record, again);
}
