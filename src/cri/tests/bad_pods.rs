//! Bad input: each call is refused with the right code and a text that names the field, and changes nothing.

use tonic::{Code, Request};

use super::requests::{namespaces, pod, refused, run_request, secured_pod};
use super::support::TestNode;
use crate::cri::wire::v1::{self, NamespaceMode as M, runtime_service_server::RuntimeService as _};
use crate::sys::cgroup::Driver;

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
    let beside = |namespace: fn(&mut v1::NamespaceOption)| {
        let mut config = user_namespace(M::Pod, &[(0, 65536)]);
        let linux = config.linux.as_mut().unwrap();
        let context = linux.security_context.as_mut().unwrap();
        namespace(context.namespace_options.as_mut().unwrap());
        config
    };
    check(
        beside(|options| options.pid = M::Node as i32),
        BAD,
        "pid cannot be NODE beside userns_options of mode POD",
    )
    .await;
    check(
        beside(|options| options.ipc = M::Node as i32),
        BAD,
        "ipc cannot be NODE beside userns_options of mode POD",
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
async fn resources_of_pods() {
    let node = TestNode::new().await;
    let (id, stopped) = (node.run_pod("web").await, node.run_pod("stopped").await);
    node.stop_pod(&stopped).await.unwrap();
    let before = node.traces().await;
    let negative = || {
        Some(v1::LinuxContainerResources {
            cpu_shares: -1,
            ..Default::default()
        })
    };

    refused(
        node.update_pod("", None, None).await,
        BAD,
        "pod_sandbox_id is empty",
    );
    refused(
        node.update_pod("zz", None, None).await,
        Code::NotFound,
        "no pod sandbox zz",
    );
    refused(
        node.update_pod(&stopped, None, None).await,
        Code::FailedPrecondition,
        "is not ready",
    );
    refused(
        node.update_pod(&id, negative(), None).await,
        BAD,
        "overhead.cpu_shares -1 is negative",
    );
    refused(
        node.update_pod(&id, None, negative()).await,
        BAD,
        "resources.cpu_shares -1 is negative",
    );
    let config = pod_with(|config| config.linux.get_or_insert_default().overhead = negative());
    refused(
        node.adapter.run_pod_sandbox(run_request(config)).await,
        BAD,
        "config.linux.overhead.cpu_shares -1 is negative",
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

#[tokio::test]
async fn a_parent_that_is_no_slice_is_refused_where_systemd_makes_the_groups() {
    let node = TestNode::driven_by(Driver::Systemd).await;
    let in_group = |parent: &str| {
        pod_with(|config| {
            config.linux = Some(v1::LinuxPodSandboxConfig {
                cgroup_parent: parent.to_owned(),
                ..Default::default()
            });
        })
    };

    let outcome = node.adapter.run_pod_sandbox(run_request(in_group("/a/b"))).await;
    let status = outcome.unwrap_err();

    assert_eq!(status.code(), BAD);
    assert!(
        status.message().contains("cgroup_parent /a/b is not a slice"),
        "{}",
        status.message()
    );
    for slice in ["/a.slice/a-b.slice", "a-c.slice", "/d.slice", ""] {
        let mut config = in_group(slice);
        config.metadata.as_mut().unwrap().uid = format!("of {slice:?}").replace('/', "_");
        let outcome = node.adapter.run_pod_sandbox(run_request(config)).await;
        assert!(outcome.is_ok(), "{slice}: {outcome:?}");
    }
}
