//! What the demo asks for: the pod, the container, the command.

use std::collections::HashMap;

use k8s_cri::v1 as wire;

use super::Demo;

/// Prints, waits, and ends at once and well when asked to.
const SCRIPT: &str = "echo \"hello from $(hostname)\"; echo 'a line for people to worry about' >&2; \
     trap 'echo goodbye; exit 0' TERM; sleep 3600 & wait";
/// The first line that [`SCRIPT`] prints begins so.
pub(super) const GREETING: &str = "hello from ";
/// What is executed in the running container.
pub(super) const EXEC: [&str; 3] = ["sh", "-c", "echo \"user $(id -u) on $(hostname) sees:\"; ps"];
/// Memory that the container may use.
const MEMORY: i64 = 64 << 20;

impl Demo {
    pub(super) fn pod_name(&self) -> String {
        format!("coracle-demo-{}", self.run)
    }

    pub(super) fn image_spec(&self) -> wire::ImageSpec {
        wire::ImageSpec {
            image: self.options.image.clone(),
            ..wire::ImageSpec::default()
        }
    }

    /// Processes are the container's own; the network is the pod's, or the host's.
    fn namespaces(host_network: bool) -> wire::NamespaceOption {
        let network = if host_network {
            wire::NamespaceMode::Node
        } else {
            wire::NamespaceMode::Pod
        };
        wire::NamespaceOption {
            network: network.into(),
            pid: wire::NamespaceMode::Container.into(),
            ..wire::NamespaceOption::default()
        }
    }

    pub(super) fn pod(&self, host_network: bool) -> wire::PodSandboxConfig {
        wire::PodSandboxConfig {
            metadata: Some(wire::PodSandboxMetadata {
                name: self.pod_name(),
                uid: self.run.clone(),
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            hostname: if host_network {
                String::new()
            } else {
                self.pod_name()
            },
            log_directory: self.logs.display().to_string(),
            labels: HashMap::from([("coracle.demo".to_owned(), self.run.clone())]),
            linux: Some(wire::LinuxPodSandboxConfig {
                security_context: Some(wire::LinuxSandboxSecurityContext {
                    namespace_options: Some(Demo::namespaces(host_network)),
                    ..wire::LinuxSandboxSecurityContext::default()
                }),
                ..wire::LinuxPodSandboxConfig::default()
            }),
            ..wire::PodSandboxConfig::default()
        }
    }

    pub(super) fn container(&self, host_network: bool) -> wire::ContainerConfig {
        wire::ContainerConfig {
            metadata: Some(wire::ContainerMetadata {
                name: "shell".to_owned(),
                attempt: 0,
            }),
            image: Some(self.image_spec()),
            command: vec!["sh".to_owned(), "-c".to_owned(), SCRIPT.to_owned()],
            log_path: "shell.log".to_owned(),
            linux: Some(wire::LinuxContainerConfig {
                resources: Some(wire::LinuxContainerResources {
                    memory_limit_in_bytes: MEMORY,
                    ..wire::LinuxContainerResources::default()
                }),
                security_context: Some(wire::LinuxContainerSecurityContext {
                    namespace_options: Some(Demo::namespaces(host_network)),
                    seccomp: Some(wire::SecurityProfile {
                        profile_type: wire::security_profile::ProfileType::RuntimeDefault.into(),
                        ..wire::SecurityProfile::default()
                    }),
                    no_new_privs: true,
                    ..wire::LinuxContainerSecurityContext::default()
                }),
            }),
            ..wire::ContainerConfig::default()
        }
    }
}
