//! Tables of the calls that want a running container: limits, logs, commands.

use k8s_cri::v1;
use libtest_mimic::Trial;
use tonic::Code;

use super::containers::{INVALID, UNKNOWN, scene};
use super::{Table, empty};
use crate::harness::trials;

pub(super) fn tests() -> Vec<Trial> {
    trials![update, reopen, exec]
}

async fn update() {
    let daemon = empty().await;
    let scene = scene(&daemon).await;
    let call = async |id: &str, linux: Option<v1::LinuxContainerResources>| {
        let request = v1::UpdateContainerResourcesRequest {
            container_id: id.to_owned(),
            linux,
            ..Default::default()
        };
        daemon.runtime().update_container_resources(request).await
    };
    let limits = |change: fn(&mut v1::LinuxContainerResources)| {
        let mut limits = v1::LinuxContainerResources::default();
        change(&mut limits);
        Some(limits)
    };
    let shares = || limits(|l| l.cpu_shares = 10);
    let before = scene.running.status().await;
    let mut table = Table::new(&daemon).await;

    table
        .refused("no id", INVALID, "container_id", call("", shares()))
        .await;
    table
        .refused("an unknown id", Code::NotFound, UNKNOWN, call(UNKNOWN, shares()))
        .await;
    table
        .refused(
            "the beginning of two ids",
            INVALID,
            "container_id",
            call(&scene.beginning, shares()),
        )
        .await;
    table
        .refused(
            "an ended one",
            Code::FailedPrecondition,
            &scene.exited.id,
            call(&scene.exited.id, shares()),
        )
        .await;
    let id = &scene.running.id;
    table.refused("no limits", INVALID, "linux", call(id, None)).await;
    table
        .refused(
            "an oom score",
            INVALID,
            "oom_score_adj",
            call(id, limits(|l| l.oom_score_adj = -1001)),
        )
        .await;
    table
        .refused(
            "a negative period",
            INVALID,
            "cpu_period",
            call(id, limits(|l| l.cpu_period = -1)),
        )
        .await;
    table
        .refused(
            "negative shares",
            INVALID,
            "cpu_shares",
            call(id, limits(|l| l.cpu_shares = -1)),
        )
        .await;
    table
        .refused(
            "a processor that is missing",
            INVALID,
            "cpuset",
            call(id, limits(|l| l.cpuset_cpus = "4095".into())),
        )
        .await;
    table
        .refused(
            "processors that are no list",
            INVALID,
            "cpuset",
            call(id, limits(|l| l.cpuset_cpus = "none".into())),
        )
        .await;
    let halfway = limits(|l| {
        l.memory_limit_in_bytes = 1 << 27;
        l.cpuset_mems = "4095".into();
    });
    table
        .refused("one limit of two", INVALID, "cpuset", call(id, halfway))
        .await;

    assert_eq!(scene.running.status().await, before);
    table.finish();
}

async fn reopen() {
    let daemon = empty().await;
    let scene = scene(&daemon).await;
    let call = async |id: &str| {
        let container_id = id.to_owned();
        daemon
            .runtime()
            .reopen_container_log(v1::ReopenContainerLogRequest { container_id })
            .await
    };
    let mut table = Table::new(&daemon).await;

    table.refused("no id", INVALID, "container_id", call("")).await;
    table
        .refused("an unknown id", Code::NotFound, UNKNOWN, call(UNKNOWN))
        .await;
    table
        .refused(
            "the beginning of two ids",
            INVALID,
            "container_id",
            call(&scene.beginning),
        )
        .await;
    table
        .refused(
            "one not started",
            Code::FailedPrecondition,
            &scene.created.id,
            call(&scene.created.id),
        )
        .await;
    table
        .refused(
            "an ended one",
            Code::FailedPrecondition,
            &scene.exited.id,
            call(&scene.exited.id),
        )
        .await;

    table.finish();
}

async fn exec() {
    let daemon = empty().await;
    let scene = scene(&daemon).await;
    let call = async |id: &str, command: &[&str], timeout: i64| {
        let request = v1::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command.iter().map(|word| (*word).to_owned()).collect(),
            timeout,
        };
        daemon.runtime().exec_sync(request).await
    };
    let id = &scene.running.id;
    let mut table = Table::new(&daemon).await;

    table
        .refused("no id", INVALID, "container_id", call("", &["true"], 0))
        .await;
    table
        .refused(
            "an unknown id",
            Code::NotFound,
            UNKNOWN,
            call(UNKNOWN, &["true"], 0),
        )
        .await;
    table
        .refused(
            "the beginning of two ids",
            INVALID,
            "container_id",
            call(&scene.beginning, &["true"], 0),
        )
        .await;
    table
        .refused("no command", INVALID, "cmd", call(id, &[], 0))
        .await;
    table
        .refused("an empty command", INVALID, "cmd", call(id, &[""], 0))
        .await;
    table
        .refused(
            "a word with a NUL",
            INVALID,
            "cmd",
            call(id, &["echo", "a\0b"], 0),
        )
        .await;
    table
        .refused("a negative time", INVALID, "timeout", call(id, &["true"], -1))
        .await;
    table
        .refused(
            "one not started",
            Code::FailedPrecondition,
            &scene.created.id,
            call(&scene.created.id, &["true"], 0),
        )
        .await;
    table
        .refused(
            "an ended one",
            Code::FailedPrecondition,
            &scene.exited.id,
            call(&scene.exited.id, &["true"], 0),
        )
        .await;

    table.finish();
}
