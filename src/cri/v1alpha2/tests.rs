//! Paths are rewritten, bodies are not.

use std::{convert::Infallible, future::ready};

use bytes::Bytes;
use http::Request;
use tower::{Layer, ServiceExt, service_fn};

use crate::cri::{
    v1alpha2::{ApiVersion, V1Alpha2Layer, profile},
    wire::v1::{SecurityProfile, security_profile::ProfileType},
};

/// Sends a request through the layer and returns what the service behind it received.
async fn pass(uri: &str) -> Request<Bytes> {
    let behind = service_fn(|request: Request<Bytes>| ready(Ok::<_, Infallible>(request)));
    let request = Request::post(uri)
        .header("grpc-timeout", "1S")
        .body(Bytes::from_static(b"\0\xffbody"))
        .unwrap();
    V1Alpha2Layer.layer(behind).oneshot(request).await.unwrap()
}

#[tokio::test]
async fn only_the_paths_of_v1alpha2_services_are_rewritten() {
    use ApiVersion::{V1, V1Alpha2};
    let rows = [
        (
            "/runtime.v1alpha2.RuntimeService/Version",
            "/runtime.v1.RuntimeService/Version",
            V1Alpha2,
        ),
        (
            "/runtime.v1alpha2.ImageService/PullImage",
            "/runtime.v1.ImageService/PullImage",
            V1Alpha2,
        ),
        (
            "/runtime.v1alpha2.RuntimeService/NoSuchCall",
            "/runtime.v1.RuntimeService/NoSuchCall",
            V1Alpha2,
        ),
        (
            "/runtime.v1alpha2.RuntimeService/Version?q=1",
            "/runtime.v1.RuntimeService/Version?q=1",
            V1Alpha2,
        ),
        (
            "/runtime.v1alpha2.OtherService/Version",
            "/runtime.v1alpha2.OtherService/Version",
            V1,
        ),
        (
            "/runtime.v1alpha2.RuntimeService/GetContainerEvents",
            "/runtime.v1alpha2.RuntimeService/GetContainerEvents",
            V1,
        ),
        (
            "/runtime.v1alpha2.RuntimeService",
            "/runtime.v1alpha2.RuntimeService",
            V1,
        ),
        (
            "/runtime.v1.RuntimeService/Version",
            "/runtime.v1.RuntimeService/Version",
            V1,
        ),
        (
            "/x/runtime.v1alpha2.RuntimeService/Version",
            "/x/runtime.v1alpha2.RuntimeService/Version",
            V1,
        ),
        ("/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Check", V1),
        ("/", "/", V1),
    ];
    for (sent, expected, version) in rows {
        let received = pass(sent).await;

        assert_eq!(received.uri().to_string(), expected, "{sent}");
        assert_eq!(received.extensions().get(), Some(&version), "{sent}");
    }
}

#[tokio::test]
async fn authority_headers_and_body_stay_as_they_were() {
    let received = pass("http://localhost/runtime.v1alpha2.ImageService/ListImages").await;

    assert_eq!(
        received.uri().to_string(),
        "http://localhost/runtime.v1.ImageService/ListImages"
    );
    assert_eq!(received.headers()["grpc-timeout"], "1S");
    assert_eq!(received.body().as_ref(), b"\0\xffbody");
}

#[test]
fn a_deprecated_profile_is_read_when_the_current_field_is_absent() {
    let of = |kind: ProfileType, reference: &str| {
        Some(SecurityProfile {
            profile_type: kind.into(),
            localhost_ref: reference.into(),
        })
    };
    let rows = [
        ("", None),
        ("runtime/default", of(ProfileType::RuntimeDefault, "")),
        ("docker/default", of(ProfileType::RuntimeDefault, "")),
        ("unconfined", of(ProfileType::Unconfined, "")),
        (
            "localhost//var/lib/seccomp/a.json",
            of(ProfileType::Localhost, "/var/lib/seccomp/a.json"),
        ),
        ("localhost/web", of(ProfileType::Localhost, "web")),
    ];
    for (text, expected) in rows {
        assert_eq!(profile(None, text).unwrap(), expected, "{text:?}");
    }
}

#[test]
fn the_current_profile_wins_over_the_deprecated_one() {
    let current = SecurityProfile {
        profile_type: ProfileType::Unconfined.into(),
        localhost_ref: String::new(),
    };

    assert_eq!(
        profile(Some(&current), "runtime/default").unwrap(),
        Some(current.clone())
    );
    assert_eq!(profile(Some(&current), "nonsense").unwrap(), Some(current));
}

#[test]
fn a_deprecated_text_that_names_no_profile_is_refused() {
    for text in ["localhost/", "Localhost/x", "default", "localhost"] {
        let error = profile(None, text).unwrap_err();

        assert!(error.to_string().contains(text), "{error}");
    }
}
