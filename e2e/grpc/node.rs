//! What the daemon tells of itself and of its node, and the calls that it does not have.

use std::path::Path;

use k8s_cri::v1;
use libtest_mimic::Trial;
use tonic::Code;

use crate::harness::daemon::{Daemon, alone, refused, shared};
use crate::harness::endpoint;
use crate::harness::image::Packing;
use crate::harness::pod::{Pod, security};
use crate::harness::registry::Registry;
use crate::harness::trials;
use crate::pulls;
use crate::streams::{self, own};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        any_version_is_answered,
        the_cgroup_driver_is_that_of_the_node,
        calls_that_are_not_there_say_so_by_name,
        an_image_takes_its_space_once_and_gives_it_back,
        labels_are_ignored_where_there_is_no_selinux_and_the_log_says_so_once,
    ]
}

async fn any_version_is_answered() {
    for version in ["", "0.1.0", "v1", "no version at all"] {
        let request = v1::VersionRequest {
            version: version.to_owned(),
        };
        let answer = shared()
            .await
            .runtime()
            .version(request)
            .await
            .unwrap()
            .into_inner();
        if endpoint::given().is_none() {
            assert_eq!(answer.runtime_name, "coracle", "{version}");
            assert_eq!(answer.runtime_version, env!("CARGO_PKG_VERSION"), "{version}");
        }
        assert_eq!(answer.runtime_api_version, "v1", "{version}");
        assert!(!answer.version.is_empty(), "{version}");
    }
}

async fn the_cgroup_driver_is_that_of_the_node() {
    let mut client = streams::runtime(shared().await);
    let answer = client
        .runtime_config(own::RuntimeConfigRequest::default())
        .await
        .unwrap();
    let driver = answer.into_inner().linux.unwrap().cgroup_driver();

    let systemd =
        Path::new("/run/systemd/private").exists() && Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let expected = if systemd {
        own::CgroupDriver::Systemd
    } else {
        own::CgroupDriver::Cgroupfs
    };
    assert_eq!(driver, expected);
}

async fn calls_that_are_not_there_say_so_by_name() {
    let mut client = streams::runtime(shared().await);
    for (name, status) in [
        (
            "CheckpointContainer",
            refused(client.checkpoint_container(own::CheckpointContainerRequest::default())).await,
        ),
        (
            "CheckpointPod",
            refused(client.checkpoint_pod(own::CheckpointPodRequest::default())).await,
        ),
        (
            "RestorePod",
            refused(client.restore_pod(own::RestorePodRequest::default())).await,
        ),
    ] {
        assert_eq!(status.code(), Code::Unimplemented, "{status}");
        assert!(status.message().contains(name), "{status}");
    }
}

async fn an_image_takes_its_space_once_and_gives_it_back() {
    let (daemon, registry, image) = (
        alone().await,
        Registry::start().await,
        pulls::image(Packing::Gzip),
    );
    let name = |tag: &str| format!("{}/e2e/space:{tag}", registry.host);
    let used = async || {
        let answer = daemon
            .images()
            .image_fs_info(v1::ImageFsInfoRequest {})
            .await
            .unwrap()
            .into_inner();
        let images = answer.image_filesystems[0].clone();
        assert!(Path::new(&images.fs_id.unwrap().mountpoint).is_dir());
        assert!(images.inodes_used.unwrap().value > 0);
        assert_eq!(answer.container_filesystems.len(), 1);
        images.used_bytes.unwrap().value
    };
    let before = used().await;
    for tag in ["1", "2"] {
        registry.push("e2e/space", tag, &image).await;
    }

    pulls::pull(&daemon, &name("1")).await;
    let once = used().await;
    pulls::pull(&daemon, &name("2")).await;
    let twice = used().await;
    let request = v1::RemoveImageRequest {
        image: pulls::spec(&name("1")),
    };
    daemon.images().remove_image(request).await.unwrap();

    assert!(once > before, "{once} after {before}");
    assert_eq!(twice, once);
    assert_eq!(used().await, before);
}

async fn labels_are_ignored_where_there_is_no_selinux_and_the_log_says_so_once() {
    let daemon = Daemon::with_images("labels").await;
    let pod = Pod::run(&daemon, "labels").await;
    for name in ["first", "second"] {
        let container = pod.start_with(name, &["sleep", "infinity"], |config| {
            security(config).selinux_options = Some(v1::SeLinuxOption {
                r#type: "container_t".to_owned(),
                level: "s0:c1,c2".to_owned(),
                ..v1::SeLinuxOption::default()
            });
        });
        container.await;
    }

    let request = v1::StatusRequest { verbose: true };
    let status = daemon.runtime().status(request).await.unwrap().into_inner();
    let told: serde_json::Value = serde_json::from_str(&status.info["selinux"]).unwrap();
    let log = std::fs::read_to_string(daemon.place.log()).unwrap();
    let lines = log
        .lines()
        .filter(|line| line.contains("labels that containers ask for are ignored"));

    let on = Path::new("/sys/fs/selinux/enforce").exists();
    assert_eq!(told["enabled"], on, "{told}");
    assert_eq!(lines.count(), usize::from(!on), "{log}");
    pod.remove().await;
    daemon.check().await;
    daemon.stop().await;
}
