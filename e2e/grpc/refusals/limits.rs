//! The table of the call that changes what a pod as a whole may use.

use coracle::cri::wire::v1 as ours;
use k8s_cri::v1;
use libtest_mimic::Trial;
use tonic::Code;

use super::{Table, empty};
use crate::harness::pod::Pod;
use crate::harness::trials;

pub(super) fn tests() -> Vec<Trial> {
    trials![update_of_a_pod]
}

async fn update_of_a_pod() {
    let daemon = empty().await;
    let pod = Pod::run(&daemon, "update").await;
    let stopped = Pod::run(&daemon, "update-stopped").await;
    stopped.stop().await;
    type Limits = ours::LinuxContainerResources;
    type Row = (
        &'static str,
        &'static str,
        fn(&mut ours::UpdatePodSandboxResourcesRequest),
    );
    let call = async |id: &str, change: fn(&mut ours::UpdatePodSandboxResourcesRequest)| {
        let mut request = ours::UpdatePodSandboxResourcesRequest {
            pod_sandbox_id: id.to_owned(),
            overhead: None,
            resources: Some(Limits {
                cpu_shares: 10,
                ..Limits::default()
            }),
        };
        change(&mut request);
        daemon.own_runtime().update_pod_sandbox_resources(request).await
    };
    let kept = async || {
        let request = v1::PodSandboxStatusRequest {
            pod_sandbox_id: pod.id.clone(),
            verbose: true,
        };
        let answer = daemon.runtime().pod_sandbox_status(request).await;
        answer.unwrap().into_inner().info
    };
    let (good, before) = (|_: &mut _| {}, kept().await);
    let mut table = Table::new(&daemon).await;

    let (invalid, unknown) = (Code::InvalidArgument, "no-such-pod");
    table
        .refused("no id", invalid, "pod_sandbox_id", call("", good))
        .await;
    table
        .refused("an unknown id", Code::NotFound, unknown, call(unknown, good))
        .await;
    table
        .refused("a path", Code::NotFound, "../..", call("../..", good))
        .await;
    let of_none = call(&stopped.id, good);
    table
        .refused("a stopped pod", Code::FailedPrecondition, &stopped.id, of_none)
        .await;
    let rows: [Row; 5] = [
        ("negative shares", "resources.cpu_shares", |r| {
            r.resources.get_or_insert_default().cpu_shares = -1;
        }),
        ("a negative period", "resources.cpu_period", |r| {
            r.resources.get_or_insert_default().cpu_period = -1;
        }),
        ("an oom score", "resources.oom_score_adj", |r| {
            r.resources.get_or_insert_default().oom_score_adj = 1001;
        }),
        ("processors that are no list", "resources.cpuset_cpus", |r| {
            r.resources.get_or_insert_default().cpuset_cpus = "none".into();
        }),
        ("an overhead that is negative", "overhead.cpu_shares", |r| {
            r.overhead.get_or_insert_default().cpu_shares = -1;
        }),
    ];
    for (row, field, change) in rows {
        table.refused(row, invalid, field, call(&pod.id, change)).await;
    }

    assert_eq!(kept().await, before);
    table.finish();
}
