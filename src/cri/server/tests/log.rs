//! What the server logs, and what it never logs.

use std::{
    io,
    sync::{Arc, Mutex},
};

use k8s_cri::v1alpha2;

use super::{LONG, Running};

use crate::cri::wire::v1::{
    AuthConfig, ContainerStatusRequest, ImageSpec, PullImageRequest, VersionRequest,
    image_service_client::ImageServiceClient,
};

/// Where the tests' log goes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn one_call_of_each_outcome(server: &Running) {
    let (mut images, mut runtime) = (ImageServiceClient::new(server.channel().await), server.v1().await);
    runtime.version(VersionRequest::default()).await.unwrap();
    runtime
        .container_status(ContainerStatusRequest::default())
        .await
        .unwrap_err();
    let image = Some(ImageSpec {
        image: "registry.example/app:1".into(),
        ..Default::default()
    });
    let auth = Some(AuthConfig {
        password: "hunter2".into(),
        ..Default::default()
    });
    images
        .pull_image(PullImageRequest {
            image,
            auth,
            sandbox_config: None,
        })
        .await
        .unwrap_err();
    server
        .v1alpha2()
        .await
        .version(v1alpha2::VersionRequest::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn each_call_is_logged_once_with_its_outcome_and_without_its_content() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("coracle=debug")
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = Running::start(LONG);

    // Other tests use the same call sites without a subscriber, and tracing remembers for all threads what
    // one found: a first round has every site registered, after which the memory is made anew.
    one_call_of_each_outcome(&server).await;
    tracing::callsite::rebuild_interest_cache();
    log.0.lock().unwrap().clear();
    one_call_of_each_outcome(&server).await;

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let rows = [
        (
            "DEBUG rpc{method=\"runtime.v1.RuntimeService/Version\"}",
            "call succeeded",
        ),
        (
            "DEBUG rpc{method=\"runtime.v1.RuntimeService/ContainerStatus\"}",
            "code=NotFound",
        ),
        (
            "WARN rpc{method=\"runtime.v1.ImageService/PullImage\"}",
            "registry registry.example does not answer",
        ),
        (
            "DEBUG rpc{method=\"runtime.v1alpha2.RuntimeService/Version\"}",
            "call succeeded",
        ),
    ];
    for (call, outcome) in rows {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(call)).collect();
        assert!(
            lines.len() == 1 && lines[0].contains(outcome),
            "{call} {outcome}: {log}"
        );
    }
    assert!(!log.contains("hunter2"), "{log}");
}
