//! The reduced API over its socket: containers without pods beside those of the kubelet, and each left alone by the
//! other's client.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use k8s_cri::v1;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::harness::api::Api;
use crate::harness::container::log_lines;
use crate::harness::daemon::{Daemon, image_name, rich_image_name};
use crate::harness::pod::Pod;
use crate::harness::{eventually, trials};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        a_container_lives_by_http_alone,
        the_socket_is_there_when_asked_for_and_roots_alone,
        what_is_wrong_with_a_request_is_told_and_changes_nothing,
        every_call_may_be_repeated,
        a_kubelets_container_is_changed_by_force_only,
        a_kubelet_sees_nothing_of_it,
        containers_outlive_a_killed_daemon_and_nothing_is_left_of_a_call_cut_short,
    ]
}

async fn a_container_lives_by_http_alone() {
    let (daemon, api) = Api::serving("api-life").await;

    let id = api.idle("web").await;
    let running = api.status(&id).await;
    let log = running["logPath"].as_str().unwrap().to_owned();
    eventually("the container is ready", async || {
        log_lines(Path::new(&log)).pop()
    })
    .await;
    let exec = json!({"containerID": id, "cmd": ["sh", "-c", "ls /sys/class/net; id -u >&2; exit 3"]});
    let ran = api.ok("ExecSync", exec).await;
    let confined = json!({"containerID": id, "cmd": ["grep", "Seccomp:", "/proc/1/status"]});
    let confined = api.ok("ExecSync", confined).await;
    let stats = api.ok("ContainerStats", json!({"containerID": id})).await;
    let group = api
        .ok("ContainerStatus", json!({"containerID": id, "verbose": true}))
        .await;
    api.ok("StopContainer", json!({"containerID": id, "timeout": 60}))
        .await;
    let exited = api.status(&id).await;
    let kept = Path::new(&log).exists();
    daemon.check().await;
    api.ok("RemoveContainer", json!({"containerID": id})).await;

    assert_eq!(running["state"], 1, "{running}");
    assert_eq!(running["metadata"]["name"], "web");
    assert_eq!((&ran["ExitCode"], &ran["Stderr"]), (&json!(3), &json!("0\n")));
    // A network of its own, with nothing but a loopback.
    assert_eq!(ran["Stdout"], "lo\n");
    assert_eq!(confined["Stdout"].as_str().unwrap().trim_end(), "Seccomp:\t2");
    assert!(
        stats["stats"]["group"]["memory"]["usageBytes"].as_u64().unwrap() > 0,
        "{stats}"
    );
    let parent = daemon.place.cgroup_parent();
    assert!(
        group["info"]["info"].as_str().unwrap().contains(&parent),
        "{group}"
    );
    assert_eq!((&exited["state"], &exited["exitCode"]), (&json!(2), &json!(7)));
    assert!(kept && !Path::new(&log).exists(), "{log}");
    assert_eq!(api.ok("ListContainers", json!({})).await, json!({}));
    daemon.check().await;
}

async fn the_socket_is_there_when_asked_for_and_roots_alone() {
    let (daemon, api) = Api::serving("api-socket").await;
    let mode = fs::metadata(&api.socket).unwrap().permissions().mode() & 0o777;
    let (status, _, document) = api.send("GET /v1/openapi.json", None, b"").await;
    let place = daemon.kill().await;
    // What a dead daemon left is taken over.
    let daemon = Daemon::start(place).await;
    api.ok("Version", json!({})).await;
    let (place, ended) = daemon.stop().await;
    place.unset();
    fs::remove_file(&api.socket).unwrap();
    let _daemon = Daemon::start(place).await;

    assert_eq!(mode, 0o600);
    assert_eq!(status, 200);
    let document: Value = serde_json::from_str(&document).unwrap();
    assert!(document["paths"]["/v1/CreateContainer"]["post"].is_object());
    assert!(ended.success());
    assert!(!api.socket.exists());
}

async fn what_is_wrong_with_a_request_is_told_and_changes_nothing() {
    let (daemon, api) = Api::serving("api-bad").await;
    let container = |field: &str, value: Value| {
        let mut config = json!({"image": {"image": image_name()}, "command": ["true"]});
        config[field] = value;
        json!({"config": config})
    };
    let rows = [
        ("CreateContainer", json!({}), 400, "config is missing"),
        (
            "CreateContainer",
            json!({"config": {}}),
            400,
            "config.image.image is empty",
        ),
        (
            "CreateContainer",
            container("image", json!({"image": "registry.example/no:1"})),
            404,
            "registry.example/no:1",
        ),
        (
            "CreateContainer",
            container("colour", json!("red")),
            400,
            "config.colour: there is no such field",
        ),
        (
            "CreateContainer",
            container("command", json!("true")),
            400,
            "config.command: invalid type",
        ),
        (
            "CreateContainer",
            container("tags", json!({"cri.sandbox": "a"})),
            400,
            "config.tags",
        ),
        (
            "CreateContainer",
            container("mounts", json!([{"hostPath": "/no/such", "containerPath": "/a"}])),
            400,
            "/no/such",
        ),
        (
            "CreateContainer",
            container("linux", json!({"resources": {"cpuShares": 1.5}})),
            400,
            "config.linux.resources.cpuShares",
        ),
        ("StartContainer", json!({"containerID": "no"}), 404, "no"),
        (
            "StopContainer",
            json!({"containerID": "no", "timeout": -1}),
            400,
            "timeout -1",
        ),
        (
            "ExecSync",
            json!({"containerID": "no", "cmd": ["true"]}),
            404,
            "no",
        ),
        (
            "ExecSync",
            json!({"containerID": "no", "cmd": []}),
            400,
            "cmd is empty",
        ),
        (
            "UpdateContainerResources",
            json!({"containerID": "no"}),
            400,
            "linux is missing",
        ),
        ("ReopenContainerLog", json!({"containerID": "no"}), 404, "no"),
        ("ContainerStats", json!({"containerID": "no"}), 404, "no"),
        ("PullImage", json!({"image": {"image": "A B"}}), 400, "A B"),
        ("ImageStatus", json!({"image": {}}), 400, "image.image is empty"),
    ];
    for (call, body, status, text) in rows {
        let (answered, message) = api.refused(call, body.clone()).await;
        assert_eq!(answered, status, "{call} {body}: {message}");
        assert!(message.contains(text), "{call} {body}: {message}");
    }
    let long = vec![b' '; (4 << 20) + 1];
    let (too_long, ..) = api
        .send("POST /v1/Version", Some("application/json"), &long)
        .await;
    let (method, head, _) = api.send("DELETE /v1/Version", None, b"").await;
    let (kind, ..) = api.send("POST /v1/Version", Some("text/plain"), b"{}").await;
    let (path, ..) = api
        .send("POST /v1/RunPodSandbox", Some("application/json"), b"{}")
        .await;

    assert_eq!((too_long, method, kind, path), (413, 405, 415, 404));
    assert!(head.to_lowercase().contains("\r\nallow: post"), "{head}");
    assert_eq!(api.ok("ListContainers", json!({})).await, json!({}));
    daemon.check().await;
}

async fn every_call_may_be_repeated() {
    let (daemon, api) = Api::serving("api-repeats").await;
    let id = api.idle("twice").await;
    let of = json!({"containerID": id});
    let image = json!({"image": {"image": image_name()}});

    let (again, _) = api.refused("StartContainer", of.clone()).await;
    for (call, body) in [
        ("Version", json!({})),
        ("Status", json!({"verbose": true})),
        ("ListContainers", json!({"filter": {"id": id}})),
        ("ContainerStatus", of.clone()),
        (
            "UpdateContainerResources",
            json!({"containerID": id, "linux": {"memoryLimitInBytes": 64 << 20}}),
        ),
        ("ReopenContainerLog", of.clone()),
        ("ExecSync", json!({"containerID": id, "cmd": ["true"]})),
        ("ContainerStats", of.clone()),
        ("ListContainerStats", json!({"filter": {"id": id}})),
        ("ListImages", json!({"filter": image})),
        ("ImageStatus", image.clone()),
        ("ImageFsInfo", json!({})),
        ("StopContainer", json!({"containerID": id, "timeout": 60})),
        ("RemoveContainer", of),
        ("RemoveImage", image),
    ] {
        for _ in 0..2 {
            api.ok(call, body.clone()).await;
        }
    }

    assert_eq!(again, 412);
    daemon.check().await;
}

async fn a_kubelets_container_is_changed_by_force_only() {
    let (daemon, api) = Api::serving("api-force").await;
    let pod = Pod::run(&daemon, "owned").await;
    let container = pod.idle("main").await;
    let of = json!({"containerID": container.id});
    let exec = json!({"containerID": container.id, "cmd": ["echo", "in"]});

    let shown = api.status(&container.id).await;
    for (call, body) in [
        ("StopContainer", of.clone()),
        ("RemoveContainer", of.clone()),
        ("ExecSync", exec.clone()),
        ("ReopenContainerLog", of.clone()),
        (
            "UpdateContainerResources",
            json!({"containerID": container.id, "linux": {}}),
        ),
    ] {
        let (status, message) = api.refused(call, body).await;
        assert_eq!(status, 412, "{call}: {message}");
        let owner = format!("belongs to the kubelet (pod sandbox {})", pod.id);
        assert!(message.contains(&owner), "{call}: {message}");
    }
    let untouched = container.status().await.state();
    let forced = api.ok("ExecSync?force=true", exec).await;
    api.ok("StopContainer?force=true", of).await;

    assert_eq!(shown["id"], json!(container.id));
    assert_eq!(untouched, v1::ContainerState::ContainerRunning);
    assert_eq!(forced["Stdout"], "in\n");
    assert_eq!(
        container.status().await.state(),
        v1::ContainerState::ContainerExited
    );
}

/// The images that a kubelet is told not to collect, sorted.
async fn pinned(daemon: &Daemon) -> Vec<String> {
    let request = v1::ListImagesRequest::default();
    let listed = daemon.images().list_images(request).await.unwrap();
    let images = listed.into_inner().images.into_iter();
    let mut names: Vec<String> = images
        .filter(|image| image.pinned)
        .flat_map(|image| image.repo_tags)
        .collect();
    names.sort();
    names
}

async fn a_kubelet_sees_nothing_of_it() {
    let (daemon, api) = Api::serving("api-unseen").await;
    let mut events = daemon
        .runtime()
        .get_container_events(v1::GetEventsRequest {})
        .await
        .unwrap()
        .into_inner();
    let id = api.idle("unseen").await;
    let mounting = json!({
        "image": {"image": image_name()}, "command": ["true"],
        "mounts": [{"containerPath": "/volume", "readonly": true, "image": {"image": rich_image_name()}}],
    });
    let mounting = api.ok("CreateContainer", json!({"config": mounting})).await;
    let pod = Pod::run(&daemon, "seen").await;

    let first = events.message().await.unwrap().unwrap();
    let runtime = || daemon.runtime();
    let listed = runtime()
        .list_containers(v1::ListContainersRequest::default())
        .await
        .unwrap()
        .into_inner();
    let measured = runtime()
        .list_container_stats(v1::ListContainerStatsRequest::default())
        .await
        .unwrap()
        .into_inner();
    let metrics = runtime()
        .list_pod_sandbox_metrics(v1::ListPodSandboxMetricsRequest::default())
        .await
        .unwrap()
        .into_inner();
    let image = v1::ImageSpec {
        image: image_name(),
        ..Default::default()
    };
    let used = pinned(&daemon).await;
    api.ok("RemoveContainer", mounting).await;
    let used_then = pinned(&daemon).await;
    let request = v1::RemoveImageRequest { image: Some(image) };
    daemon.images().remove_image(request).await.unwrap();
    let ran = api
        .ok(
            "ExecSync",
            json!({"containerID": id, "cmd": ["cat", "/etc/passwd"]}),
        )
        .await;

    assert_eq!(first.container_id, pod.id);
    assert_eq!(listed.containers, []);
    assert_eq!(measured.stats, []);
    assert!(!format!("{metrics:?}").contains(&id));
    // A kubelet collects no image that is pinned.
    assert_eq!(used, [image_name(), rich_image_name()]);
    assert_eq!(used_then, [image_name()]);
    // One that takes the image away to gain room takes nothing from who uses it.
    assert_eq!(ran["ExitCode"], 0, "{ran}");
    daemon.check().await;
}

/// A container from its creation to its removal; `None`: the daemon died in the middle.
async fn life(api: &Api) -> Option<()> {
    let config = json!({"image": {"image": image_name()}, "command": ["sleep", "600"]});
    let (_, made) = api
        .try_call("CreateContainer", &json!({"config": config}))
        .await?;
    let of = json!({"containerID": made["containerID"]});
    api.try_call("StartContainer", &of).await?;
    api.try_call("RemoveContainer", &of).await?;
    Some(())
}

async fn containers_outlive_a_killed_daemon_and_nothing_is_left_of_a_call_cut_short() {
    let (daemon, api) = Api::serving("api-killed").await;
    let (kept, ended) = (api.idle("kept").await, api.create("ended", "exit 4").await);
    let pid = api.status(&kept).await["pid"].clone();
    api.ok("StartContainer", json!({"containerID": ended})).await;
    // Calls in every stage of their work when the daemon dies.
    let lives: Vec<_> = (0..6)
        .map(|_| {
            let api = api.clone();
            tokio::spawn(async move { while life(&api).await.is_some() {} })
        })
        .collect();
    eventually("calls are under way", async || {
        let listed = api.ok("ListContainers", json!({})).await;
        listed["containers"]
            .as_array()
            .filter(|all| all.len() > 4)
            .map(Vec::len)
    })
    .await;

    let place = daemon.kill().await;
    for life in lives {
        life.await.unwrap();
    }
    let daemon = Daemon::start(place).await;

    let status = api.status(&kept).await;
    assert_eq!((&status["state"], &status["pid"]), (&json!(1), &pid));
    let status = eventually("the end is known", async || {
        Some(api.status(&ended).await).filter(|status| status["state"] == 2)
    })
    .await;
    assert_eq!(status["exitCode"], 4);
    daemon.check().await;
    let listed = api.ok("ListContainers", json!({})).await;
    for container in listed["containers"].as_array().unwrap() {
        api.ok("RemoveContainer", json!({"containerID": container["id"]}))
            .await;
    }
    let logs = fs::read_dir(daemon.place.state.join("logs")).unwrap().count();
    assert_eq!(logs, 0);
    daemon.check().await;
}
