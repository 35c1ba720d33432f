//! The calls as a client makes them, over the fake: the table of bad requests, repeats, and the document held to both.

mod bad_calls;
mod calls;
mod openapi;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Call, Service, Settings};
use crate::model::fake::Fake;
use crate::model::{ContainerConfig, CreateContainerRequest, ImageSpec, RuntimeService};
use crate::streaming::Direct;

const IMAGE: &str = "registry.example/app:1";

/// The calls over a fake with one image, and the fake.
struct Api {
    service: Service<Fake, Fake>,
    fake: Arc<Fake>,
    home: TempDir,
}

impl Api {
    async fn new() -> Api {
        let fake = Arc::new(Fake::with_images([IMAGE]));
        let home = tempfile::tempdir().unwrap();
        let settings = Settings {
            logs: home.path().join("logs"),
            owner: |tags| tags.get("owner").cloned(),
        };
        let service = Service::open(Arc::clone(&fake), Arc::clone(&fake), settings)
            .await
            .unwrap();
        let api = Api { service, fake, home };
        api.ok(Call::PullImage, json!({"image": {"image": IMAGE}})).await;
        api
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let direct = Direct::new(CancellationToken::new(), TaskTracker::new());
        let answer = self
            .service
            .answer(request.body(Full::new(body.into())).unwrap(), &direct)
            .await;
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// Makes a call; `query` begins with `?` or is empty.
    async fn ask(&self, call: Call, query: &str, body: &Value) -> (StatusCode, Value) {
        let path = format!("/v1/{}{query}", call.name());
        let headers = [("content-type", "application/json")];
        self.send(Method::POST, &path, &headers, body.to_string()).await
    }

    /// Makes a call that succeeds.
    async fn ok(&self, call: Call, body: Value) -> Value {
        let (status, answer) = self.ask(call, "", &body).await;
        assert_eq!(status, StatusCode::OK, "{}: {answer}", call.name());
        answer
    }

    /// Makes a container by the API.
    async fn create(&self) -> String {
        let answer = self
            .ok(
                Call::CreateContainer,
                json!({"config": {"image": {"image": IMAGE}}}),
            )
            .await;
        answer["containerID"].as_str().unwrap().to_owned()
    }

    /// Makes a container as another adapter does.
    async fn foreign(&self, owner: &str) -> String {
        let config = ContainerConfig {
            image: Some(ImageSpec::named(IMAGE)),
            tags: [("owner".to_owned(), owner.to_owned())].into(),
            ..ContainerConfig::default()
        };
        let request = CreateContainerRequest {
            config: Some(config),
            ..CreateContainerRequest::default()
        };
        self.fake.create_container(request).await.unwrap().container_id
    }
}
