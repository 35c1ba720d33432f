//! Requests that are good, for tests to spoil.

use tonic::{Code, Request, Response, Status};

use super::support::IMAGE;
use crate::cri::wire::v1;

/// A pod that can be run.
pub(super) fn pod(name: &str) -> v1::PodSandboxConfig {
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            namespace: "default".to_owned(),
            attempt: 0,
        }),
        hostname: name.to_owned(),
        log_directory: "/var/log/pods/x".to_owned(),
        labels: [("app".to_owned(), name.to_owned())].into(),
        annotations: [("note".to_owned(), " as is\n".to_owned())].into(),
        ..v1::PodSandboxConfig::default()
    }
}

pub(super) fn run_request(config: v1::PodSandboxConfig) -> Request<v1::RunPodSandboxRequest> {
    Request::new(v1::RunPodSandboxRequest {
        config: Some(config),
        runtime_handler: String::new(),
    })
}

/// A container that can be made.
pub(super) fn container(name: &str) -> v1::ContainerConfig {
    v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata {
            name: name.to_owned(),
            attempt: 0,
        }),
        image: Some(v1::ImageSpec {
            image: IMAGE.to_owned(),
            ..v1::ImageSpec::default()
        }),
        log_path: format!("{name}/0.log"),
        ..v1::ContainerConfig::default()
    }
}

pub(super) fn create_request(pod: &str, config: v1::ContainerConfig) -> Request<v1::CreateContainerRequest> {
    Request::new(v1::CreateContainerRequest {
        pod_sandbox_id: pod.to_owned(),
        config: Some(config),
        sandbox_config: None,
    })
}

/// A container with a security context.
pub(super) fn secured(name: &str, context: v1::LinuxContainerSecurityContext) -> v1::ContainerConfig {
    v1::ContainerConfig {
        linux: Some(v1::LinuxContainerConfig {
            resources: None,
            security_context: Some(context),
        }),
        ..container(name)
    }
}

/// A pod with a security context.
pub(super) fn secured_pod(name: &str, context: v1::LinuxSandboxSecurityContext) -> v1::PodSandboxConfig {
    v1::PodSandboxConfig {
        linux: Some(v1::LinuxPodSandboxConfig {
            security_context: Some(context),
            ..v1::LinuxPodSandboxConfig::default()
        }),
        ..pod(name)
    }
}

/// The options of a pod's namespaces.
pub(super) fn namespaces(
    network: v1::NamespaceMode,
    pid: v1::NamespaceMode,
    ipc: v1::NamespaceMode,
) -> v1::NamespaceOption {
    v1::NamespaceOption {
        network: network as i32,
        pid: pid as i32,
        ipc: ipc as i32,
        ..v1::NamespaceOption::default()
    }
}

/// Checks that a call is refused with a code, and a text that has these words.
pub(super) fn refused<T: std::fmt::Debug>(
    outcome: std::result::Result<Response<T>, Status>,
    code: Code,
    text: &str,
) {
    let status = outcome.expect_err(text);
    assert_eq!(status.code(), code, "{status:?}");
    assert!(
        status.message().contains(text),
        "{:?} has no {text:?}",
        status.message()
    );
}
