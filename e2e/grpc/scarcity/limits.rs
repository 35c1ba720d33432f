//! Limits of the processes of the daemon: no descriptor more, no process more.

use std::fs;

use k8s_cri::v1;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use libtest_mimic::Trial;
use tonic::{Code, Status};

use coracle::cri::client;

use super::group::Group;
use crate::harness::container::Made;
use crate::harness::daemon::{Daemon, refused};
use crate::harness::image::Packing;
use crate::harness::node::shell;
use crate::harness::pod::{Pod, config};
use crate::harness::registry::Registry;
use crate::harness::{eventually, trials};
use crate::pulls::{image, request};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        a_daemon_without_descriptors_says_so_and_goes_on,
        monitors_without_processes_say_so_and_go_on,
        a_daemon_without_threads_and_children_goes_on,
    ]
}

/// Ends with 7 when it is asked to.
const ENDS: [&str; 3] = [
    "sh",
    "-c",
    "trap 'exit 7' TERM; echo up; while :; do sleep 0.02; done",
];

/// The soft limit of open files; the hard one stays, or it could not be raised again.
fn limit_files(pid: i32, soft: &str) {
    shell(&format!("prlimit --pid {pid} --nofile={soft}:"));
}

fn soft_limit(pid: i32) -> String {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let mut lines = limits.lines();
    let line = lines.find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().to_owned()
}

fn run_request(config: &v1::PodSandboxConfig) -> v1::RunPodSandboxRequest {
    v1::RunPodSandboxRequest {
        config: Some(config.clone()),
        ..Default::default()
    }
}

fn start_request(id: &str) -> v1::StartContainerRequest {
    v1::StartContainerRequest {
        container_id: id.to_owned(),
    }
}

fn remove_request(id: &str) -> v1::RemoveContainerRequest {
    v1::RemoveContainerRequest {
        container_id: id.to_owned(),
    }
}

/// Asserts that each call was refused for want of something.
fn exhausted(refusals: &[(&str, Status)]) {
    for (call, refusal) in refusals {
        assert_eq!(refusal.code(), Code::ResourceExhausted, "{call}: {refusal}");
    }
}

async fn containers(daemon: &Daemon) -> usize {
    let mut runtime = daemon.runtime();
    let list = runtime.list_containers(v1::ListContainersRequest::default());
    list.await.unwrap().into_inner().containers.len()
}

/// Removes the pods that could not be made and not be taken back either: the kubelet sees and removes them.
async fn remove_kept(daemon: &Daemon) {
    let mut runtime = daemon.runtime();
    let list = runtime
        .list_pod_sandbox(v1::ListPodSandboxRequest::default())
        .await;
    for pod in list.unwrap().into_inner().items {
        if pod.state() == v1::PodSandboxState::SandboxNotready {
            let remove = v1::RemovePodSandboxRequest {
                pod_sandbox_id: pod.id,
            };
            runtime.remove_pod_sandbox(remove).await.unwrap();
        }
    }
}

/// A pod with a container of each kind that a shortage may hit.
struct Scene<'a> {
    daemon: &'a Daemon,
    pod: Pod<'a>,
    idle: Made<'a>,
    ending: Made<'a>,
    made: Made<'a>,
    unwanted: Made<'a>,
    /// A pod that is not run yet.
    more: v1::PodSandboxConfig,
}

impl<'a> Scene<'a> {
    async fn new(daemon: &'a Daemon, name: &str) -> Scene<'a> {
        let pod = Pod::run(daemon, name).await;
        let idle = pod.idle("main").await;
        let ending = pod.start("ending", &ENDS).await;
        let made = pod.create("made", &["sleep", "1000"]).await;
        let unwanted = pod.create("unwanted", &["sleep", "1000"]).await;
        ending.printed("up").await;
        let more = config(daemon, "more");
        Scene {
            daemon,
            pod,
            idle,
            ending,
            made,
            unwanted,
            more,
        }
    }

    /// Each call that takes what is short says so.
    async fn is_refused(&self) {
        let mut runtime = self.daemon.runtime();
        let create = self
            .pod
            .create_request(self.pod.container_config("more", &["true"]));
        exhausted(&[
            (
                "exec",
                refused(runtime.exec_sync(self.idle.exec_request(&["true"], 10))).await,
            ),
            ("create", refused(runtime.create_container(create)).await),
            (
                "start",
                refused(runtime.start_container(start_request(&self.made.id))).await,
            ),
            (
                "remove",
                refused(runtime.remove_container(remove_request(&self.unwanted.id))).await,
            ),
            (
                "run",
                refused(runtime.run_pod_sandbox(run_request(&self.more))).await,
            ),
        ]);
    }

    /// What is there goes on, and its end is known.
    async fn goes_on(&self) {
        assert_eq!(
            self.idle.status().await.state(),
            v1::ContainerState::ContainerRunning
        );
        assert_eq!(
            self.made.status().await.state(),
            v1::ContainerState::ContainerCreated
        );
        self.ending.stop(30).await;
        assert_eq!(self.ending.exited().await.exit_code, 7);
        assert_eq!(containers(self.daemon).await, 4);
    }

    /// What was refused succeeds.
    async fn succeeds(&self) {
        assert_eq!(self.idle.sh("echo on").await, "on\n");
        assert_eq!(self.pod.output("more", "echo more").await, "more\n");
        self.unwanted.remove().await;
        self.made.start().await;
        assert_eq!(self.made.sh("echo started").await, "started\n");
    }
}

async fn a_daemon_without_descriptors_says_so_and_goes_on() {
    let daemon = Daemon::with_images("descriptors").await;
    let (registry, image) = (Registry::start().await, image(Packing::Gzip));
    registry.push("e2e/descriptors", "1", &image).await;
    let name = format!("{}/e2e/descriptors:1", registry.host);
    let scene = Scene::new(&daemon, "descriptors").await;
    let (mut runtime, mut images) = (daemon.runtime(), daemon.images());
    let pid = daemon.pid();
    let soft = soft_limit(pid);

    // Below what is open now: there is no other.
    limit_files(pid, "4");
    runtime.version(v1::VersionRequest::default()).await.unwrap();
    scene.is_refused().await;
    exhausted(&[("pull", refused(images.pull_image(request(&name, None))).await)]);
    scene.goes_on().await;
    // It waits at the door.
    let late = eventually("a later client is served", async || {
        let channel = client::channel(&daemon.place.socket).await.ok()?;
        let mut runtime = RuntimeServiceClient::new(channel);
        runtime.version(v1::VersionRequest::default()).await.ok()
    });
    let meanwhile = async {
        eventually("the daemon has met it", async || {
            let log = fs::read_to_string(daemon.place.log()).unwrap();
            log.contains("cannot accept a connection").then_some(())
        })
        .await;
        limit_files(pid, &soft);
    };
    let (_, ()) = tokio::join!(late, meanwhile);

    scene.succeeds().await;
    images.pull_image(request(&name, None)).await.unwrap();
    remove_kept(&daemon).await;
    Pod::run_config(&daemon, scene.more).await.remove().await;
    scene.pod.remove().await;
    daemon.check().await;
}

async fn monitors_without_processes_say_so_and_go_on() {
    let daemon = Daemon::with_images("processes").await;
    let scene = Scene::new(&daemon, "processes").await;
    // The zygote is in it too.
    let group = Group::at("pids", &daemon.place.monitor_cgroup());

    group.limit_processes("1");
    scene.is_refused().await;
    scene.goes_on().await;

    group.limit_processes("max");
    scene.succeeds().await;
    Pod::run_config(&daemon, scene.more).await.remove().await;
    // The monitor of the container that has ended had no process to spare for its own end.
    eventually("nothing is out of place", async || {
        let audit = daemon.place.audit(&[]).await;
        (audit.code == 0).then_some(())
    })
    .await;
    scene.pod.remove().await;
    daemon.check().await;
}

async fn a_daemon_without_threads_and_children_goes_on() {
    let daemon = Daemon::with_images("threads").await;
    let pod = Pod::run(&daemon, "threads").await;
    let container = pod.idle("main").await;
    let ending = pod.start("ending", &ENDS).await;
    ending.printed("up").await;
    // Plugins of its network are children of the daemon.
    let more = config(&daemon, "more");
    let mut runtime = daemon.runtime();
    let group = Group::new("pids");
    group.take(daemon.pid());

    group.limit_processes("1");
    // What needs a thread more may wait for it.
    let run = runtime.run_pod_sandbox(run_request(&more));
    let meanwhile = async {
        eventually("the daemon has met its limit", async || {
            group.has_refused().then_some(())
        })
        .await;
        daemon
            .runtime()
            .version(v1::VersionRequest::default())
            .await
            .unwrap();
        ending.stop(30).await;
        assert_eq!(ending.exited().await.exit_code, 7);
        assert_eq!(
            container.status().await.state(),
            v1::ContainerState::ContainerRunning
        );
        group.limit_processes("max");
        assert_eq!(container.sh("echo on").await, "on\n");
        assert_eq!(pod.output("more", "echo more").await, "more\n");
    };
    match tokio::join!(run, meanwhile) {
        (Ok(answer), ()) => {
            let id = answer.into_inner().pod_sandbox_id;
            Pod::adopted(&daemon, &id, &more).remove().await;
        }
        (Err(refusal), ()) => exhausted(&[("run", refusal)]),
    }

    remove_kept(&daemon).await;
    Pod::run_config(&daemon, more).await.remove().await;
    pod.remove().await;
    daemon.check().await;
}
