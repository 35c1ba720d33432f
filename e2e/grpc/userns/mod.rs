//! Pods in user namespaces: their root is root inside and nobody in particular on the node.

mod life;
mod mounts;
mod rights;

use coracle::cri::wire::v1 as ours;
use k8s_cri::v1;
use libtest_mimic::Trial;

use crate::harness::daemon::Daemon;
use crate::harness::pod::{self, Pod, namespaces};

/// The user of the node who is root in the pods of these tests.
const ROOT: u32 = 200_000;
/// How many follow.
const IDS: u32 = 65_536;

pub(crate) fn tests() -> Vec<Trial> {
    [rights::tests(), mounts::tests(), life::tests()]
        .into_iter()
        .flatten()
        .collect()
}

/// As the kubelet sends it.
pub(crate) fn user_namespace() -> v1::UserNamespace {
    v1::UserNamespace {
        mode: v1::NamespaceMode::Pod.into(),
        uids: mappings(),
        gids: mappings(),
    }
}

fn mappings() -> Vec<v1::IdMapping> {
    vec![v1::IdMapping {
        host_id: ROOT,
        container_id: 0,
        length: IDS,
    }]
}

/// Runs a pod in a user namespace after `change` has changed its configuration.
pub(crate) async fn run_with<'a>(
    daemon: &'a Daemon,
    name: &str,
    change: impl FnOnce(&mut v1::PodSandboxConfig),
) -> Pod<'a> {
    let mut config = pod::config(daemon, name);
    namespaces(&mut config).userns_options = Some(user_namespace());
    change(&mut config);
    Pod::run_config(daemon, config).await
}

/// Runs a pod in a user namespace.
pub(crate) async fn run<'a>(daemon: &'a Daemon, name: &str) -> Pod<'a> {
    run_with(daemon, name, |_| {}).await
}

/// A mount whose files' owners are the same inside as on the node, as the kubelet asks for.
fn mapped(from: &std::path::Path, to: &str) -> v1::Mount {
    v1::Mount {
        uid_mappings: mappings(),
        gid_mappings: mappings(),
        ..plain(from, to)
    }
}

fn plain(from: &std::path::Path, to: &str) -> v1::Mount {
    v1::Mount {
        host_path: from.to_str().unwrap().to_owned(),
        container_path: to.to_owned(),
        ..Default::default()
    }
}

/// The same for our own definition, which knows fields that `k8s_cri` does not.
fn our_mappings() -> Vec<ours::IdMapping> {
    vec![ours::IdMapping {
        host_id: ROOT,
        container_id: 0,
        length: IDS,
    }]
}

/// The real, effective, saved and file system user of a process on the node.
fn users_of(pid: i32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    line["Uid:".len()..]
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}
