//! From the node's promise to what is left: features, restarts, figures, removal.

use k8s_cri::v1;
use libtest_mimic::Trial;

use super::{mapped, run, users_of};
use crate::harness::container::Made;
use crate::harness::daemon::{Daemon, shared};
use crate::harness::pod::{Pod, namespaces};
use crate::harness::{eventually, trials};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        the_node_tells_that_it_has_user_namespaces,
        a_pod_outlives_the_daemon_in_its_namespace,
        a_pod_that_is_removed_leaves_nothing,
        figures_are_those_of_any_pod,
    ]
}

async fn the_node_tells_that_it_has_user_namespaces() {
    let request = v1::StatusRequest::default();
    let status = shared()
        .await
        .runtime()
        .status(request)
        .await
        .unwrap()
        .into_inner();

    let features = status.runtime_handlers[0].features.unwrap();
    assert!(features.user_namespaces, "{features:?}");
}

async fn a_pod_outlives_the_daemon_in_its_namespace() {
    let daemon = Daemon::with_images("userns-restart").await;
    let pod = run(&daemon, "survivor").await;
    let container = pod.idle("main").await;
    let (pod_id, pod_config) = (pod.id.clone(), pod.config.clone());
    let (id, log, pid) = (container.id.clone(), container.log.clone(), container.pid().await);

    let place = daemon.kill().await;
    let daemon = Daemon::start(place).await;

    let pod = Pod::adopted(&daemon, &pod_id, &pod_config);
    assert_eq!(pod.status().await.state(), v1::PodSandboxState::SandboxReady);
    let container = Made::adopted(&daemon, &id, &log);
    assert_eq!(container.pid().await, pid);
    let map = container.sh("cat /proc/self/uid_map").await;
    let second = pod.idle("second").await;
    assert_eq!(second.sh("cat /proc/self/uid_map").await, map);
    let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
    assert_eq!(namespace(pid), namespace(second.pid().await));
    for container in [container, second] {
        container.stop(0).await;
        container.remove().await;
    }
    pod.remove().await;
    daemon.check().await;
}

async fn a_pod_that_is_removed_leaves_nothing() {
    let daemon = Daemon::with_images("userns-rest").await;
    let before = daemon.mounts();
    let pod = super::run_with(&daemon, "rest", |config| {
        namespaces(config).pid = v1::NamespaceMode::Pod.into();
    })
    .await;
    let volume = daemon.place.logs().join("rest-volume");
    std::fs::create_dir_all(&volume).unwrap();
    let container = pod
        .start_with("main", &["sleep", "infinity"], |config| {
            config.mounts = vec![mapped(&volume, "/volume")];
        })
        .await;
    assert_eq!(users_of(container.pid().await).split(' ').next(), Some("200000"));
    daemon.check().await;

    pod.remove().await;

    assert_eq!(daemon.mounts(), before);
    daemon.check().await;
}

async fn figures_are_those_of_any_pod() {
    let daemon = shared().await;
    let pod = run(daemon, "figures").await;
    let container = pod
        .start(
            "main",
            &[
                "sh",
                "-c",
                "head -c 1000000 /dev/zero >/file; sync; sleep infinity",
            ],
        )
        .await;

    eventually("the written file is counted", async || {
        let request = v1::ContainerStatsRequest {
            container_id: container.id.clone(),
        };
        let answer = daemon.runtime().container_stats(request).await.unwrap();
        let stats = answer.into_inner().stats.unwrap();
        let memory = stats.memory.unwrap().working_set_bytes.unwrap().value;
        let written = stats.writable_layer.and_then(|layer| layer.used_bytes);
        (memory > 0 && written.is_some_and(|bytes| bytes.value >= 1_000_000)).then_some(())
    })
    .await;
    let request = v1::PodSandboxStatsRequest {
        pod_sandbox_id: pod.id.clone(),
    };
    let answer = daemon.runtime().pod_sandbox_stats(request).await.unwrap();
    let network = answer.into_inner().stats.unwrap().linux.unwrap().network.unwrap();
    assert_eq!(network.default_interface.unwrap().name, "eth0");
    container.remove().await;
    pod.remove().await;
}
