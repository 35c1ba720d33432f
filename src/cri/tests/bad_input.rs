//! Bad input: each call is refused with the right code and a text that names the field, and changes nothing.

use tonic::{Code, Request};

use super::support::{
    TestNode, container, create_request, namespaces, pod, refused, run_request, secured, secured_pod,
};
use crate::cri::wire::v1::{
    self, NamespaceMode as M, image_service_server::ImageService as _,
    runtime_service_server::RuntimeService as _,
};

const BAD: Code = Code::InvalidArgument;

fn number(value: i64) -> Option<v1::Int64Value> {
    Some(v1::Int64Value { value })
}

fn pod_with(change: impl FnOnce(&mut v1::PodSandboxConfig)) -> v1::PodSandboxConfig {
    let mut config = pod("web");
    change(&mut config);
    config
}

fn pod_named(change: impl FnOnce(&mut v1::PodSandboxMetadata)) -> v1::PodSandboxConfig {
    pod_with(|config| change(config.metadata.as_mut().unwrap()))
}

fn pod_in(options: v1::NamespaceOption) -> v1::PodSandboxConfig {
    let context = v1::LinuxSandboxSecurityContext {
        namespace_options: Some(options),
        ..Default::default()
    };
    secured_pod("web", context)
}

fn user_namespace(mode: M, runs: &[(u32, u32)]) -> v1::PodSandboxConfig {
    let run = |(container_id, length): &(u32, u32)| v1::IdMapping {
        host_id: 100_000,
        container_id: *container_id,
        length: *length,
    };
    let maps: Vec<_> = runs.iter().map(run).collect();
    let options = v1::UserNamespace {
        mode: mode as i32,
        uids: maps.clone(),
        gids: maps,
    };
    pod_in(v1::NamespaceOption {
        userns_options: Some(options),
        ..Default::default()
    })
}

fn sysctl(name: &str) -> v1::PodSandboxConfig {
    pod_with(|config| {
        config.linux = Some(v1::LinuxPodSandboxConfig {
            sysctls: [(name.to_owned(), "1".to_owned())].into(),
            ..Default::default()
        });
    })
}

fn mapping(host_port: i32, container_port: i32, protocol: i32, host_ip: &str) -> v1::PodSandboxConfig {
    pod_with(|config| {
        config.port_mappings = vec![v1::PortMapping {
            protocol,
            container_port,
            host_port,
            host_ip: host_ip.to_owned(),
        }];
    })
}

#[tokio::test]
async fn run_pod_sandbox() {
    let node = TestNode::new().await;
    let before = node.traces().await;
    let check = async |config: v1::PodSandboxConfig, code, text: &str| {
        refused(
            node.adapter.run_pod_sandbox(run_request(config)).await,
            code,
            text,
        );
        assert_eq!(node.traces().await, before, "{text}");
    };

    check(pod_with(|c| c.metadata = None), BAD, "config.metadata is missing").await;
    check(
        pod_named(|m| m.name.clear()),
        BAD,
        "config.metadata.name is empty",
    )
    .await;
    check(
        pod_named(|m| m.name = "a/b".into()),
        BAD,
        "config.metadata.name contains '/'",
    )
    .await;
    check(
        pod_named(|m| m.name = "a;b".into()),
        BAD,
        "config.metadata.name contains ';'",
    )
    .await;
    check(pod_named(|m| m.uid.clear()), BAD, "config.metadata.uid is empty").await;
    check(
        pod_named(|m| m.namespace = "a\n".into()),
        BAD,
        "config.metadata.namespace contains '\\n'",
    )
    .await;
    check(pod_named(|m| m.name = "a".repeat(254)), BAD, "longer than 253").await;
    check(
        pod_with(|c| c.hostname = "a b".into()),
        BAD,
        "config.hostname contains ' '",
    )
    .await;
    check(
        pod_with(|c| c.hostname = "a".repeat(65)),
        BAD,
        "config.hostname is longer",
    )
    .await;
    check(
        pod_with(|c| c.log_directory = "logs".into()),
        BAD,
        "config.log_directory logs is not absolute",
    )
    .await;
    let servers = vec!["10.0.0.1\noptions x".to_owned()];
    let dns = v1::DnsConfig {
        servers,
        ..Default::default()
    };
    check(
        pod_with(|c| c.dns_config = Some(dns)),
        BAD,
        "config.dns_config.servers[0]",
    )
    .await;
    check(
        sysctl("vm.swappiness"),
        BAD,
        "config.linux.sysctls[vm.swappiness] does not belong",
    )
    .await;
    check(
        mapping(70000, 80, 0, ""),
        BAD,
        "config.port_mappings[0].host_port 70000",
    )
    .await;
    check(
        mapping(80, -1, 0, ""),
        BAD,
        "config.port_mappings[0].container_port -1",
    )
    .await;
    check(
        mapping(80, 80, 7, ""),
        BAD,
        "config.port_mappings[0].protocol has unknown value 7",
    )
    .await;
    check(
        mapping(80, 80, 0, "here"),
        BAD,
        "config.port_mappings[0].host_ip here",
    )
    .await;
    check(
        mapping(80, 0, 0, ""),
        BAD,
        "config.port_mappings[0].container_port is missing",
    )
    .await;
    check(
        pod_in(namespaces(M::Container, M::Pod, M::Pod)),
        BAD,
        "network cannot be CONTAINER",
    )
    .await;
    check(
        pod_in(namespaces(M::Pod, M::Target, M::Pod)),
        BAD,
        "pid cannot be TARGET",
    )
    .await;
    check(
        pod_in(namespaces(M::Pod, M::Pod, M::Target)),
        BAD,
        "ipc cannot be TARGET",
    )
    .await;
    let unknown = v1::NamespaceOption {
        pid: 9,
        ..Default::default()
    };
    check(pod_in(unknown), BAD, "pid has unknown value 9").await;
    check(
        user_namespace(M::Pod, &[(0, 1), (1, 1)]),
        BAD,
        "uids has 2 mappings",
    )
    .await;
    check(
        user_namespace(M::Pod, &[(1, 65536)]),
        BAD,
        "uids[0] does not map id 0",
    )
    .await;
    check(user_namespace(M::Container, &[]), BAD, "mode cannot be CONTAINER").await;
    check(user_namespace(M::Target, &[]), BAD, "mode cannot be TARGET").await;
    check(
        user_namespace(M::Pod, &[(0, 65536)]),
        Code::Unimplemented,
        "userns_options.mode POD",
    )
    .await;
    let group = v1::LinuxSandboxSecurityContext {
        run_as_group: number(1),
        ..Default::default()
    };
    check(secured_pod("web", group), BAD, "run_as_group needs run_as_user").await;
}

#[tokio::test]
async fn run_pod_sandbox_without_a_configuration_or_for_an_unknown_handler() {
    let node = TestNode::new().await;
    let before = node.traces().await;

    let nothing = node
        .adapter
        .run_pod_sandbox(Request::new(Default::default()))
        .await;
    let mut other = run_request(pod("web"));
    other.get_mut().runtime_handler = "gvisor".into();
    let other = node.adapter.run_pod_sandbox(other).await;

    refused(nothing, BAD, "config is missing");
    refused(other, BAD, "runtime_handler gvisor is not configured");
    assert_eq!(node.traces().await, before);
}

#[tokio::test]
async fn ids_of_pods() {
    let node = TestNode::new().await;
    node.run_pod("web").await;
    let before = node.traces().await;
    let status = |id: &str| {
        let request = v1::PodSandboxStatusRequest {
            pod_sandbox_id: id.to_owned(),
            verbose: false,
        };
        node.adapter.pod_sandbox_status(Request::new(request))
    };

    refused(status("").await, BAD, "pod_sandbox_id is empty");
    refused(status("zz").await, Code::NotFound, "no pod sandbox zz");
    refused(status("../..").await, Code::NotFound, "no pod sandbox ../..");
    refused(
        status(&"a".repeat(1000)).await,
        Code::NotFound,
        "no pod sandbox aaa",
    );
    refused(status("\0").await, Code::NotFound, "no pod sandbox");
    refused(node.stop_pod("").await, BAD, "pod_sandbox_id is empty");
    refused(node.remove_pod("").await, BAD, "pod_sandbox_id is empty");
    for unknown in ["zz", "../..", "\0", "sha256:0"] {
        node.stop_pod(unknown).await.unwrap();
        node.remove_pod(unknown).await.unwrap();
    }
    let filter = v1::PodSandboxFilter {
        state: Some(v1::PodSandboxStateValue { state: 7 }),
        ..Default::default()
    };
    let request = v1::ListPodSandboxRequest { filter: Some(filter) };
    refused(
        node.adapter.list_pod_sandbox(Request::new(request)).await,
        BAD,
        "filter.state",
    );
    assert_eq!(node.traces().await, before);
}

#[tokio::test]
async fn an_ambiguous_beginning_of_an_id() {
    let node = TestNode::new().await;
    let mut ids = vec![];
    // Of seventeen ids two begin with the same digit.
    for n in 0..17 {
        ids.push(node.run_pod(&format!("pod-{n}")).await);
    }
    ids.sort();
    let twice = ids.windows(2).find(|pair| pair[0][..1] == pair[1][..1]).unwrap();

    let outcome = node.stop_pod(&twice[0][..1]).await;

    refused(outcome, BAD, "is the beginning of several ids");
}

fn container_with(change: impl FnOnce(&mut v1::ContainerConfig)) -> v1::ContainerConfig {
    let mut config = container("app");
    change(&mut config);
    config
}

fn mount(change: impl FnOnce(&mut v1::Mount)) -> v1::ContainerConfig {
    let mut mount = v1::Mount {
        container_path: "/data".into(),
        host_path: "/".into(),
        ..Default::default()
    };
    change(&mut mount);
    container_with(|config| config.mounts = vec![mount])
}

fn context(change: impl FnOnce(&mut v1::LinuxContainerSecurityContext)) -> v1::ContainerConfig {
    let mut context = v1::LinuxContainerSecurityContext::default();
    change(&mut context);
    secured("app", context)
}

fn limits(change: impl FnOnce(&mut v1::LinuxContainerResources)) -> v1::ContainerConfig {
    let mut limits = v1::LinuxContainerResources::default();
    change(&mut limits);
    container_with(|config| {
        config.linux = Some(v1::LinuxContainerConfig {
            resources: Some(limits),
            security_context: None,
        });
    })
}

fn profile(profile_type: i32, localhost_ref: &str) -> Option<v1::SecurityProfile> {
    Some(v1::SecurityProfile {
        profile_type,
        localhost_ref: localhost_ref.to_owned(),
    })
}

/// Refuses each configuration, and finds everything as it was.
async fn check_containers(rows: Vec<(v1::ContainerConfig, Code, &str)>) {
    let node = TestNode::new().await;
    let pod = node.run_pod("web").await;
    let before = node.traces().await;
    for (config, code, text) in rows {
        refused(
            node.adapter.create_container(create_request(&pod, config)).await,
            code,
            text,
        );
        assert_eq!(node.traces().await, before, "{text}");
    }
}

#[tokio::test]
async fn create_container() {
    let env = |key: &str, value: &[u8]| v1::KeyValue {
        key: key.into(),
        value: value.into(),
    };
    let device = |host: &str, permissions: &str| v1::Device {
        container_path: String::new(),
        host_path: host.into(),
        permissions: permissions.into(),
    };
    check_containers(vec![
        (
            container_with(|c| c.metadata = None),
            BAD,
            "config.metadata is missing",
        ),
        (
            container_with(|c| c.metadata.as_mut().unwrap().name.clear()),
            BAD,
            "config.metadata.name is empty",
        ),
        (
            container_with(|c| c.metadata.as_mut().unwrap().name = "a/b".into()),
            BAD,
            "config.metadata.name contains",
        ),
        (container_with(|c| c.image = None), BAD, "config.image is missing"),
        (
            container_with(|c| c.image = Some(Default::default())),
            BAD,
            "config.image.image is empty",
        ),
        (
            container_with(|c| c.image.as_mut().unwrap().image = "none".into()),
            Code::NotFound,
            "none",
        ),
        (
            container_with(|c| c.log_path = "../x".into()),
            BAD,
            "config.log_path ../x",
        ),
        (
            container_with(|c| c.envs = vec![env("", b"x")]),
            BAD,
            "config.envs[0].key",
        ),
        (
            container_with(|c| c.envs = vec![env("A=B", b"x")]),
            BAD,
            "config.envs[0].key",
        ),
        (
            container_with(|c| c.envs = vec![env("A", b"x\0")]),
            BAD,
            "config.envs[0].value",
        ),
        (
            container_with(|c| c.command = vec!["a\0".into()]),
            BAD,
            "config.command[0]",
        ),
        (
            container_with(|c| c.stop_signal = 99),
            BAD,
            "config.stop_signal has unknown value 99",
        ),
        (
            container_with(|c| c.devices = vec![device("", "r")]),
            BAD,
            "devices[0].host_path is empty",
        ),
        (
            container_with(|c| c.devices = vec![device("/dev/null", "x")]),
            BAD,
            "devices[0].permissions",
        ),
        (
            container_with(|c| c.cdi_devices = vec![v1::CdiDevice { name: "a/b=c".into() }]),
            Code::Unimplemented,
            "CDI_devices",
        ),
        (
            limits(|l| l.cpu_shares = -1),
            BAD,
            "linux.resources.cpu_shares -1",
        ),
        (
            limits(|l| l.oom_score_adj = 1001),
            BAD,
            "linux.resources.oom_score_adj 1001",
        ),
        (
            limits(|l| l.hugepage_limits = vec![Default::default()]),
            BAD,
            "linux.resources.hugepage_limits[0]",
        ),
        (
            limits(|l| l.unified = [("../x".into(), "1".into())].into()),
            BAD,
            "linux.resources.unified[../x]",
        ),
    ])
    .await;
}

#[tokio::test]
async fn create_container_with_bad_mounts() {
    let image = Some(v1::ImageSpec::default());
    let unsupported = Code::Unimplemented;
    check_containers(vec![
        (
            mount(|m| m.container_path.clear()),
            BAD,
            "mounts[0].container_path is empty",
        ),
        (
            mount(|m| m.container_path = "data".into()),
            BAD,
            "mounts[0].container_path data is not absolute",
        ),
        (
            mount(|m| m.host_path.clear()),
            BAD,
            "mounts[0].host_path is empty",
        ),
        (
            mount(|m| m.host_path = "/no/such".into()),
            BAD,
            "mounts[0].host_path /no/such does not exist",
        ),
        (
            mount(|m| m.propagation = 5),
            BAD,
            "mounts[0].propagation has unknown value 5",
        ),
        (
            mount(|m| m.recursive_read_only = true),
            BAD,
            "mounts[0].recursive_read_only needs readonly",
        ),
        (
            mount(|m| {
                (m.readonly, m.recursive_read_only) = (true, true);
                m.propagation = v1::MountPropagation::PropagationHostToContainer as i32;
            }),
            BAD,
            "mounts[0].recursive_read_only needs private propagation",
        ),
        (
            mount(|m| m.image = image),
            unsupported,
            "mounts[0].image is not supported",
        ),
        (
            mount(|m| m.mount_options = vec!["x".into()]),
            unsupported,
            "mounts[0].mount_options",
        ),
        (
            mount(|m| m.uid_mappings = vec![Default::default()]),
            unsupported,
            "mounts[0].uid_mappings",
        ),
    ])
    .await;
}

#[tokio::test]
#[allow(deprecated, reason = "older clients set these fields")]
async fn create_container_with_a_bad_security_context() {
    let target = || v1::NamespaceOption {
        pid: M::Target as i32,
        ..Default::default()
    };
    check_containers(vec![
        (
            context(|c| c.privileged = true),
            BAD,
            "privileged needs a privileged pod sandbox",
        ),
        (
            context(|c| c.run_as_group = number(1)),
            BAD,
            "run_as_group needs run_as_user",
        ),
        (
            context(|c| c.run_as_user = number(-1)),
            BAD,
            "run_as_user -1 is out of range",
        ),
        (
            context(|c| c.run_as_user = number(1 << 32)),
            BAD,
            "run_as_user 4294967296 is out of range",
        ),
        (
            context(|c| (c.run_as_user, c.run_as_username) = (number(1), "nobody".into())),
            BAD,
            "run_as_username is set beside run_as_user",
        ),
        (
            context(|c| c.supplemental_groups = vec![1, -2]),
            BAD,
            "supplemental_groups[1] -2",
        ),
        (
            context(|c| c.supplemental_groups_policy = 3),
            BAD,
            "supplemental_groups_policy has unknown value 3",
        ),
        (
            context(|c| c.masked_paths = vec!["x".into()]),
            BAD,
            "masked_paths[0] x is not absolute",
        ),
        (
            context(|c| c.readonly_paths = vec![String::new()]),
            BAD,
            "readonly_paths[0] is empty",
        ),
        (
            context(|c| c.seccomp = profile(2, "")),
            BAD,
            "seccomp.localhost_ref is empty",
        ),
        (
            context(|c| c.seccomp = profile(0, "/x")),
            BAD,
            "seccomp.localhost_ref is set",
        ),
        (
            context(|c| c.seccomp = profile(9, "")),
            BAD,
            "seccomp.profile_type has unknown value 9",
        ),
        (
            context(|c| c.seccomp_profile_path = "x".into()),
            BAD,
            "seccomp_profile_path x is not a profile",
        ),
        (
            context(|c| c.apparmor_profile = "localhost/".into()),
            BAD,
            "apparmor_profile localhost/",
        ),
        (
            context(|c| c.namespace_options = Some(target())),
            BAD,
            "target_id is empty",
        ),
        (
            context(|c| {
                c.namespace_options = Some(v1::NamespaceOption {
                    target_id: "zz".into(),
                    ..target()
                })
            }),
            Code::NotFound,
            "zz",
        ),
    ])
    .await;
}

#[tokio::test]
async fn ids_of_containers() {
    let node = TestNode::new().await;
    let pod = node.run_pod("web").await;
    let created = node.create(&pod, "app").await;
    let before = node.traces().await;
    let adapter = &node.adapter;
    for (id, code, text) in [
        ("", BAD, "container_id is empty"),
        ("zz", Code::NotFound, "zz"),
        ("../..", Code::NotFound, "../.."),
        ("\0", Code::NotFound, "no container"),
        ("sha256:0", Code::NotFound, "sha256:0"),
    ] {
        let container_id = id.to_owned();
        let start = v1::StartContainerRequest {
            container_id: container_id.clone(),
        };
        refused(adapter.start_container(Request::new(start)).await, code, text);
        let status = v1::ContainerStatusRequest {
            container_id: container_id.clone(),
            verbose: true,
        };
        refused(adapter.container_status(Request::new(status)).await, code, text);
        let stats = v1::ContainerStatsRequest {
            container_id: container_id.clone(),
        };
        refused(adapter.container_stats(Request::new(stats)).await, code, text);
        let reopen = v1::ReopenContainerLogRequest {
            container_id: container_id.clone(),
        };
        refused(
            adapter.reopen_container_log(Request::new(reopen)).await,
            code,
            text,
        );
        let linux = Some(v1::LinuxContainerResources::default());
        let update = v1::UpdateContainerResourcesRequest {
            container_id: container_id.clone(),
            linux,
            ..Default::default()
        };
        refused(
            adapter.update_container_resources(Request::new(update)).await,
            code,
            text,
        );
        let exec = v1::ExecSyncRequest {
            container_id: container_id.clone(),
            cmd: vec!["true".into()],
            timeout: 0,
        };
        refused(adapter.exec_sync(Request::new(exec)).await, code, text);
        let stop = v1::StopContainerRequest {
            container_id: container_id.clone(),
            timeout: 0,
        };
        let remove = v1::RemoveContainerRequest { container_id };
        match code {
            BAD => {
                refused(adapter.stop_container(Request::new(stop)).await, code, text);
                refused(adapter.remove_container(Request::new(remove)).await, code, text);
            }
            _ => {
                adapter.stop_container(Request::new(stop)).await.unwrap();
                adapter.remove_container(Request::new(remove)).await.unwrap();
            }
        }
        let request = create_request(id, container("other"));
        let (code, text) = if id.is_empty() {
            (BAD, "pod_sandbox_id is empty")
        } else {
            (code, "no pod sandbox")
        };
        refused(adapter.create_container(request).await, code, text);
    }
    assert_eq!(node.traces().await, before);
    assert!(before.containers.contains_key(&created));
}

#[tokio::test]
async fn calls_about_a_container_in_the_wrong_state_or_with_bad_values() {
    let node = TestNode::new().await;
    let pod = node.run_pod("web").await;
    let id = node.create(&pod, "app").await;
    let before = node.traces().await;
    let exec = |cmd: Vec<String>, timeout| {
        let request = v1::ExecSyncRequest {
            container_id: id.clone(),
            cmd,
            timeout,
        };
        node.adapter.exec_sync(Request::new(request))
    };
    let stop = v1::StopContainerRequest {
        container_id: id.clone(),
        timeout: -1,
    };
    let reopen = v1::ReopenContainerLogRequest {
        container_id: id.clone(),
    };
    let update = v1::UpdateContainerResourcesRequest {
        container_id: id.clone(),
        ..Default::default()
    };
    let state = Some(v1::ContainerStateValue { state: -1 });
    let filter = Some(v1::ContainerFilter {
        state,
        ..Default::default()
    });

    refused(exec(vec![], 0).await, BAD, "cmd is empty");
    refused(exec(vec![String::new()], 0).await, BAD, "cmd is empty");
    refused(exec(vec!["true".into()], -1).await, BAD, "timeout -1 is negative");
    refused(
        exec(vec!["true".into()], 0).await,
        Code::FailedPrecondition,
        "does not run",
    );
    refused(
        node.adapter.stop_container(Request::new(stop)).await,
        BAD,
        "timeout -1 is negative",
    );
    refused(
        node.adapter.reopen_container_log(Request::new(reopen)).await,
        Code::FailedPrecondition,
        "run",
    );
    refused(
        node.adapter
            .update_container_resources(Request::new(update))
            .await,
        BAD,
        "linux is missing",
    );
    let list = v1::ListContainersRequest { filter };
    refused(
        node.adapter.list_containers(Request::new(list)).await,
        BAD,
        "filter.state has unknown value -1",
    );
    refused(
        node.adapter
            .create_container(Request::new(v1::CreateContainerRequest {
                pod_sandbox_id: pod.clone(),
                ..Default::default()
            }))
            .await,
        BAD,
        "config is missing",
    );
    assert_eq!(node.traces().await, before);
}

#[tokio::test]
async fn names_of_images() {
    let node = TestNode::new().await;
    let specs = [
        (None, "image is missing"),
        (Some(v1::ImageSpec::default()), "image.image is empty"),
        (
            Some(v1::ImageSpec {
                image: "a\0".into(),
                ..Default::default()
            }),
            "image.image contains a NUL",
        ),
    ];
    for (image, text) in specs {
        let pull = v1::PullImageRequest {
            image: image.clone(),
            ..Default::default()
        };
        refused(node.adapter.pull_image(Request::new(pull)).await, BAD, text);
        let status = v1::ImageStatusRequest {
            image: image.clone(),
            verbose: false,
        };
        refused(node.adapter.image_status(Request::new(status)).await, BAD, text);
        let remove = v1::RemoveImageRequest { image };
        refused(node.adapter.remove_image(Request::new(remove)).await, BAD, text);
    }
    let image = Some(v1::ImageSpec {
        image: "registry.example/none:1".into(),
        ..Default::default()
    });
    let pull = v1::PullImageRequest {
        image,
        ..Default::default()
    };
    refused(
        node.adapter.pull_image(Request::new(pull)).await,
        Code::NotFound,
        "registry.example/none:1",
    );
}
