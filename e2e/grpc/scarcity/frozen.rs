//! Processes that do not run: frozen by somebody else, or in the kernel's hands for as long as a disk does not answer.

use std::fs;
use std::path::{Path, PathBuf};

use k8s_cri::v1;
use libtest_mimic::Trial;
use tonic::Code;

use super::disk::Disk;
use crate::harness::container::Made;
use crate::harness::daemon::{Daemon, refused};
use crate::harness::node::shell;
use crate::harness::pod::Pod;
use crate::harness::{eventually, trials};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        a_frozen_container_is_looked_at_executed_in_for_a_time_and_ended,
        a_container_whose_process_waits_for_a_disk_is_stopped_when_the_disk_answers,
    ]
}

/// The group in which a process can be frozen, of either version.
fn freezer(pid: i32) -> PathBuf {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let v1 = text.lines().find_map(|line| line.split_once(":freezer:"));
    match v1 {
        Some((_, path)) => PathBuf::from(format!("/sys/fs/cgroup/freezer{path}")),
        None => {
            let path = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
            PathBuf::from(format!("/sys/fs/cgroup{path}"))
        }
    }
}

async fn freeze(group: &Path) {
    let state = group.join("freezer.state");
    if !state.exists() {
        fs::write(group.join("cgroup.freeze"), "1").unwrap();
        return;
    }
    fs::write(&state, "FROZEN").unwrap();
    eventually("the group is frozen", async || {
        (fs::read_to_string(&state).unwrap().trim() == "FROZEN").then_some(())
    })
    .await;
}

/// Undoes a freeze of a group that may be gone.
fn thaw(group: &Path) {
    let _ = fs::write(group.join("freezer.state"), "THAWED");
    let _ = fs::write(group.join("cgroup.freeze"), "0");
}

/// The processes of a group and of those below it.
fn processes(group: &Path) -> Vec<i32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let mut found: Vec<i32> = text.lines().map(|line| line.parse().unwrap()).collect();
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    for child in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        found.extend(processes(&child.path()));
    }
    found.sort_unstable();
    found
}

async fn a_frozen_container_is_looked_at_executed_in_for_a_time_and_ended() {
    let daemon = Daemon::with_images("frozen").await;
    let pod = Pod::run(&daemon, "frozen").await;
    for above in [false, true] {
        let name = if above { "above" } else { "own" };
        let container = pod
            .start(name, &["sh", "-c", "sleep 1000 & sleep 1001 & wait"])
            .await;
        let first = container.pid().await;
        let group = freezer(first);
        let all = eventually("the container runs", async || {
            Some(processes(&group)).filter(|all| all.len() == 3)
        })
        .await;
        // A group that the container, or somebody else, has made and frozen.
        let inner = group.join("inner");
        fs::create_dir(&inner).unwrap();
        let second = all.iter().find(|pid| **pid != first).unwrap();
        fs::write(inner.join("cgroup.procs"), second.to_string()).unwrap();
        freeze(&inner).await;
        let frozen = match above {
            true => group.parent().unwrap().to_owned(),
            false => group.clone(),
        };
        freeze(&frozen).await;

        assert_eq!(
            container.status().await.state(),
            v1::ContainerState::ContainerRunning
        );
        stats(&container).await;
        let exec = container.exec_request(&["true"], 1);
        let refusal = refused(daemon.runtime().exec_sync(exec)).await;
        assert_eq!(refusal.code(), Code::DeadlineExceeded, "{refusal}");
        assert_eq!(processes(&group), all, "the command has left something");
        container.stop(1).await;

        assert_eq!(container.exited().await.exit_code, 137);
        container.remove().await;
        assert!(!group.exists());
        thaw(&frozen);
    }
    pod.remove().await;
    daemon.check().await;
}

async fn stats(container: &Made<'_>) {
    let request = v1::ContainerStatsRequest {
        container_id: container.id.clone(),
    };
    let answer = container.daemon.runtime().container_stats(request).await;
    assert!(answer.unwrap().into_inner().stats.unwrap().memory.is_some());
}

/// A file system on which whoever writes waits, until this is dropped.
struct Suspended<'a>(&'a Disk);

impl Suspended<'_> {
    fn new(disk: &Disk) -> Suspended<'_> {
        shell(&format!("fsfreeze -f {}", disk.path.display()));
        Suspended(disk)
    }
}

impl Drop for Suspended<'_> {
    fn drop(&mut self) {
        shell(&format!("fsfreeze -u {}", self.0.path.display()));
    }
}

async fn a_container_whose_process_waits_for_a_disk_is_stopped_when_the_disk_answers() {
    let daemon = Daemon::with_images("suspended").await;
    let disk = Disk::ext4(&daemon.place.state.with_extension("volume"), "16M", "");
    let pod = Pod::run(&daemon, "suspended").await;
    let script = "until [ -e /go ]; do sleep 0.02; done; echo more >/volume/file";
    let mut config = pod.container_config("main", &["sh", "-c", script]);
    config.mounts = vec![v1::Mount {
        host_path: disk.path.display().to_string(),
        container_path: "/volume".into(),
        ..Default::default()
    }];
    let request = pod.create_request(config);
    let answer = daemon.runtime().create_container(request).await.unwrap();
    let id = answer.into_inner().container_id;
    let container = Made::adopted(&daemon, &id, &pod.logs().join("main.log"));
    container.start().await;
    let other = pod.idle("other").await;
    let pid = container.pid().await;

    let suspended = Suspended::new(&disk);
    container.sh("touch /go").await;
    eventually("the process waits for the disk", async || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.contains(") D ").then_some(())
    })
    .await;
    let stop = v1::StopContainerRequest {
        container_id: container.id.clone(),
        timeout: 1,
    };
    let refusal = refused(daemon.runtime().stop_container(stop)).await;
    assert_eq!(refusal.code(), Code::DeadlineExceeded, "{refusal}");
    assert!(
        refusal.message().contains("was killed and has not ended"),
        "{refusal}"
    );
    assert_eq!(
        container.status().await.state(),
        v1::ContainerState::ContainerRunning
    );
    assert_eq!(other.sh("echo there").await, "there\n");
    drop(suspended);

    assert_eq!(container.exited().await.exit_code, 137);
    container.stop(1).await;
    pod.remove().await;
    daemon.check().await;
}
