//! A pod of a test: made with a configuration that the test may change, removed at its end.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use k8s_cri::v1;

use super::container::Made;
use super::daemon::{Daemon, image_name};
use super::node::node;

/// A pod sandbox, and the daemon it is on.
pub(crate) struct Pod<'a> {
    pub(crate) daemon: &'a Daemon,
    pub(crate) id: String,
    pub(crate) config: v1::PodSandboxConfig,
}

/// The configuration of a pod with a network of its own, and a name that no other has.
pub(crate) fn config(daemon: &Daemon, name: &str) -> v1::PodSandboxConfig {
    let number = node().number();
    let logs = daemon.place.logs().join(format!("{name}-{number}"));
    fs::create_dir_all(&logs).unwrap();
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: name.to_owned(),
            uid: format!("uid-{number}"),
            namespace: "e2e".to_owned(),
            attempt: 0,
        }),
        hostname: format!("host-{number}"),
        log_directory: logs.to_str().unwrap().to_owned(),
        labels: HashMap::from([("test".to_owned(), format!("{name}-{number}"))]),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: format!("{}/{name}-{number}", daemon.place.cgroup_parent()),
            security_context: Some(v1::LinuxSandboxSecurityContext {
                namespace_options: Some(v1::NamespaceOption {
                    pid: v1::NamespaceMode::Container.into(),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The namespace options of a configuration that [`config`] made.
pub(crate) fn namespaces(config: &mut v1::PodSandboxConfig) -> &mut v1::NamespaceOption {
    let linux = config.linux.as_mut().unwrap();
    let context = linux.security_context.as_mut().unwrap();
    context.namespace_options.as_mut().unwrap()
}

/// Puts a pod into the node's network, which is quicker where the network does not matter.
pub(crate) fn host_network(config: &mut v1::PodSandboxConfig) {
    namespaces(config).network = v1::NamespaceMode::Node.into();
    config.hostname.clear();
}

impl<'a> Pod<'a> {
    /// Runs a pod in the node's network.
    pub(crate) async fn run(daemon: &'a Daemon, name: &str) -> Pod<'a> {
        Pod::run_with(daemon, name, host_network).await
    }

    /// Runs a pod after `change` has changed its configuration.
    pub(crate) async fn run_with(
        daemon: &'a Daemon,
        name: &str,
        change: impl FnOnce(&mut v1::PodSandboxConfig),
    ) -> Pod<'a> {
        let mut config = config(daemon, name);
        change(&mut config);
        Pod::run_config(daemon, config).await
    }

    /// Runs a pod with exactly this configuration.
    pub(crate) async fn run_config(daemon: &'a Daemon, config: v1::PodSandboxConfig) -> Pod<'a> {
        let request = v1::RunPodSandboxRequest {
            config: Some(config.clone()),
            ..Default::default()
        };
        let id = daemon
            .runtime()
            .run_pod_sandbox(request)
            .await
            .unwrap()
            .into_inner()
            .pod_sandbox_id;
        Pod { daemon, id, config }
    }

    /// The pod of this id and configuration, on another daemon than the one that made it.
    pub(crate) fn adopted(daemon: &'a Daemon, id: &str, config: &v1::PodSandboxConfig) -> Pod<'a> {
        Pod {
            daemon,
            id: id.to_owned(),
            config: config.clone(),
        }
    }

    /// The pod's status.
    pub(crate) async fn status(&self) -> v1::PodSandboxStatus {
        let request = v1::PodSandboxStatusRequest {
            pod_sandbox_id: self.id.clone(),
            verbose: false,
        };
        let answer = self.daemon.runtime().pod_sandbox_status(request).await.unwrap();
        answer.into_inner().status.unwrap()
    }

    /// The pod's address.
    pub(crate) async fn ip(&self) -> String {
        self.status().await.network.unwrap().ip
    }

    /// Stops the pod.
    pub(crate) async fn stop(&self) {
        let request = v1::StopPodSandboxRequest {
            pod_sandbox_id: self.id.clone(),
        };
        self.daemon.runtime().stop_pod_sandbox(request).await.unwrap();
    }

    /// Stops and removes the pod with its containers.
    pub(crate) async fn remove(&self) {
        self.stop().await;
        let request = v1::RemovePodSandboxRequest {
            pod_sandbox_id: self.id.clone(),
        };
        self.daemon.runtime().remove_pod_sandbox(request).await.unwrap();
    }

    /// The directory of the containers' logs.
    pub(crate) fn logs(&self) -> PathBuf {
        PathBuf::from(&self.config.log_directory)
    }

    /// Directory of the pod in each cgroup hierarchy that has one.
    pub(crate) fn cgroup(&self) -> String {
        self.config.linux.as_ref().unwrap().cgroup_parent.clone()
    }

    /// The configuration of a container that runs `command` from the common image.
    pub(crate) fn container_config(&self, name: &str, command: &[&str]) -> v1::ContainerConfig {
        v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata {
                name: name.to_owned(),
                attempt: 0,
            }),
            image: Some(v1::ImageSpec {
                image: image_name(),
                ..Default::default()
            }),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            log_path: format!("{name}.log"),
            linux: Some(v1::LinuxContainerConfig {
                resources: Some(v1::LinuxContainerResources::default()),
                security_context: Some(v1::LinuxContainerSecurityContext {
                    namespace_options: Some(v1::NamespaceOption {
                        pid: v1::NamespaceMode::Container.into(),
                        network: self.namespaces().network,
                        userns_options: self.namespaces().userns_options,
                        ..Default::default()
                    }),
                    ..Default::default()
                }),
            }),
            ..Default::default()
        }
    }

    fn namespaces(&self) -> v1::NamespaceOption {
        let linux = self.config.linux.clone().unwrap_or_default();
        let context = linux.security_context.unwrap_or_default();
        context.namespace_options.unwrap_or_default()
    }

    /// What a request to create a container of this configuration looks like.
    pub(crate) fn create_request(&self, config: v1::ContainerConfig) -> v1::CreateContainerRequest {
        v1::CreateContainerRequest {
            pod_sandbox_id: self.id.clone(),
            config: Some(config),
            sandbox_config: Some(self.config.clone()),
        }
    }

    /// Creates a container after `change` has changed its configuration.
    pub(crate) async fn create_with(
        &self,
        name: &str,
        command: &[&str],
        change: impl FnOnce(&mut v1::ContainerConfig),
    ) -> Made<'a> {
        let mut config = self.container_config(name, command);
        change(&mut config);
        let log = self.logs().join(&config.log_path);
        let request = self.create_request(config);
        let answer = self.daemon.runtime().create_container(request).await.unwrap();
        Made {
            daemon: self.daemon,
            id: answer.into_inner().container_id,
            log,
        }
    }

    /// Creates a container.
    pub(crate) async fn create(&self, name: &str, command: &[&str]) -> Made<'a> {
        self.create_with(name, command, |_| {}).await
    }

    /// Creates and starts a container after `change` has changed its configuration.
    pub(crate) async fn start_with(
        &self,
        name: &str,
        command: &[&str],
        change: impl FnOnce(&mut v1::ContainerConfig),
    ) -> Made<'a> {
        let container = self.create_with(name, command, change).await;
        container.start().await;
        container
    }

    /// Creates and starts a container.
    pub(crate) async fn start(&self, name: &str, command: &[&str]) -> Made<'a> {
        self.start_with(name, command, |_| {}).await
    }

    /// Creates and starts a container that only waits, for execs.
    pub(crate) async fn idle(&self, name: &str) -> Made<'a> {
        self.start(name, &["sleep", "infinity"]).await
    }

    /// Runs a script to its end, and returns what it printed.
    pub(crate) async fn output_with(
        &self,
        name: &str,
        script: &str,
        change: impl FnOnce(&mut v1::ContainerConfig),
    ) -> String {
        let container = self.start_with(name, &["sh", "-c", script], change).await;
        container.exited().await;
        container.output()
    }

    /// Runs a script to its end, and returns what it printed.
    pub(crate) async fn output(&self, name: &str, script: &str) -> String {
        self.output_with(name, script, |_| {}).await
    }
}

/// The security context of a configuration that [`Pod::container_config`] made.
pub(crate) fn security(config: &mut v1::ContainerConfig) -> &mut v1::LinuxContainerSecurityContext {
    config.linux.as_mut().unwrap().security_context.as_mut().unwrap()
}

/// The resources of a configuration that [`Pod::container_config`] made.
pub(crate) fn resources(config: &mut v1::ContainerConfig) -> &mut v1::LinuxContainerResources {
    config.linux.as_mut().unwrap().resources.as_mut().unwrap()
}
