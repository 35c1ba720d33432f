//! Tables of the calls about pods.

use k8s_cri::v1;
use libtest_mimic::Trial;
use tonic::Code;

use super::{Table, empty, shared_beginning};
use crate::harness::daemon::Daemon;
use crate::harness::pod::{self, Pod};
use crate::harness::trials;

pub(super) fn tests() -> Vec<Trial> {
    trials![run, stop, remove, status, list]
}

type Change = fn(&mut v1::PodSandboxConfig);

fn context(config: &mut v1::PodSandboxConfig) -> &mut v1::LinuxSandboxSecurityContext {
    config.linux.as_mut().unwrap().security_context.as_mut().unwrap()
}

fn metadata(config: &mut v1::PodSandboxConfig) -> &mut v1::PodSandboxMetadata {
    config.metadata.as_mut().unwrap()
}

fn port(config: &mut v1::PodSandboxConfig, change: fn(&mut v1::PortMapping)) {
    let mut mapping = v1::PortMapping {
        container_port: 80,
        host_port: 18081,
        ..Default::default()
    };
    change(&mut mapping);
    config.port_mappings.push(mapping);
}

fn dns(config: &mut v1::PodSandboxConfig, server: &str) {
    config.dns_config = Some(v1::DnsConfig {
        servers: vec![server.to_owned()],
        ..Default::default()
    });
}

fn profile(kind: i32, reference: &str) -> Option<v1::SecurityProfile> {
    Some(v1::SecurityProfile {
        profile_type: kind,
        localhost_ref: reference.to_owned(),
    })
}

/// Runs of ids, each the first inside, the first on the node and how many.
fn users(config: &mut v1::PodSandboxConfig, mode: v1::NamespaceMode, runs: &[(u32, u32, u32)]) {
    let run = |(container_id, host_id, length): &(u32, u32, u32)| v1::IdMapping {
        host_id: *host_id,
        container_id: *container_id,
        length: *length,
    };
    let runs: Vec<_> = runs.iter().map(run).collect();
    pod::namespaces(config).userns_options = Some(v1::UserNamespace {
        mode: mode.into(),
        uids: runs.clone(),
        gids: runs,
    });
}

fn annotate(config: &mut v1::PodSandboxConfig, name: &str, value: &str) {
    config.annotations.insert(name.to_owned(), value.to_owned());
}

const REFUSED: &[(&str, &str, Change)] = &[
    (
        "users of each container",
        "userns_options.mode cannot be CONTAINER",
        |c| users(c, v1::NamespaceMode::Container, &[]),
    ),
    (
        "users of a container",
        "userns_options.mode cannot be TARGET",
        |c| users(c, v1::NamespaceMode::Target, &[]),
    ),
    ("the node's users, mapped", "its mode is NODE", |c| {
        users(c, v1::NamespaceMode::Node, &[(0, 100_000, 9)])
    }),
    ("users who are nobody", "uids has 0 mappings, not 1", |c| {
        users(c, v1::NamespaceMode::Pod, &[])
    }),
    ("users in two places", "uids has 2 mappings, not 1", |c| {
        users(c, v1::NamespaceMode::Pod, &[(0, 100_000, 9), (0, 200_000, 9)])
    }),
    ("no root", "uids[0] does not map id 0", |c| {
        users(c, v1::NamespaceMode::Pod, &[(1, 100_000, 9)])
    }),
    ("no length", "uids[0].length is 0", |c| {
        users(c, v1::NamespaceMode::Pod, &[(0, 100_000, 0)])
    }),
    ("users beyond the last", "uids[0] goes beyond the last id", |c| {
        users(c, v1::NamespaceMode::Pod, &[(0, u32::MAX - 1, 9)])
    }),
    ("the node's root", "uids[0] maps root to the host's", |c| {
        users(c, v1::NamespaceMode::Pod, &[(0, 0, 65_536)])
    }),
    ("fewer groups than users", "maps 9 users and 8 groups", |c| {
        users(c, v1::NamespaceMode::Pod, &[(0, 100_000, 9)]);
        let user = pod::namespaces(c).userns_options.as_mut().unwrap();
        user.gids[0].length = 8;
    }),
    (
        "the node's processes beside users",
        "pid cannot be NODE beside",
        |c| {
            users(c, v1::NamespaceMode::Pod, &[(0, 100_000, 9)]);
            pod::namespaces(c).pid = v1::NamespaceMode::Node.into();
        },
    ),
    (
        "the node's memory beside users",
        "ipc cannot be NODE beside",
        |c| {
            users(c, v1::NamespaceMode::Pod, &[(0, 100_000, 9)]);
            pod::namespaces(c).ipc = v1::NamespaceMode::Node.into();
        },
    ),
    ("no metadata", "metadata", |c| c.metadata = None),
    ("no name", "metadata.name", |c| metadata(c).name.clear()),
    ("no namespace", "metadata.namespace", |c| {
        metadata(c).namespace.clear()
    }),
    ("no uid", "metadata.uid", |c| metadata(c).uid.clear()),
    ("a name that is a path", "metadata.name", |c| {
        metadata(c).name = "../../x".into()
    }),
    (
        "a namespace that smuggles an argument",
        "metadata.namespace",
        |c| metadata(c).namespace = "a;B=c".into(),
    ),
    ("a name without end", "metadata.name", |c| {
        metadata(c).name = "x".repeat(5000)
    }),
    ("a long host name", "hostname", |c| c.hostname = "x".repeat(65)),
    ("a host name of two lines", "hostname", |c| {
        c.hostname = "a\nb".into()
    }),
    ("a relative log directory", "log_directory", |c| {
        c.log_directory = "logs".into()
    }),
    ("a cgroup parent above the root", "cgroup_parent", |c| {
        c.linux.as_mut().unwrap().cgroup_parent = "/a/../../b".into()
    }),
    ("a server of two lines", "dns_config.servers", |c| {
        dns(c, "192.0.2.1\noptions x")
    }),
    ("an empty server", "dns_config.servers", |c| dns(c, "")),
    ("a port beyond the last", "port_mappings[0].host_port", |c| {
        port(c, |p| p.host_port = 65536)
    }),
    ("a negative port", "port_mappings[0].container_port", |c| {
        port(c, |p| p.container_port = -1)
    }),
    ("an unknown protocol", "port_mappings[0].protocol", |c| {
        port(c, |p| p.protocol = 9)
    }),
    ("a host address that is none", "port_mappings[0].host_ip", |c| {
        port(c, |p| p.host_ip = "localhost".into())
    }),
    (
        "a bandwidth that is none",
        "kubernetes.io/ingress-bandwidth",
        |c| annotate(c, "kubernetes.io/ingress-bandwidth", "10 Mbit"),
    ),
    ("too small a bandwidth", "is not between 1k and 1P", |c| {
        annotate(c, "kubernetes.io/egress-bandwidth", "999")
    }),
    ("an unknown network mode", "network", |c| {
        pod::namespaces(c).network = 9
    }),
    ("a network of the container's", "network", |c| {
        pod::namespaces(c).network = v1::NamespaceMode::Container.into()
    }),
    ("a target", "pid", |c| {
        pod::namespaces(c).pid = v1::NamespaceMode::Target.into()
    }),
    ("an unknown ipc mode", "ipc", |c| pod::namespaces(c).ipc = -1),
    ("a sysctl of the node", "sysctls", |c| {
        c.linux
            .as_mut()
            .unwrap()
            .sysctls
            .insert("vm.swappiness".into(), "1".into());
    }),
    ("a sysctl that is a path", "sysctls", |c| {
        c.linux
            .as_mut()
            .unwrap()
            .sysctls
            .insert("net/../../x".into(), "1".into());
    }),
    ("a group without a user", "run_as_group", |c| {
        context(c).run_as_group = Some(v1::Int64Value { value: 1 })
    }),
    ("a negative user", "run_as_user", |c| {
        context(c).run_as_user = Some(v1::Int64Value { value: -5 })
    }),
    ("a user beyond the last", "run_as_user", |c| {
        context(c).run_as_user = Some(v1::Int64Value { value: 1 << 32 })
    }),
    ("an unknown kind of profile", "profile_type", |c| {
        context(c).seccomp = profile(9, "")
    }),
    ("a local profile without a name", "localhost_ref", |c| {
        context(c).seccomp = profile(2, "")
    }),
];

async fn call(
    daemon: &Daemon,
    config: Option<v1::PodSandboxConfig>,
    handler: &str,
) -> Result<tonic::Response<v1::RunPodSandboxResponse>, tonic::Status> {
    let request = v1::RunPodSandboxRequest {
        config,
        runtime_handler: handler.to_owned(),
    };
    daemon.runtime().run_pod_sandbox(request).await
}

async fn run() {
    let daemon = empty().await;
    let mut table = Table::new(&daemon).await;

    table
        .refused(
            "no configuration",
            Code::InvalidArgument,
            "config",
            call(&daemon, None, ""),
        )
        .await;
    let good = pod::config(&daemon, "handler");
    table
        .refused(
            "an unknown handler",
            Code::InvalidArgument,
            "runtime_handler",
            call(&daemon, Some(good), "kata"),
        )
        .await;
    for (row, names, change) in REFUSED {
        let mut config = pod::config(&daemon, "refused");
        change(&mut config);
        table
            .refused(row, Code::InvalidArgument, names, call(&daemon, Some(config), ""))
            .await;
    }

    let stopped = Pod::run(&daemon, "order").await;
    stopped.stop().await;
    let mut table = Table {
        before: super::world(&daemon).await,
        ..table
    };
    let again = call(&daemon, Some(stopped.config.clone()), "");
    table
        .refused("a stopped pod once more", Code::AlreadyExists, &stopped.id, again)
        .await;

    table.finish();
}

/// Pods of which two have ids that begin with the character returned.
async fn twins(daemon: &Daemon) -> String {
    shared_beginning(async |_| Pod::run(daemon, "twin").await.id).await
}

async fn stop() {
    let daemon = empty().await;
    let pod = Pod::run(&daemon, "stop").await;
    let call = async |id: &str| {
        let pod_sandbox_id = id.to_owned();
        daemon
            .runtime()
            .stop_pod_sandbox(v1::StopPodSandboxRequest { pod_sandbox_id })
            .await
    };
    // With one pod alone: an empty id is the beginning of its id, too.
    let mut table = Table::new(&daemon).await;
    table
        .refused("no id", Code::InvalidArgument, "pod_sandbox_id", call(""))
        .await;
    table.accepted("an unknown id", call("no-such-pod")).await;
    table.accepted("a path", call("../../../etc")).await;
    table
        .accepted("an id with more behind it", call(&format!("{}0", pod.id)))
        .await;
    pod.stop().await;
    let mut table = Table {
        before: super::world(&daemon).await,
        ..table
    };
    table.accepted("a stopped pod", call(&pod.id)).await;

    let beginning = twins(&daemon).await;
    let mut table = Table {
        before: super::world(&daemon).await,
        ..table
    };
    table
        .refused(
            "the beginning of two ids",
            Code::InvalidArgument,
            "pod_sandbox_id",
            call(&beginning),
        )
        .await;

    table.finish();
}

async fn remove() {
    let daemon = empty().await;
    let pod = Pod::run(&daemon, "remove").await;
    let call = async |id: &str| {
        let pod_sandbox_id = id.to_owned();
        daemon
            .runtime()
            .remove_pod_sandbox(v1::RemovePodSandboxRequest { pod_sandbox_id })
            .await
    };
    let mut table = Table::new(&daemon).await;
    table
        .refused("no id", Code::InvalidArgument, "pod_sandbox_id", call(""))
        .await;
    table.accepted("an unknown id", call("no-such-pod")).await;
    table.accepted("a path", call("../../../etc")).await;
    table
        .accepted("an id with more behind it", call(&format!("{}0", pod.id)))
        .await;
    pod.remove().await;
    let mut table = Table {
        before: super::world(&daemon).await,
        ..table
    };
    table.accepted("a removed pod", call(&pod.id)).await;

    let beginning = twins(&daemon).await;
    let mut table = Table {
        before: super::world(&daemon).await,
        ..table
    };
    table
        .refused(
            "the beginning of two ids",
            Code::InvalidArgument,
            "pod_sandbox_id",
            call(&beginning),
        )
        .await;

    table.finish();
}

async fn status() {
    let daemon = empty().await;
    let pod = Pod::run(&daemon, "status").await;
    let call = async |id: &str| {
        let pod_sandbox_id = id.to_owned();
        let request = v1::PodSandboxStatusRequest {
            pod_sandbox_id,
            verbose: true,
        };
        daemon.runtime().pod_sandbox_status(request).await
    };
    let mut table = Table::new(&daemon).await;
    table
        .refused("no id", Code::InvalidArgument, "pod_sandbox_id", call(""))
        .await;
    table
        .refused(
            "an unknown id",
            Code::NotFound,
            "no-such-pod",
            call("no-such-pod"),
        )
        .await;
    table
        .refused("a path", Code::NotFound, "../../../etc", call("../../../etc"))
        .await;
    table
        .refused(
            "an id with more behind it",
            Code::NotFound,
            &pod.id,
            call(&format!("{}0", pod.id)),
        )
        .await;
    pod.remove().await;
    let beginning = twins(&daemon).await;
    let mut table = Table {
        before: super::world(&daemon).await,
        ..table
    };
    table
        .refused("a removed pod", Code::NotFound, &pod.id, call(&pod.id))
        .await;
    table
        .refused(
            "the beginning of two ids",
            Code::InvalidArgument,
            "pod_sandbox_id",
            call(&beginning),
        )
        .await;

    table.finish();
}

async fn list() {
    let daemon = empty().await;
    let beginning = twins(&daemon).await;
    let call = async |filter: v1::PodSandboxFilter| {
        let request = v1::ListPodSandboxRequest { filter: Some(filter) };
        daemon.runtime().list_pod_sandbox(request).await
    };
    let by_id = |id: &str| v1::PodSandboxFilter {
        id: id.to_owned(),
        ..Default::default()
    };
    let by_state = |state| v1::PodSandboxFilter {
        state: Some(v1::PodSandboxStateValue { state }),
        ..Default::default()
    };
    let by_label = |key: &str, value: &str| v1::PodSandboxFilter {
        label_selector: [(key.to_owned(), value.to_owned())].into(),
        ..Default::default()
    };
    let mut table = Table::new(&daemon).await;

    table
        .refused(
            "an unknown state",
            Code::InvalidArgument,
            "filter.state",
            call(by_state(9)),
        )
        .await;
    table
        .refused(
            "a negative state",
            Code::InvalidArgument,
            "filter.state",
            call(by_state(-1)),
        )
        .await;
    for (row, filter) in [
        ("an unknown id", by_id("no-such-pod")),
        ("the beginning of two ids", by_id(&beginning)),
        ("a path", by_id("../..")),
        ("an unknown label", by_label("no-such", "label")),
        ("an empty label", by_label("", "")),
    ] {
        let answer = table.accepted(row, call(filter)).await.unwrap();
        assert_eq!(answer.items, [], "{row}");
    }

    table.finish();
}
