//! Bad configurations of containers.

use super::requests::{container, create_request, refused, secured};
use super::support::TestNode;
use crate::cri::wire::v1::{self, NamespaceMode as M, runtime_service_server::RuntimeService as _};
use tonic::Code;

const BAD: Code = Code::InvalidArgument;

fn number(value: i64) -> Option<v1::Int64Value> {
    Some(v1::Int64Value { value })
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
            container_with(|c| c.cdi_devices = vec![v1::CdiDevice { name: String::new() }]),
            BAD,
            "CDI_devices[0].name",
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
        (mount(|m| m.image = image), BAD, "mounts[0].image.image is empty"),
        (
            mount(|m| m.mount_options = vec!["noexec".into(), "exec".into()]),
            BAD,
            "mounts[0].mount_options[1] \"exec\" is none of noexec, nosuid, nodev",
        ),
        (
            mount(|m| m.uid_mappings = vec![Default::default()]),
            BAD,
            "mounts[0].uid_mappings need a pod sandbox in a user namespace",
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
            context(|c| c.run_as_username = "../root".into()),
            BAD,
            "run_as_username is not the name of a user",
        ),
        (
            context(|c| c.run_as_username = "..".into()),
            BAD,
            "run_as_username is not the name of a user",
        ),
        (
            context(|c| c.run_as_username = "a:b".into()),
            BAD,
            "run_as_username is not the name of a user",
        ),
        (
            limits(|l| l.cpu_period = 1),
            BAD,
            "cpu_period 1 is not within 1000 to 1000000",
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
