//! The reduced model alone: a container's life by the trait pair, in this process, with no daemon, no gRPC and no pod
//! anywhere.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use coracle::core::{self, Core};
use coracle::image::{Images, Settings};
use coracle::model::{
    ContainerConfig, ContainerMetadata, ContainerState, ContainerStatus, ContainerStatusRequest,
    CreateContainerRequest, ExecRequest, ImageService, ImageSpec, ListContainersRequest, ListImagesRequest,
    RemoveContainerRequest, RuntimeService, StartContainerRequest, StopContainerRequest, VersionRequest,
};
use coracle::monitor::zygote;
use coracle::state::Store;
use coracle::sys::zygote::ZygoteOptions;
use libtest_mimic::Trial;
use tokio::io::AsyncReadExt;

use crate::harness::container::log_lines;
use crate::harness::endpoint::ours;
use crate::harness::eventually;
use crate::harness::image::{Recipe, TestImage};
use crate::harness::node::node;
use crate::harness::trials;

pub(crate) fn tests() -> Vec<Trial> {
    trials![a_container_lives_without_any_pod]
}

const NAME: &str = "registry.example/model/busybox:1";

async fn status<R: RuntimeService>(runtime: &R, id: &str) -> ContainerStatus {
    let request = ContainerStatusRequest {
        container_id: id.to_owned(),
        verbose: false,
    };
    runtime.container_status(request).await.unwrap().status.unwrap()
}

/// Runs a script by the model's one call for it, and returns what it printed.
async fn exec<R: RuntimeService>(runtime: &R, id: &str, script: &str) -> String {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let request = ExecRequest {
        container_id: id.to_owned(),
        cmd: ["sh", "-c", script].map(str::to_owned).to_vec(),
        stdout: Some(Box::new(theirs)),
        timeout: Duration::ZERO,
        ..ExecRequest::default()
    };
    let read = async {
        let mut text = String::new();
        let mut ours = ours;
        ours.read_to_string(&mut text).await.unwrap();
        text
    };
    let (answer, text) = tokio::join!(runtime.exec_sync(request), read);
    assert_eq!(answer.unwrap().exit_code, 0, "{script}");
    text
}

/// Generic on purpose: all that is known of either is the pair.
async fn life<R: RuntimeService, I: ImageService>(runtime: &R, images: &I, config: ContainerConfig) {
    let version = runtime.version(VersionRequest::default()).await.unwrap();
    let listed = images.list_images(ListImagesRequest::default()).await.unwrap();
    let request = CreateContainerRequest {
        config: Some(config.clone()),
        ..CreateContainerRequest::default()
    };
    let id = runtime.create_container(request).await.unwrap().container_id;
    let created = status(runtime, &id).await.state;
    let start = StartContainerRequest {
        container_id: id.clone(),
    };
    runtime.start_container(start).await.unwrap();
    let running = status(runtime, &id).await.state;
    let links = exec(
        runtime,
        &id,
        "ip addr show lo; ls /sys/class/net; readlink /proc/self/ns/net",
    )
    .await;
    let log = fs::canonicalize(&config.log_directory)
        .unwrap()
        .join(&config.log_path);
    eventually("the container is ready to be stopped", async || {
        log_lines(&log).pop()
    })
    .await;
    let stop = StopContainerRequest {
        container_id: id.clone(),
        timeout: 60,
    };
    runtime.stop_container(stop).await.unwrap();
    let exited = eventually("the container has exited", async || {
        Some(status(runtime, &id).await).filter(|status| status.state == ContainerState::Exited)
    })
    .await;
    let remove = RemoveContainerRequest {
        container_id: id.clone(),
    };
    runtime.remove_container(remove).await.unwrap();
    let left = runtime
        .list_containers(ListContainersRequest::default())
        .await
        .unwrap();

    assert_eq!(version.runtime_name, "coracle");
    assert_eq!(listed.images[0].repo_tags, [NAME]);
    assert_eq!(
        (created, running),
        (ContainerState::Created, ContainerState::Running)
    );
    // A network of its own, with nothing but a loopback that is up.
    assert!(links.contains("LOOPBACK,UP"), "{links}");
    assert!(links.contains("127.0.0.1/8"), "{links}");
    assert!(
        links.lines().any(|line| line == "lo") && !links.contains("node0"),
        "{links}"
    );
    let of_the_node = fs::read_link("/proc/self/ns/net").unwrap();
    assert!(!links.contains(of_the_node.to_str().unwrap()), "{links}");
    assert_eq!(exited.exit_code, 5);
    let texts: Vec<String> = log_lines(&log).into_iter().map(|line| line.text).collect();
    assert_eq!(texts, ["ready", "bye"]);
    assert_eq!(left.containers, []);
}

async fn a_container_lives_without_any_pod() {
    ours("needs no daemon");
    let node = node();
    let (state, run) = (node.disk.join("model"), node.run.join("model"));
    for directory in [&state, &run] {
        fs::create_dir_all(directory).unwrap();
    }
    let parent = format!("{}/model", node.cgroup_parent());
    let store = Store::open(&state.join("state.redb")).unwrap();
    let images = Images::open(Settings::at(state.join("images")), store.clone())
        .await
        .unwrap();
    let options = ZygoteOptions {
        keep: vec![state.clone(), run.clone()],
        cgroup: Some(format!("{}/monitors-model", node.cgroup_parent())),
        ..ZygoteOptions::default()
    };
    let settings = core::Settings {
        run_dir: run,
        cgroup_driver: coracle::sys::cgroup::Driver::Cgroupfs,
        pids_limit: 0,
        selinux: Default::default(),
        device_dirs: vec![],
        host: core::host(&parent).unwrap(),
    };
    let zygote = Arc::new(zygote::spawn(options).unwrap());
    let runtime = Core::open(settings, images.clone(), store.clone(), zygote)
        .await
        .unwrap();
    let archive = state.join("image.tar");
    TestImage::build(&Recipe::default()).write_archive(&archive);
    images.import(&archive, Some(NAME)).await.unwrap();
    let script = "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let config = ContainerConfig {
        metadata: Some(ContainerMetadata {
            name: "alone".into(),
            attempt: 0,
        }),
        image: Some(ImageSpec {
            image: NAME.into(),
            ..ImageSpec::default()
        }),
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        log_directory: state.to_str().unwrap().to_owned(),
        log_path: "alone.log".into(),
        ..ContainerConfig::default()
    };

    life(&runtime, &images, config).await;

    runtime.close().await;
    store.close().await;
}
