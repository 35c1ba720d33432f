//! The daemon ends, killed or asked to, and another takes its place: what ran runs on, and nothing is forgotten.

use k8s_cri::v1;
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::container::Made;
use crate::harness::daemon::{Daemon, image_name};
use crate::harness::pod::{Pod, host_network};
use crate::harness::{eventually, trials};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        containers_outlive_a_killed_daemon,
        an_exit_without_a_daemon_is_known_afterwards,
        everything_is_listed_as_before,
        the_same_requests_give_the_same_ids,
        a_daemon_that_is_asked_to_end_leaves_containers_alone,
        a_state_directory_has_one_daemon,
        a_pods_network_is_released_after_a_restart,
    ]
}

async fn containers_outlive_a_killed_daemon() {
    let daemon = Daemon::with_images("survive").await;
    let pod = Pod::run(&daemon, "survive").await;
    let script = "i=0; while sleep 0.02; do i=$((i+1)); echo $i; done";
    let container = pod.start("main", &["sh", "-c", script]).await;
    container.printed("3\n").await;
    let (id, log, pid) = (container.id.clone(), container.log.clone(), container.pid().await);
    let started = container.status().await.started_at;

    let place = daemon.kill().await;
    let before = crate::harness::container::log_lines(&log).len();
    eventually("the log grows without a daemon", async || {
        (crate::harness::container::log_lines(&log).len() > before + 5).then_some(())
    })
    .await;
    let daemon = Daemon::start(place).await;

    let container = Made::adopted(&daemon, &id, &log);
    let status = container.status().await;
    assert_eq!(status.state(), v1::ContainerState::ContainerRunning);
    assert_eq!(status.started_at, started);
    assert_eq!(container.pid().await, pid);
    assert_eq!(container.sh("echo from an exec").await, "from an exec\n");
    let numbers: Vec<usize> = container
        .lines()
        .iter()
        .map(|line| line.text.parse().unwrap())
        .collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len()), "lines are missing");
    container.stop(0).await;
    assert_eq!(container.status().await.exit_code, 137);
    container.remove().await;
}

async fn an_exit_without_a_daemon_is_known_afterwards() {
    let daemon = Daemon::with_images("exit").await;
    let pod = Pod::run(&daemon, "exit").await;
    let script = "trap 'echo last words; exit 42' USR1; echo ready; while :; do sleep 0.02; done";
    let container = pod.start("main", &["sh", "-c", script]).await;
    container.printed("ready").await;
    let (id, log, pid) = (container.id.clone(), container.log.clone(), container.pid().await);

    let place = daemon.kill().await;
    kill(Pid::from_raw(pid), Signal::SIGUSR1).unwrap();
    eventually("the container is gone", async || {
        (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    })
    .await;
    let daemon = Daemon::start(place).await;

    let container = Made::adopted(&daemon, &id, &log);
    let status = container.exited().await;
    assert_eq!((status.exit_code, status.reason.as_str()), (42, "Error"));
    assert!(status.finished_at >= status.started_at);
    assert_eq!(container.output(), "ready\nlast words\n");
    container.remove().await;
}

async fn everything_is_listed_as_before() {
    let daemon = Daemon::with_images("listed").await;
    let pod = Pod::run_with(&daemon, "listed", |config| {
        config.annotations.insert("note".into(), "kept".into());
    })
    .await;
    let stopped = Pod::run(&daemon, "listed-stopped").await;
    stopped.stop().await;
    pod.idle("running").await;
    pod.create("created", &["sleep", "infinity"]).await;
    pod.start("exited", &["sh", "-c", "exit 9"]).await.exited().await;
    let before = everything(&daemon).await;

    let place = daemon.kill().await;
    let daemon = Daemon::start(place).await;

    assert_eq!(everything(&daemon).await, before);
    let created = before
        .1
        .iter()
        .find(|c| c.metadata.as_ref().unwrap().name == "created")
        .unwrap();
    let log = std::path::Path::new(&created.log_path);
    let created = Made::adopted(&daemon, &created.id, log);
    created.start().await;
    assert_eq!(created.sh("echo runs").await, "runs\n");
}

type Everything = (
    Vec<v1::PodSandboxStatus>,
    Vec<v1::ContainerStatus>,
    Vec<v1::Image>,
);

/// The status of every pod, container and image, in the order of their ids.
async fn everything(daemon: &Daemon) -> Everything {
    let mut runtime = daemon.runtime();
    let pods = runtime
        .list_pod_sandbox(v1::ListPodSandboxRequest::default())
        .await
        .unwrap();
    let containers = runtime
        .list_containers(v1::ListContainersRequest::default())
        .await
        .unwrap();
    let images = daemon
        .images()
        .list_images(v1::ListImagesRequest::default())
        .await
        .unwrap();
    let mut everything = Everything::default();
    for pod in pods.into_inner().items {
        everything.0.push(
            Pod::adopted(daemon, &pod.id, &v1::PodSandboxConfig::default())
                .status()
                .await,
        );
    }
    for container in containers.into_inner().containers {
        everything
            .1
            .push(Made::adopted(daemon, &container.id, "".as_ref()).status().await);
    }
    everything.2 = images.into_inner().images;
    everything.0.sort_by(|a, b| a.id.cmp(&b.id));
    everything.1.sort_by(|a, b| a.id.cmp(&b.id));
    everything.2.sort_by(|a, b| a.id.cmp(&b.id));
    everything
}

async fn the_same_requests_give_the_same_ids() {
    let daemon = Daemon::with_images("same").await;
    let pod = Pod::run_with(&daemon, "same", |_| {}).await;
    let container = pod.create("main", &["sleep", "infinity"]).await;
    let (pod_id, config, id) = (pod.id.clone(), pod.config.clone(), container.id.clone());

    let place = daemon.kill().await;
    let daemon = Daemon::start(place).await;
    let again = Pod::run_config(&daemon, config).await;
    let container = again.create("main", &["sleep", "infinity"]).await;

    assert_eq!(again.id, pod_id);
    assert_eq!(container.id, id);
    again.remove().await;
}

async fn a_daemon_that_is_asked_to_end_leaves_containers_alone() {
    let daemon = Daemon::with_images("term").await;
    let pod = Pod::run(&daemon, "term").await;
    let container = pod.idle("main").await;
    let (id, log, pid) = (container.id.clone(), container.log.clone(), container.pid().await);

    let (place, status) = daemon.stop().await;

    assert!(status.success(), "{status}");
    assert!(std::path::Path::new(&format!("/proc/{pid}/root/bin/sh")).exists());
    let daemon = Daemon::start(place).await;
    let container = Made::adopted(&daemon, &id, &log);
    assert_eq!(container.pid().await, pid);
    container.stop(0).await;
}

async fn a_state_directory_has_one_daemon() {
    let daemon = Daemon::with_images("one").await;

    let second = daemon.cli(&["serve"]).await;

    assert!(!second.status.success());
    let text = String::from_utf8(second.stderr).unwrap();
    let state = daemon.place.state.to_str().unwrap();
    assert!(text.contains("in use") && text.contains(state), "{text}");
    assert!(text.contains(&daemon.pid().to_string()), "{text}");
    // The first has noticed nothing.
    let request = v1::ImageStatusRequest {
        image: Some(v1::ImageSpec {
            image: image_name(),
            ..Default::default()
        }),
        verbose: false,
    };
    let again = coracle::cri::client::channel(&daemon.place.socket).await.unwrap();
    let mut images = k8s_cri::v1::image_service_client::ImageServiceClient::new(again);
    assert!(
        images
            .image_status(request)
            .await
            .unwrap()
            .into_inner()
            .image
            .is_some()
    );
}

async fn a_pods_network_is_released_after_a_restart() {
    let daemon = Daemon::with_images("network").await;
    let pod = Pod::run_with(&daemon, "network", |_| {}).await;
    let beside = Pod::run_with(&daemon, "beside", host_network).await;
    let (id, config, ip) = (pod.id.clone(), pod.config.clone(), pod.ip().await);
    let beside = beside.id.clone();

    let place = daemon.kill().await;
    let daemon = Daemon::start(place).await;
    let pod = Pod::adopted(&daemon, &id, &config);
    let container = pod.idle("main").await;
    let inside = container.sh("ip -4 addr show eth0").await;
    pod.remove().await;
    Pod::adopted(&daemon, &beside, &v1::PodSandboxConfig::default())
        .remove()
        .await;

    assert!(inside.contains(&ip), "{inside}");
    let lease = crate::harness::node::node()
        .directory
        .join("cni/state/e2e")
        .join(&ip);
    assert!(!std::fs::read_to_string(lease).unwrap_or_default().contains(&id));
    assert_eq!(
        daemon.mounts(),
        Vec::<String>::new(),
        "of the pods' namespaces and files"
    );
}
