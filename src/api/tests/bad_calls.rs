//! What is refused, by which status, and in which words. Nothing is changed by any of it.

use super::*;

/// A request that each call takes, to spoil.
fn good(call: Call) -> Value {
    match call {
        Call::CreateContainer => json!({"config": {"image": {"image": IMAGE}}}),
        Call::ImageStatus | Call::PullImage | Call::RemoveImage => json!({"image": {"image": IMAGE}}),
        Call::ExecSync => json!({"containerID": "absent", "cmd": ["true"]}),
        Call::UpdateContainerResources => json!({"containerID": "absent", "linux": {}}),
        call if needs_container(call) => json!({"containerID": "absent"}),
        _ => json!({}),
    }
}

fn needs_container(call: Call) -> bool {
    call.is_owned() || matches!(call, Call::ContainerStatus | Call::ContainerStats)
}

#[tokio::test]
async fn every_call_refuses_a_field_it_does_not_have_by_its_name() {
    let api = Api::new().await;
    for call in Call::ALL {
        let mut body = good(*call);
        body["flavour"] = json!("sweet");

        let (status, answer) = api.ask(*call, "", &body).await;

        assert_eq!(status, StatusCode::BAD_REQUEST, "{call:?}: {answer}");
        assert_eq!(answer["code"], "INVALID_ARGUMENT");
        assert_eq!(answer["message"], "flavour: there is no such field", "{call:?}");
    }
}

#[tokio::test]
async fn every_call_refuses_a_body_that_is_no_object_or_no_json() {
    let api = Api::new().await;
    for call in Call::ALL {
        for body in [json!([1]), json!("text"), json!(null), json!(5)] {
            let (status, answer) = api.ask(*call, "", &body).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{call:?} {body}: {answer}");
        }
        let path = format!("/v1/{}", call.name());
        for body in [&b"{"[..], b"\xff\xfe", b"{}{}"] {
            let headers = [("content-type", "application/json")];
            let (status, answer) = api.send(Method::POST, &path, &headers, body.to_vec()).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{call:?} {body:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn every_call_refuses_a_longer_body_than_it_reads() {
    let api = Api::new().await;
    for call in Call::ALL {
        let path = format!("/v1/{}", call.name());
        let long = vec![b' '; crate::api::route::MOST + 1];

        let (status, answer) = api
            .send(Method::POST, &path, &[("content-type", "application/json")], long)
            .await;

        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{call:?}: {answer}");
    }
}

#[tokio::test]
async fn calls_about_one_container_need_its_id_and_its_type_is_text() {
    let api = Api::new().await;
    for call in Call::ALL.iter().copied().filter(|call| needs_container(*call)) {
        let mut body = good(call);
        body["containerID"] = json!("");
        let (status, answer) = api.ask(call, "", &body).await;
        assert_eq!(
            (status, &answer["message"]),
            (StatusCode::BAD_REQUEST, &json!("containerID is empty")),
            "{call:?}"
        );

        body["containerID"] = json!(["a"]);
        let (status, answer) = api.ask(call, "", &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{call:?}");
        assert!(
            answer["message"]
                .as_str()
                .unwrap()
                .starts_with("containerID: invalid type"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn an_unknown_container_is_not_found_but_to_the_calls_that_would_end_it() {
    let api = Api::new().await;
    for call in Call::ALL.iter().copied().filter(|call| needs_container(*call)) {
        let (status, answer) = api.ask(call, "", &good(call)).await;

        let expected = match call {
            Call::StopContainer | Call::RemoveContainer => StatusCode::OK,
            _ => StatusCode::NOT_FOUND,
        };
        assert_eq!(status, expected, "{call:?}: {answer}");
    }
}

#[tokio::test]
async fn fields_that_cannot_be_met_are_named() {
    let api = Api::new().await;
    let check = async |call: Call, body: Value, expected: &str| {
        let (status, answer) = api.ask(call, "", &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{call:?} {body}: {answer}");
        let message = answer["message"].as_str().unwrap();
        assert!(message.starts_with(expected), "{call:?} {body}: {message}");
    };

    check(Call::CreateContainer, json!({}), "config is missing").await;
    check(
        Call::CreateContainer,
        json!({"config": {"tags": {"owner": "me"}}}),
        "config.tags",
    )
    .await;
    check(
        Call::CreateContainer,
        json!({"config": {"envs": {}}}),
        "config.envs: invalid type",
    )
    .await;
    check(
        Call::StopContainer,
        json!({"containerID": "a", "timeout": -1}),
        "timeout -1 is negative",
    )
    .await;
    check(
        Call::UpdateContainerResources,
        json!({"containerID": "a"}),
        "linux is missing",
    )
    .await;
    check(Call::ExecSync, json!({"containerID": "a"}), "cmd is empty").await;
    check(
        Call::ExecSync,
        json!({"containerID": "a", "cmd": ["a\u{0}"]}),
        "cmd[0] contains a NUL",
    )
    .await;
    for call in [Call::ImageStatus, Call::PullImage, Call::RemoveImage] {
        check(call, json!({}), "image.image is empty").await;
    }
}

#[tokio::test]
async fn paths_methods_and_kinds_of_body_that_are_not_served_are_told_apart() {
    let api = Api::new().await;
    let json_body = [("content-type", "application/json; charset=utf-8")];
    let check =
        async |method: &str, path: &str, headers: &[(&str, &str)], body: &'static str, expected: u16| {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let (status, answer) = api.send(method.clone(), path, headers, body).await;
            assert_eq!(status.as_u16(), expected, "{method} {path}: {answer}");
            answer
        };

    check("POST", "/v1/Version", &json_body, "{}", 200).await;
    check("POST", "/v1/Version", &[], "", 200).await;
    check("POST", "/v1/Version", &[], "{}", 415).await;
    check(
        "POST",
        "/v1/Version",
        &[("content-type", "text/plain")],
        "{}",
        415,
    )
    .await;
    check("PUT", "/v1/Version", &json_body, "{}", 405).await;
    check("GET", "/v1/Version", &[], "", 405).await;
    check("POST", "/v1/openapi.json", &json_body, "{}", 405).await;
    check("GET", "/v1/ExecSync?containerID=a&cmd=b", &[], "", 426).await;
    check("DELETE", "/v1/ExecSync", &[], "", 405).await;
    check("POST", "/v1/Attach", &json_body, "{}", 405).await;
    let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
    check("GET", "/v1/ExecSync?cmd=b", &upgrade, "", 400).await;
    check("GET", "/v1/ExecSync?containerID=a", &upgrade, "", 400).await;
    check("GET", "/v1/Attach?containerID=a", &upgrade, "", 404).await;
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v1/version",
        "/v1/Version/",
        "/v2/Version",
        "/v1/RunEverything",
    ] {
        let answer = check("POST", path, &json_body, "{}", 404).await;
        assert_eq!(answer["code"], "UNIMPLEMENTED", "{path}");
    }
    check("POST", "/v1/Version?force=true", &json_body, "{}", 400).await;
    check("POST", "/v1/StopContainer?force=yes", &json_body, "{}", 400).await;
    check("POST", "/v1/StopContainer?sooner=true", &json_body, "{}", 400).await;
}

#[tokio::test]
async fn each_kind_of_error_has_its_status() {
    use crate::model::Kind;

    let api = Api::new().await;
    for (kind, status, code) in [
        (Kind::InvalidArgument, 400, "INVALID_ARGUMENT"),
        (Kind::NotFound, 404, "NOT_FOUND"),
        (Kind::AlreadyExists, 409, "ALREADY_EXISTS"),
        (Kind::FailedPrecondition, 412, "FAILED_PRECONDITION"),
        (Kind::ResourceExhausted, 429, "RESOURCE_EXHAUSTED"),
        (Kind::Internal, 500, "INTERNAL"),
        (Kind::Unimplemented, 501, "UNIMPLEMENTED"),
        (Kind::Unavailable, 503, "UNAVAILABLE"),
        (Kind::DeadlineExceeded, 504, "DEADLINE_EXCEEDED"),
        (Kind::PermissionDenied, 403, "PERMISSION_DENIED"),
    ] {
        api.fake.fail("list_containers", Some(kind));

        let (answered, body) = api.ask(Call::ListContainers, "", &json!({})).await;

        assert_eq!(
            (answered.as_u16(), &body["code"]),
            (status, &json!(code)),
            "{body}"
        );
    }
}
