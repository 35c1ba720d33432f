//! Bad ids, values and states, for the calls about what exists.

use tonic::{Code, Request};

use super::requests::{container, create_request, refused};
use super::support::TestNode;
use crate::cri::wire::v1::{
    self, image_service_server::ImageService as _, runtime_service_server::RuntimeService as _,
};

const BAD: Code = Code::InvalidArgument;

#[tokio::test]
async fn ids_of_containers() {
    let node = TestNode::new().await;
    let pod = node.run_pod("web").await;
    let created = node.create(&pod, "app").await;
    let before = node.traces().await;
    let adapter = &node.adapter;
    for (id, code, text) in [
        ("", BAD, "container_id is empty"),
        ("zz", Code::NotFound, "zz"),
        ("../..", Code::NotFound, "../.."),
        ("\0", Code::NotFound, "no container"),
        ("sha256:0", Code::NotFound, "sha256:0"),
    ] {
        let container_id = id.to_owned();
        let start = v1::StartContainerRequest {
            container_id: container_id.clone(),
        };
        refused(adapter.start_container(Request::new(start)).await, code, text);
        let status = v1::ContainerStatusRequest {
            container_id: container_id.clone(),
            verbose: true,
        };
        refused(adapter.container_status(Request::new(status)).await, code, text);
        let stats = v1::ContainerStatsRequest {
            container_id: container_id.clone(),
        };
        refused(adapter.container_stats(Request::new(stats)).await, code, text);
        let reopen = v1::ReopenContainerLogRequest {
            container_id: container_id.clone(),
        };
        refused(
            adapter.reopen_container_log(Request::new(reopen)).await,
            code,
            text,
        );
        let linux = Some(v1::LinuxContainerResources::default());
        let update = v1::UpdateContainerResourcesRequest {
            container_id: container_id.clone(),
            linux,
            ..Default::default()
        };
        refused(
            adapter.update_container_resources(Request::new(update)).await,
            code,
            text,
        );
        let exec = v1::ExecSyncRequest {
            container_id: container_id.clone(),
            cmd: vec!["true".into()],
            timeout: 0,
        };
        refused(adapter.exec_sync(Request::new(exec)).await, code, text);
        let stop = v1::StopContainerRequest {
            container_id: container_id.clone(),
            timeout: 0,
        };
        let remove = v1::RemoveContainerRequest { container_id };
        match code {
            BAD => {
                refused(adapter.stop_container(Request::new(stop)).await, code, text);
                refused(adapter.remove_container(Request::new(remove)).await, code, text);
            }
            _ => {
                adapter.stop_container(Request::new(stop)).await.unwrap();
                adapter.remove_container(Request::new(remove)).await.unwrap();
            }
        }
        let request = create_request(id, container("other"));
        let (code, text) = if id.is_empty() {
            (BAD, "pod_sandbox_id is empty")
        } else {
            (code, "no pod sandbox")
        };
        refused(adapter.create_container(request).await, code, text);
    }
    assert_eq!(node.traces().await, before);
    assert!(before.containers.contains_key(&created));
}

#[tokio::test]
async fn calls_about_a_container_in_the_wrong_state_or_with_bad_values() {
    let node = TestNode::new().await;
    let pod = node.run_pod("web").await;
    let id = node.create(&pod, "app").await;
    let before = node.traces().await;
    let exec = |cmd: Vec<String>, timeout| {
        let request = v1::ExecSyncRequest {
            container_id: id.clone(),
            cmd,
            timeout,
        };
        node.adapter.exec_sync(Request::new(request))
    };
    let stop = v1::StopContainerRequest {
        container_id: id.clone(),
        timeout: -1,
    };
    let reopen = v1::ReopenContainerLogRequest {
        container_id: id.clone(),
    };
    let update = v1::UpdateContainerResourcesRequest {
        container_id: id.clone(),
        ..Default::default()
    };
    let state = Some(v1::ContainerStateValue { state: -1 });
    let filter = Some(v1::ContainerFilter {
        state,
        ..Default::default()
    });

    refused(exec(vec![], 0).await, BAD, "cmd is empty");
    refused(exec(vec![String::new()], 0).await, BAD, "cmd is empty");
    refused(exec(vec!["true".into()], -1).await, BAD, "timeout -1 is negative");
    refused(
        exec(vec!["true".into()], 0).await,
        Code::FailedPrecondition,
        "does not run",
    );
    refused(
        node.adapter.stop_container(Request::new(stop)).await,
        BAD,
        "timeout -1 is negative",
    );
    refused(
        node.adapter.reopen_container_log(Request::new(reopen)).await,
        Code::FailedPrecondition,
        "run",
    );
    refused(
        node.adapter
            .update_container_resources(Request::new(update))
            .await,
        BAD,
        "linux is missing",
    );
    let list = v1::ListContainersRequest { filter };
    refused(
        node.adapter.list_containers(Request::new(list)).await,
        BAD,
        "filter.state has unknown value -1",
    );
    refused(
        node.adapter
            .create_container(Request::new(v1::CreateContainerRequest {
                pod_sandbox_id: pod.clone(),
                ..Default::default()
            }))
            .await,
        BAD,
        "config is missing",
    );
    assert_eq!(node.traces().await, before);
}

#[tokio::test]
async fn names_of_images() {
    let node = TestNode::new().await;
    let specs = [
        (None, "image is missing"),
        (Some(v1::ImageSpec::default()), "image.image is empty"),
        (
            Some(v1::ImageSpec {
                image: "a\0".into(),
                ..Default::default()
            }),
            "image.image contains a NUL",
        ),
    ];
    for (image, text) in specs {
        let pull = v1::PullImageRequest {
            image: image.clone(),
            ..Default::default()
        };
        refused(node.adapter.pull_image(Request::new(pull)).await, BAD, text);
        let status = v1::ImageStatusRequest {
            image: image.clone(),
            verbose: false,
        };
        refused(node.adapter.image_status(Request::new(status)).await, BAD, text);
        let remove = v1::RemoveImageRequest { image };
        refused(node.adapter.remove_image(Request::new(remove)).await, BAD, text);
    }
    let image = Some(v1::ImageSpec {
        image: "registry.example/none:1".into(),
        ..Default::default()
    });
    let pull = v1::PullImageRequest {
        image,
        ..Default::default()
    };
    refused(
        node.adapter.pull_image(Request::new(pull)).await,
        Code::NotFound,
        "registry.example/none:1",
    );
}
