//! Handlers: which there are, what a pod keeps of its own, and what becomes of it when that goes.

use std::path::PathBuf;

use tonic::{Code, Request};

use super::requests::{container, create_request, pod, refused};
use super::support::{IMAGE, TestNode};
use crate::cri::sandbox::Record;
use crate::cri::wire::v1::{
    self, image_service_server::ImageService as _, runtime_service_server::RuntimeService as _,
};
use crate::cri::{Handler, Handlers};

fn strict() -> Handler {
    Handler {
        cni_conf_dir: Some("/etc/cni/strict.d".into()),
        default_annotations: [
            ("note".to_owned(), "of the handler".to_owned()),
            ("more".to_owned(), "x".to_owned()),
        ]
        .into(),
        read_only: true,
        ..Handler::default()
    }
}

/// A node with the handlers `coracle`, the default, and `strict`.
async fn node() -> TestNode {
    let node = TestNode::new().await;
    let handlers = Handlers::new("coracle", [("strict".to_owned(), strict())].into());
    node.adapter.set_handlers(handlers);
    node
}

fn run_by(handler: &str) -> Request<v1::RunPodSandboxRequest> {
    Request::new(v1::RunPodSandboxRequest {
        config: Some(pod("web")),
        runtime_handler: handler.to_owned(),
    })
}

fn image(handler: &str) -> Option<v1::ImageSpec> {
    Some(v1::ImageSpec {
        image: IMAGE.to_owned(),
        runtime_handler: handler.to_owned(),
        ..v1::ImageSpec::default()
    })
}

fn pull(handler: &str) -> Request<v1::PullImageRequest> {
    Request::new(v1::PullImageRequest {
        image: image(handler),
        ..v1::PullImageRequest::default()
    })
}

async fn run(node: &TestNode, handler: &str) -> String {
    let answer = node.adapter.run_pod_sandbox(run_by(handler)).await.unwrap();
    answer.into_inner().pod_sandbox_id
}

#[tokio::test]
async fn a_pod_keeps_its_handler_and_shows_it() {
    let node = node().await;

    let id = run(&node, "strict").await;

    let status = node.pod_status(&id).await.status.unwrap();
    assert_eq!(status.runtime_handler, "strict");
    assert_eq!(
        status.annotations,
        pod("web").annotations,
        "those that were asked for"
    );
    assert_eq!(
        node.pods(v1::PodSandboxFilter::default()).await[0].runtime_handler,
        "strict"
    );
    let kept = node.store.load::<Record>().unwrap();
    assert_eq!(kept[0].1.config.handler, strict());
    let world = node.world.lock();
    assert_eq!(world.conf_dirs, [Some(PathBuf::from("/etc/cni/strict.d"))]);
    let told = [
        ("note".to_owned(), " as is\n".to_owned()),
        ("more".to_owned(), "x".to_owned()),
    ];
    assert_eq!(world.annotations, [told.into()]);
}

#[tokio::test]
async fn the_default_handler_is_told_by_no_name_and_by_its_own() {
    let node = node().await;

    let status = node
        .adapter
        .status(Request::new(v1::StatusRequest { verbose: true }))
        .await;

    let status = status.unwrap().into_inner();
    let names: Vec<&str> = status.runtime_handlers.iter().map(|h| h.name.as_str()).collect();
    assert_eq!(names, ["", "coracle", "strict"]);
    let info: serde_json::Value = serde_json::from_str(&status.info["runtimeHandlers"]).unwrap();
    assert_eq!(
        info["strict"]["networkMessage"],
        "no network configuration in /etc/cni/strict.d"
    );
    assert_eq!(info["coracle"]["networkReady"], true);
}

#[tokio::test]
async fn a_pod_whose_handler_is_gone_goes_on_and_new_ones_are_refused() {
    let node = node().await;
    let id = run(&node, "strict").await;
    node.adapter
        .set_handlers(Handlers::new("coracle", Default::default()));

    assert_eq!(
        run(&node, "strict").await,
        id,
        "a repeat means the pod that is there"
    );
    let mut config = container("late");
    config.image = image("strict");
    let made = node
        .adapter
        .create_container(create_request(&id, config))
        .await
        .unwrap();
    assert!(!made.into_inner().container_id.is_empty());
    node.adapter.pull_image(pull("strict")).await.unwrap();
    node.stop_pod(&id).await.unwrap();
    node.remove_pod(&id).await.unwrap();
    let again = node.adapter.run_pod_sandbox(run_by("strict")).await;
    refused(
        again,
        Code::InvalidArgument,
        "runtime_handler strict is not configured",
    );
    let pulled = node.adapter.pull_image(pull("strict")).await;
    refused(
        pulled,
        Code::InvalidArgument,
        "image: runtime_handler strict is not configured",
    );
    assert_eq!(node.traces().await.records, 0);
}

#[tokio::test]
async fn an_image_of_another_handler_than_the_pods_is_refused() {
    let node = node().await;
    let id = run(&node, "").await;
    let create = async |name: &str, handler: &str| {
        let mut config = container(name);
        config.image = image(handler);
        node.adapter.create_container(create_request(&id, config)).await
    };

    for (name, own) in [("a", ""), ("b", "coracle")] {
        let made = create(name, own).await.unwrap().into_inner().container_id;
        assert_eq!(node.status(&made).await.image.unwrap().runtime_handler, "");
    }
    let other = create("c", "strict").await;

    let text = "config.image.runtime_handler strict is not that of the pod sandbox, \"\"";
    refused(other, Code::InvalidArgument, text);
}

#[tokio::test]
async fn a_record_without_a_handler_has_one_that_says_nothing() {
    let node = node().await;
    run(&node, "strict").await;
    let mut old = serde_json::to_value(&node.store.load::<Record>().unwrap()[0].1).unwrap();
    old["config"].as_object_mut().unwrap().remove("handler");

    let read: Record = serde_json::from_value(old).unwrap();

    assert_eq!(read.config.handler, Handler::default());
}
