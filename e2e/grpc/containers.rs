//! The life of a container: create, start, stop, remove, what is listed and told at each point.

use k8s_cri::v1;
use libtest_mimic::Trial;
use tonic::Code;

use crate::harness::container::Made;
use crate::harness::daemon::{image_name, refused, shared};
use crate::harness::pod::Pod;
use crate::harness::trials;

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        a_container_goes_through_its_states,
        creating_a_container_again_gives_the_same_container,
        a_command_that_is_missing_says_so,
        a_container_is_stopped_by_its_signal,
        a_container_that_does_not_end_is_killed,
        a_later_stop_shortens_the_grace,
        stopping_and_removing_may_be_repeated,
        a_running_container_can_be_removed,
        a_started_container_is_not_started_again,
        filters_are_all_to_be_met,
        a_container_is_found_by_the_beginning_of_its_id,
        the_status_tells_what_was_asked_for,
    ]
}

async fn list(filter: v1::ContainerFilter) -> Vec<v1::Container> {
    let request = v1::ListContainersRequest { filter: Some(filter) };
    shared()
        .await
        .runtime()
        .list_containers(request)
        .await
        .unwrap()
        .into_inner()
        .containers
}

fn of_pod(pod: &Pod<'_>) -> v1::ContainerFilter {
    v1::ContainerFilter {
        pod_sandbox_id: pod.id.clone(),
        ..Default::default()
    }
}

async fn a_container_goes_through_its_states() {
    let pod = Pod::run(shared().await, "states").await;

    let container = pod.create("main", &["sh", "-c", "exit 7"]).await;
    let created = container.status().await;
    container.start().await;
    let exited = container.exited().await;
    container.remove().await;

    assert_eq!(created.state(), v1::ContainerState::ContainerCreated);
    assert!(created.created_at > 0);
    assert_eq!((created.started_at, created.finished_at), (0, 0));
    assert_eq!((exited.exit_code, exited.reason.as_str()), (7, "Error"));
    assert_eq!(exited.created_at, created.created_at);
    assert!(exited.created_at <= exited.started_at && exited.started_at <= exited.finished_at);
    assert_eq!(list(of_pod(&pod)).await, []);
    let done = pod.start("done", &["true"]).await.exited().await;
    assert_eq!((done.exit_code, done.reason.as_str()), (0, "Completed"));
    pod.remove().await;
}

async fn creating_a_container_again_gives_the_same_container() {
    let pod = Pod::run(shared().await, "create-again").await;

    let (first, beside) = tokio::join!(
        pod.create("main", &["sleep", "9"]),
        pod.create("main", &["sleep", "9"])
    );
    let later = pod.create("main", &["sleep", "9"]).await;
    let next = pod
        .create_with("main", &["sleep", "9"], |config| {
            config.metadata.as_mut().unwrap().attempt = 1
        })
        .await;

    assert_eq!(first.id, beside.id);
    assert_eq!(first.id, later.id);
    assert_ne!(first.id, next.id);
    assert_eq!(list(of_pod(&pod)).await.len(), 2);
    pod.remove().await;
}

async fn a_command_that_is_missing_says_so() {
    let pod = Pod::run(shared().await, "missing").await;
    let check = async |name: &str, command: &str, expected: &str| {
        let container = pod.create(name, &[command]).await;
        let request = v1::StartContainerRequest {
            container_id: container.id.clone(),
        };

        let refusal = refused(shared().await.runtime().start_container(request)).await;
        let status = container.status().await;

        assert!(refusal.message().contains(expected), "{refusal}");
        assert_eq!(status.state(), v1::ContainerState::ContainerExited);
        assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"));
        assert!(status.message.contains(expected), "{}", status.message);
        assert!(status.finished_at > 0);
    };

    check("absolute", "/nope", r#"exec "/nope": no such file or directory"#).await;
    check("by-path", "nope", r#"exec "nope": "#).await;
    check("directory", "/etc", r#"exec "/etc": permission denied"#).await;
    check(
        "not-executable",
        "/etc/passwd",
        r#"exec "/etc/passwd": permission denied"#,
    )
    .await;
    pod.remove().await;
}

async fn a_container_is_stopped_by_its_signal() {
    let pod = Pod::run(shared().await, "signal").await;
    let script = "trap 'echo TERM; exit 3' TERM; trap 'echo USR1; exit 4' USR1; echo ready; while :; do sleep 0.05; done";
    let by_default = pod.start("term", &["sh", "-c", script]).await;
    // Its image says SIGUSR1.
    let by_image = pod
        .start_with("usr1", &["sh", "-c", script], |config| {
            config.image.as_mut().unwrap().image = crate::harness::daemon::rich_image_name();
        })
        .await;
    by_default.printed("ready").await;
    by_image.printed("ready").await;

    tokio::join!(by_default.stop(60), by_image.stop(60));

    assert_eq!(by_default.status().await.exit_code, 3);
    assert!(by_default.output().contains("TERM"));
    assert_eq!(by_image.status().await.exit_code, 4);
    pod.remove().await;
}

/// A container whose first process ignores SIGTERM.
async fn stubborn<'a>(pod: &Pod<'a>, name: &str) -> Made<'a> {
    let container = pod
        .start(
            name,
            &[
                "sh",
                "-c",
                "trap '' TERM; echo ready; while :; do sleep 0.05; done",
            ],
        )
        .await;
    container.printed("ready").await;
    container
}

async fn a_container_that_does_not_end_is_killed() {
    let pod = Pod::run(shared().await, "stubborn").await;
    let (patient, hasty) = (stubborn(&pod, "patient").await, stubborn(&pod, "hasty").await);

    tokio::join!(patient.stop(1), hasty.stop(0));

    for container in [patient, hasty] {
        let status = container.status().await;
        assert_eq!(status.state(), v1::ContainerState::ContainerExited);
        assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"));
    }
    pod.remove().await;
}

async fn a_later_stop_shortens_the_grace() {
    let pod = Pod::run(shared().await, "shorten").await;
    let container = stubborn(&pod, "main").await;

    // The first would take an hour: that both return shows that the second counts.
    tokio::join!(container.stop(3600), container.stop(0));

    assert_eq!(container.status().await.exit_code, 137);
    pod.remove().await;
}

async fn stopping_and_removing_may_be_repeated() {
    let pod = Pod::run(shared().await, "twice").await;
    let container = pod.idle("main").await;

    tokio::join!(container.stop(0), container.stop(0));
    let stopped = container.status().await;
    container.stop(10).await;
    let again = container.status().await;
    tokio::join!(container.remove(), container.remove());
    container.remove().await;
    container.stop(0).await;

    assert_eq!(again, stopped);
    assert_eq!(list(of_pod(&pod)).await, []);
    pod.remove().await;
}

async fn a_running_container_can_be_removed() {
    let pod = Pod::run(shared().await, "remove-running").await;
    let container = pod.idle("main").await;
    let pid = container.pid().await;

    container.remove().await;

    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(list(of_pod(&pod)).await, []);
    // The log is the kubelet's.
    assert!(container.log.exists());
    pod.remove().await;
}

async fn a_started_container_is_not_started_again() {
    let pod = Pod::run(shared().await, "start-again").await;
    let check = async |container: &Made<'_>| {
        let before = container.status().await;
        let request = v1::StartContainerRequest {
            container_id: container.id.clone(),
        };

        let refusal = refused(shared().await.runtime().start_container(request)).await;

        assert_eq!(refusal.code(), Code::FailedPrecondition, "{refusal}");
        assert_eq!(container.status().await, before);
    };
    let running = pod.idle("running").await;
    let exited = pod.start("exited", &["true"]).await;
    exited.exited().await;

    check(&running).await;
    check(&exited).await;
    pod.remove().await;
}

async fn filters_are_all_to_be_met() {
    let pod = Pod::run(shared().await, "list").await;
    let label = |config: &mut v1::ContainerConfig| {
        config.labels.insert("role".into(), "one".into());
    };
    let one = pod.start_with("one", &["sleep", "infinity"], label).await;
    let two = pod.create("two", &["true"]).await;
    let check = async |id: &str, state: Option<v1::ContainerState>, role: Option<&str>, expected: &[&str]| {
        let filter = v1::ContainerFilter {
            id: id.to_owned(),
            state: state.map(|state| v1::ContainerStateValue { state: state.into() }),
            pod_sandbox_id: pod.id.clone(),
            label_selector: role
                .map(|role| ("role".to_owned(), role.to_owned()))
                .into_iter()
                .collect(),
        };
        let mut found: Vec<String> = list(filter.clone())
            .await
            .into_iter()
            .map(|item| item.id)
            .collect();
        found.sort();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "{filter:?}");
    };
    let (running, created) = (
        v1::ContainerState::ContainerRunning,
        v1::ContainerState::ContainerCreated,
    );

    check("", None, None, &[&one.id, &two.id]).await;
    check("", Some(running), None, &[&one.id]).await;
    check("", Some(created), None, &[&two.id]).await;
    check(&one.id, Some(created), None, &[]).await;
    check(&one.id, Some(running), Some("one"), &[&one.id]).await;
    check(&two.id, None, Some("one"), &[]).await;
    check("no-such-id", None, None, &[]).await;
    pod.remove().await;
}

async fn a_container_is_found_by_the_beginning_of_its_id() {
    let pod = Pod::run(shared().await, "prefix").await;
    let container = pod.idle("main").await;
    let short = Made::adopted(container.daemon, &container.id[..12], &container.log);

    assert_eq!(short.status().await.id, container.id);
    assert_eq!(short.sh("echo here").await, "here\n");
    short.stop(0).await;
    short.remove().await;

    assert_eq!(list(of_pod(&pod)).await, []);
    pod.remove().await;
}

async fn the_status_tells_what_was_asked_for() {
    let pod = Pod::run(shared().await, "told").await;
    let container = pod
        .start_with("main", &["sleep", "infinity"], |config| {
            config.metadata.as_mut().unwrap().attempt = 3;
            config.labels.insert("label".into(), "one".into());
            config.annotations.insert("note".into(), "ünïcode".into());
            config.mounts.push(v1::Mount {
                container_path: "/mnt".into(),
                host_path: pod.config.log_directory.clone(),
                readonly: true,
                ..Default::default()
            });
        })
        .await;

    let answer = container.verbose_status().await;
    let status = answer.status.unwrap();

    assert_eq!(status.metadata.unwrap().attempt, 3);
    assert_eq!(status.labels["label"], "one");
    assert_eq!(status.annotations["note"], "ünïcode");
    assert_eq!(status.image.unwrap().image, image_name());
    assert!(status.image_id.starts_with("sha256:"), "{}", status.image_id);
    assert!(!status.image_ref.is_empty());
    assert_eq!(status.log_path, container.log.to_str().unwrap());
    assert_eq!(status.mounts.len(), 1);
    assert_eq!(status.mounts[0].container_path, "/mnt");
    assert!(status.mounts[0].readonly);
    let user = status.user.unwrap().linux.unwrap();
    assert_eq!((user.uid, user.gid), (0, 0));
    let info: serde_json::Value = serde_json::from_str(&answer.info["info"]).unwrap();
    assert!(info["pid"].as_i64().unwrap() > 0);
    pod.remove().await;
}
