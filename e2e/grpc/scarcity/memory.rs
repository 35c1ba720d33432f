//! No memory more for the daemon, or for a monitor: the kernel may kill them, and nothing is lost.

use k8s_cri::v1;
use libtest_mimic::Trial;

use super::group::Group;
use crate::harness::container::Made;
use crate::harness::daemon::Daemon;
use crate::harness::image::{Packing, Recipe, TestImage};
use crate::harness::pod::Pod;
use crate::harness::registry::Registry;
use crate::harness::{eventually, trials};
use crate::pulls::request;

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        a_daemon_without_memory_loses_nothing,
        a_monitor_without_memory_leaves_no_container_behind,
    ]
}

/// Content that no packing makes smaller.
fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    let next = |_| {
        // xorshift64
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as u8
    };
    (0..length).map(next).collect()
}

async fn a_daemon_without_memory_loses_nothing() {
    let mut daemon = Daemon::with_images("memory").await;
    let registry = Registry::start().await;
    let image = TestImage::build(&Recipe {
        files: vec![("noise", 0, 0o644, noise(24 << 20, 88_172_645_463_325_252))],
        packing: Packing::Zstd,
        ..Recipe::default()
    });
    registry.push("e2e/noise", "1", &image).await;
    let name = format!("{}/e2e/noise:1", registry.host);
    let (pod_id, pod_config, main) = {
        let pod = Pod::run(&daemon, "memory").await;
        let main = pod.idle("main").await;
        (
            pod.id.clone(),
            pod.config.clone(),
            (main.id.clone(), main.log.clone()),
        )
    };
    let mut met = false;
    let mut created = vec![];

    for (n, limit) in ["4M", "1M", "256K"].into_iter().enumerate() {
        let group = Group::new("memory");
        group.take(daemon.pid());
        group.limit_memory(limit);
        {
            let pod = Pod::adopted(&daemon, &pod_id, &pod_config);
            let (mut images, mut runtime) = (daemon.images(), daemon.runtime());
            let create = pod.create_request(pod.container_config(&format!("try-{n}"), &["sleep", "1000"]));
            let (_, answer) = tokio::join!(
                images.pull_image(request(&name, None)),
                runtime.create_container(create)
            );
            created.extend(answer.ok().map(|answer| answer.into_inner().container_id));
        }
        met |= group.has_met_its_limit();
        group.limit_memory("max");

        // It may have been killed already.
        daemon = Daemon::start(daemon.kill().await).await;
        let main = Made::adopted(&daemon, &main.0, &main.1);
        assert_eq!(main.sh("echo on").await, "on\n", "limit {limit}");
        daemon.check().await;
        // What was answered is there.
        for id in &created {
            let made = Made::adopted(&daemon, id, &main.log);
            assert_eq!(made.status().await.state(), v1::ContainerState::ContainerCreated);
        }
    }

    assert!(met, "no limit was ever met");
    let mut images = daemon.images();
    images.pull_image(request(&name, None)).await.unwrap();
    let pod = Pod::adopted(&daemon, &pod_id, &pod_config);
    assert_eq!(pod.output("more", "echo more").await, "more\n");
    pod.remove().await;
    daemon.check().await;
}

async fn a_monitor_without_memory_leaves_no_container_behind() {
    let daemon = Daemon::with_images("monitor-memory").await;
    let pod = Pod::run(&daemon, "monitor-memory").await;
    let other = pod.idle("other").await;
    let mut met = false;

    for (n, limit) in ["1M", "256K", "64K"].into_iter().enumerate() {
        let container = pod.idle(&format!("main-{n}")).await;
        let group = Group::new("memory");
        group.take(container.monitor().await);
        group.limit_memory(limit);

        // It runs, or is refused, or its monitor is killed.
        let exec = container.exec_request(&["true"], 10);
        let _ = daemon.runtime().exec_sync(exec).await;

        met |= group.has_met_its_limit();
        group.limit_memory("max");
        // It is killed with its monitor, and how it would have ended nobody knows.
        eventually("it runs, or is known to have ended", async || {
            let exec = container.exec_request(&["true"], 10);
            let runs = daemon.runtime().exec_sync(exec).await.is_ok();
            let status = container.status().await;
            (runs || status.state() == v1::ContainerState::ContainerUnknown).then_some(())
        })
        .await;
        assert_eq!(other.sh("echo there").await, "there\n");
        container.remove().await;
        daemon.check().await;
    }

    assert!(met, "no limit was ever met");
    pod.remove().await;
    daemon.check().await;
}
