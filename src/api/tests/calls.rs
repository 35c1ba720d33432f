//! What calls do, and do when they are repeated.

use super::*;
use crate::model::Profile;

#[tokio::test]
async fn a_container_lives_by_the_calls_and_each_may_be_repeated() {
    let api = Api::new().await;
    let id = api.create().await;
    let other = api.create().await;
    let of = json!({"containerID": id});
    assert_ne!(id, other);

    api.ok(Call::StartContainer, of.clone()).await;
    let (again, _) = api.ask(Call::StartContainer, "", &of).await;
    let running = api.ok(Call::ContainerStatus, of.clone()).await;
    for _ in 0..2 {
        api.ok(
            Call::UpdateContainerResources,
            json!({"containerID": id, "linux": {"cpuShares": 512}}),
        )
        .await;
        api.ok(Call::ReopenContainerLog, of.clone()).await;
        api.ok(Call::ContainerStats, of.clone()).await;
    }
    for _ in 0..2 {
        api.ok(Call::StopContainer, json!({"containerID": id, "timeout": 1}))
            .await;
    }
    let listed = api
        .ok(Call::ListContainers, json!({"filter": {"state": {"state": 2}}}))
        .await;
    for _ in 0..2 {
        api.ok(Call::RemoveContainer, of.clone()).await;
    }
    let (gone, _) = api.ask(Call::ContainerStatus, "", &of).await;

    assert_eq!(again, StatusCode::PRECONDITION_FAILED);
    assert_eq!(running["status"]["state"], 1);
    assert_eq!(listed["containers"][0]["id"], json!(id));
    assert_eq!(gone, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_id_of_the_caller_s_makes_a_creation_that_cannot_be_repeated() {
    let api = Api::new().await;
    let body = json!({"containerID": "mine", "config": {"image": {"image": IMAGE}}});

    let made = api.ok(Call::CreateContainer, body.clone()).await;
    let (status, again) = api.ask(Call::CreateContainer, "", &body).await;

    assert_eq!(made["containerID"], "mine");
    assert_eq!(
        (status, &again["code"]),
        (StatusCode::CONFLICT, &json!("ALREADY_EXISTS"))
    );
}

#[tokio::test]
async fn a_container_of_another_s_is_shown_and_changed_by_force_only() {
    let api = Api::new().await;
    let id = api.foreign("the other client").await;
    let body = json!({"containerID": id, "cmd": ["true"], "linux": {}});
    let only = |call: Call| match call {
        Call::ExecSync => json!({"containerID": id, "cmd": ["true"]}),
        Call::UpdateContainerResources => json!({"containerID": id, "linux": {}}),
        _ => json!({"containerID": id}),
    };
    assert!(body.is_object());

    let listed = api.ok(Call::ListContainers, json!({})).await;
    let owned: Vec<Call> = Call::ALL.iter().copied().filter(|call| call.is_owned()).collect();
    for call in &owned {
        let (status, answer) = api.ask(*call, "", &only(*call)).await;
        assert_eq!(status, StatusCode::PRECONDITION_FAILED, "{call:?}: {answer}");
        let message = answer["message"].as_str().unwrap();
        assert!(
            message.contains("belongs to the other client"),
            "{call:?}: {message}"
        );
    }
    for call in [
        Call::StartContainer,
        Call::ExecSync,
        Call::StopContainer,
        Call::RemoveContainer,
    ] {
        let (status, answer) = api.ask(call, "?force=true", &only(call)).await;
        assert_eq!(status, StatusCode::OK, "{call:?}: {answer}");
    }

    assert_eq!(listed["containers"][0]["id"], json!(id));
    assert_eq!(owned.len(), 6);
}

#[tokio::test]
async fn a_command_s_output_is_in_the_answer() {
    let api = Api::new().await;
    let id = api.create().await;
    api.ok(Call::StartContainer, json!({"containerID": id})).await;

    let answer = api
        .ok(Call::ExecSync, json!({"containerID": id, "cmd": ["echo", "hi"]}))
        .await;

    assert_eq!(answer["ContainerID"], json!(id));
    assert_eq!(answer["ExitCode"], 0);
    assert!(answer["Stdout"].as_str().unwrap().contains("hi"), "{answer}");
    assert_eq!(answer["Truncated"], false);
}

#[tokio::test]
async fn a_container_is_confined_unless_its_request_says_otherwise() {
    let api = Api::new().await;
    let id = api.create().await;

    let config = api.fake.config(&id).unwrap();

    assert_eq!(config.linux.unwrap().security.seccomp, Profile::RuntimeDefault);
    assert_eq!(config.log_path, format!("{id}.log"));
}

#[tokio::test]
async fn a_log_goes_with_its_container_and_at_the_next_start_if_that_was_cut_short() {
    let api = Api::new().await;
    let logs = api.home.path().join("logs");
    let (kept, removed) = (api.create().await, api.create().await);
    for name in [&kept, &removed, &"stray".to_owned()] {
        std::fs::write(logs.join(format!("{name}.log")), "").unwrap();
    }

    api.ok(Call::RemoveContainer, json!({"containerID": removed}))
        .await;
    let left = logs.join("stray.log").exists();
    api.service.sweep_logs().await.unwrap();

    let names: Vec<_> = std::fs::read_dir(&logs)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(left);
    assert_eq!(names, [std::ffi::OsString::from(format!("{kept}.log"))]);
}
