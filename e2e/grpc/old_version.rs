//! CRI v1alpha2, as kubelets before 1.23 speak it: each call of that time, by a client of that time.

use k8s_cri::v1alpha2 as old;
use k8s_cri::v1alpha2::image_service_client::ImageServiceClient;
use k8s_cri::v1alpha2::runtime_service_client::RuntimeServiceClient;
use libtest_mimic::Trial;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::harness::daemon::{image_name, refused, shared};
use crate::harness::endpoint::ours;
use crate::harness::node::node;
use crate::harness::{eventually, trials};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        the_runtime_tells_about_itself,
        a_pod_and_a_container_live_and_end,
        what_a_container_has_is_told_and_changed,
        images_are_told_pulled_and_removed,
        streaming_calls_hand_out_urls,
    ]
}

async fn runtime() -> RuntimeServiceClient<Channel> {
    ours("speaks v1alpha2");
    RuntimeServiceClient::new(shared().await.channel())
}

async fn images() -> ImageServiceClient<Channel> {
    ours("speaks v1alpha2");
    ImageServiceClient::new(shared().await.channel())
}

pub(crate) async fn pod_config(name: &str) -> old::PodSandboxConfig {
    let number = node().number();
    let logs = shared().await.place.logs().join(format!("old-{number}"));
    std::fs::create_dir_all(&logs).unwrap();
    old::PodSandboxConfig {
        metadata: Some(old::PodSandboxMetadata {
            name: name.to_owned(),
            uid: format!("uid-{number}"),
            namespace: "old".to_owned(),
            attempt: 0,
        }),
        log_directory: logs.to_str().unwrap().to_owned(),
        linux: Some(old::LinuxPodSandboxConfig {
            cgroup_parent: format!("{}/old-{number}", shared().await.place.cgroup_parent()),
            security_context: Some(old::LinuxSandboxSecurityContext {
                namespace_options: Some(old::NamespaceOption {
                    network: old::NamespaceMode::Node.into(),
                    pid: old::NamespaceMode::Container.into(),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub(crate) async fn run(config: &old::PodSandboxConfig) -> String {
    let request = old::RunPodSandboxRequest {
        config: Some(config.clone()),
        ..Default::default()
    };
    runtime()
        .await
        .run_pod_sandbox(request)
        .await
        .unwrap()
        .into_inner()
        .pod_sandbox_id
}

pub(crate) async fn stop_and_remove(pod: &str) {
    let mut client = runtime().await;
    let pod_sandbox_id = pod.to_owned();
    client
        .stop_pod_sandbox(old::StopPodSandboxRequest { pod_sandbox_id })
        .await
        .unwrap();
    let pod_sandbox_id = pod.to_owned();
    client
        .remove_pod_sandbox(old::RemovePodSandboxRequest { pod_sandbox_id })
        .await
        .unwrap();
}

pub(crate) fn container_config(command: &[&str]) -> old::ContainerConfig {
    old::ContainerConfig {
        metadata: Some(old::ContainerMetadata {
            name: "main".into(),
            attempt: 0,
        }),
        image: Some(spec(&image_name())),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        log_path: "main.log".into(),
        linux: Some(old::LinuxContainerConfig {
            resources: Some(old::LinuxContainerResources::default()),
            security_context: Some(old::LinuxContainerSecurityContext {
                namespace_options: Some(old::NamespaceOption {
                    network: old::NamespaceMode::Node.into(),
                    pid: old::NamespaceMode::Container.into(),
                    ..Default::default()
                }),
                ..Default::default()
            }),
        }),
        ..Default::default()
    }
}

fn spec(name: &str) -> old::ImageSpec {
    old::ImageSpec {
        image: name.to_owned(),
        ..Default::default()
    }
}

pub(crate) async fn create(
    pod: &str,
    pod_config: &old::PodSandboxConfig,
    config: old::ContainerConfig,
) -> Result<String, Status> {
    let request = old::CreateContainerRequest {
        pod_sandbox_id: pod.to_owned(),
        config: Some(config),
        sandbox_config: Some(pod_config.clone()),
    };
    runtime()
        .await
        .create_container(request)
        .await
        .map(|answer| answer.into_inner().container_id)
}

pub(crate) async fn start(id: &str) {
    let container_id = id.to_owned();
    runtime()
        .await
        .start_container(old::StartContainerRequest { container_id })
        .await
        .unwrap();
}

async fn status(id: &str) -> old::ContainerStatus {
    let request = old::ContainerStatusRequest {
        container_id: id.to_owned(),
        verbose: false,
    };
    runtime()
        .await
        .container_status(request)
        .await
        .unwrap()
        .into_inner()
        .status
        .unwrap()
}

pub(crate) async fn exec(id: &str, command: &[&str]) -> old::ExecSyncResponse {
    let request = old::ExecSyncRequest {
        container_id: id.to_owned(),
        cmd: command.iter().map(|word| (*word).to_owned()).collect(),
        timeout: 0,
    };
    runtime().await.exec_sync(request).await.unwrap().into_inner()
}

async fn the_runtime_tells_about_itself() {
    let mut client = runtime().await;
    let request = old::VersionRequest {
        version: "v1alpha2".into(),
    };

    let version = client.version(request).await.unwrap().into_inner();
    let status = client
        .status(old::StatusRequest { verbose: true })
        .await
        .unwrap()
        .into_inner();
    // A kubelet without a range of its own.
    let config = old::UpdateRuntimeConfigRequest {
        runtime_config: Some(old::RuntimeConfig {
            network_config: Some(old::NetworkConfig::default()),
        }),
    };
    client.update_runtime_config(config).await.unwrap();

    assert_eq!(version.version, "0.1.0");
    assert_eq!(version.runtime_name, "coracle");
    assert_eq!(version.runtime_api_version, "v1alpha2");
    let conditions = status.status.unwrap().conditions;
    for kind in ["RuntimeReady", "NetworkReady"] {
        let condition = conditions
            .iter()
            .find(|condition| condition.r#type == kind)
            .unwrap();
        assert!(condition.status, "{condition:?}");
    }
}

async fn a_pod_and_a_container_live_and_end() {
    let config = pod_config("life").await;
    let mut client = runtime().await;

    let pod = run(&config).await;
    let request = old::PodSandboxStatusRequest {
        pod_sandbox_id: pod.clone(),
        verbose: false,
    };
    let pod_status = client
        .pod_sandbox_status(request)
        .await
        .unwrap()
        .into_inner()
        .status
        .unwrap();
    let filter = old::PodSandboxFilter {
        id: pod.clone(),
        ..Default::default()
    };
    let request = old::ListPodSandboxRequest { filter: Some(filter) };
    let pods = client.list_pod_sandbox(request).await.unwrap().into_inner().items;
    let id = create(&pod, &config, container_config(&["sleep", "infinity"]))
        .await
        .unwrap();
    start(&id).await;
    let running = status(&id).await;
    let filter = old::ContainerFilter {
        id: id.clone(),
        ..Default::default()
    };
    let request = old::ListContainersRequest { filter: Some(filter) };
    let containers = client
        .list_containers(request)
        .await
        .unwrap()
        .into_inner()
        .containers;
    let request = old::StopContainerRequest {
        container_id: id.clone(),
        timeout: 0,
    };
    client.stop_container(request).await.unwrap();
    let stopped = status(&id).await;
    let container_id = id.clone();
    client
        .remove_container(old::RemoveContainerRequest { container_id })
        .await
        .unwrap();
    stop_and_remove(&pod).await;

    assert_eq!(pod_status.state(), old::PodSandboxState::SandboxReady);
    assert_eq!(pod_status.metadata, config.metadata);
    assert_eq!(pods.len(), 1);
    assert_eq!(running.state(), old::ContainerState::ContainerRunning);
    assert_eq!(containers[0].pod_sandbox_id, pod);
    assert_eq!(
        (stopped.state(), stopped.exit_code),
        (old::ContainerState::ContainerExited, 137)
    );
}

async fn what_a_container_has_is_told_and_changed() {
    let config = pod_config("told").await;
    let mut client = runtime().await;
    let pod = run(&config).await;
    let script = "while sleep 0.05; do echo line; done";
    let id = create(&pod, &config, container_config(&["sh", "-c", script]))
        .await
        .unwrap();
    start(&id).await;

    let ran = exec(&id, &["sh", "-c", "echo out; echo err >&2; exit 5"]).await;
    let container_id = id.clone();
    let stats = client
        .container_stats(old::ContainerStatsRequest { container_id })
        .await
        .unwrap();
    let filter = old::ContainerStatsFilter {
        id: id.clone(),
        ..Default::default()
    };
    let request = old::ListContainerStatsRequest { filter: Some(filter) };
    let listed = client
        .list_container_stats(request)
        .await
        .unwrap()
        .into_inner()
        .stats;
    let request = old::UpdateContainerResourcesRequest {
        container_id: id.clone(),
        linux: Some(old::LinuxContainerResources {
            cpu_shares: 300,
            ..Default::default()
        }),
        ..Default::default()
    };
    client.update_container_resources(request).await.unwrap();
    let log = std::path::Path::new(&config.log_directory).join("main.log");
    std::fs::rename(&log, log.with_extension("old")).unwrap();
    let container_id = id.clone();
    client
        .reopen_container_log(old::ReopenContainerLogRequest { container_id })
        .await
        .unwrap();

    assert_eq!(
        (ran.stdout.as_slice(), ran.stderr.as_slice(), ran.exit_code),
        (&b"out\n"[..], &b"err\n"[..], 5)
    );
    assert_eq!(stats.into_inner().stats.unwrap().attributes.unwrap().id, id);
    assert_eq!(listed.len(), 1);
    eventually("the new log has lines", async || {
        std::fs::read_to_string(&log)
            .ok()
            .filter(|text| text.contains("line"))
    })
    .await;
    stop_and_remove(&pod).await;
}

async fn images_are_told_pulled_and_removed() {
    let mut client = images().await;
    let name = format!("127.0.0.1:1/old/none:{}", node().number());

    let filter = old::ImageFilter {
        image: Some(spec(&image_name())),
    };
    let listed = client
        .list_images(old::ListImagesRequest { filter: Some(filter) })
        .await
        .unwrap()
        .into_inner()
        .images;
    let request = old::ImageStatusRequest {
        image: Some(spec(&image_name())),
        verbose: false,
    };
    let status = client
        .image_status(request)
        .await
        .unwrap()
        .into_inner()
        .image
        .unwrap();
    let usage = client
        .image_fs_info(old::ImageFsInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    let request = old::PullImageRequest {
        image: Some(spec(&name)),
        ..Default::default()
    };
    let pull = refused(client.pull_image(request)).await;
    let request = old::RemoveImageRequest {
        image: Some(spec(&name)),
    };
    client.remove_image(request).await.unwrap();

    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].id, status.id);
    assert!(status.size > 0);
    assert!(usage.image_filesystems[0].used_bytes.as_ref().unwrap().value > 0);
    // That an image arrives is seen with the pulls of v1; here, that the call does.
    assert_eq!(pull.code(), Code::Unavailable, "{pull}");
}

async fn streaming_calls_hand_out_urls() {
    let config = pod_config("urls").await;
    let pod = run(&config).await;
    let id = create(&pod, &config, container_config(&["sleep", "infinity"]))
        .await
        .unwrap();
    start(&id).await;
    let mut client = runtime().await;

    let exec = old::ExecRequest {
        container_id: id.clone(),
        cmd: vec!["true".to_owned()],
        stdout: true,
        ..Default::default()
    };
    let exec = client.exec(exec).await.unwrap().into_inner().url;
    let attach = old::AttachRequest {
        container_id: id.clone(),
        stdout: true,
        ..Default::default()
    };
    let attach = client.attach(attach).await.unwrap().into_inner().url;
    let neither = refused(client.attach(old::AttachRequest::default())).await;

    assert!(
        exec.contains("/exec/") && attach.contains("/attach/"),
        "{exec} {attach}"
    );
    assert_eq!(neither.code(), Code::InvalidArgument, "{neither}");
    stop_and_remove(&pod).await;
}
