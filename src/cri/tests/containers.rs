//! The life of containers, through the adapter.

use std::sync::Arc;

use tonic::{Code, Request};

use super::requests::{container, create_request, namespaces, refused, run_request, secured, secured_pod};
use super::support::{IMAGE, TestNode};
use crate::cri::wire::v1::{self, NamespaceMode as M, runtime_service_server::RuntimeService as _};
use crate::model::Namespace;

#[tokio::test]
async fn a_container_goes_through_its_states() {
    let node = TestNode::new().await;
    let pod = node.run_pod("web").await;

    let id = node.create(&pod, "nginx").await;
    assert_eq!(
        node.status(&id).await.state(),
        v1::ContainerState::ContainerCreated
    );
    let start = v1::StartContainerRequest {
        container_id: id.clone(),
    };
    node.adapter
        .start_container(Request::new(start.clone()))
        .await
        .unwrap();
    assert_eq!(
        node.status(&id).await.state(),
        v1::ContainerState::ContainerRunning
    );
    let again = node.adapter.start_container(Request::new(start)).await;
    refused(again, Code::FailedPrecondition, &id);
    node.fake.exit(&id, 3);
    let status = node.status(&id).await;

    assert_eq!(status.state(), v1::ContainerState::ContainerExited);
    assert_eq!((status.exit_code, status.reason.as_str()), (3, "Error"));
    assert_eq!(status.log_path, "/var/log/pods/x/nginx/0.log");
    assert!(status.image_id.starts_with("sha256:"));
    assert_eq!(status.image.unwrap().image, IMAGE);
    assert_eq!(status.stop_signal, v1::Signal::Sigterm as i32);
    assert!(status.user.is_some() && status.resources.is_some());
    let remove = v1::RemoveContainerRequest {
        container_id: id.clone(),
    };
    for _ in 0..2 {
        node.adapter
            .remove_container(Request::new(remove.clone()))
            .await
            .unwrap();
    }
    let request = v1::ContainerStatusRequest {
        container_id: id.clone(),
        verbose: false,
    };
    refused(
        node.adapter.container_status(Request::new(request)).await,
        Code::NotFound,
        &id,
    );
}

#[tokio::test]
async fn creating_a_created_container_again_returns_its_id() {
    let node = TestNode::new().await;
    let pod = node.run_pod("web").await;

    let id = node.create(&pod, "nginx").await;
    assert_eq!(node.create(&pod, "nginx").await, id);

    let start = v1::StartContainerRequest {
        container_id: id.clone(),
    };
    node.adapter.start_container(Request::new(start)).await.unwrap();
    let again = node
        .adapter
        .create_container(create_request(&pod, container("nginx")))
        .await;
    refused(again, Code::AlreadyExists, &id);
    let mut next = container("nginx");
    next.metadata.as_mut().unwrap().attempt = 1;
    let next = node
        .adapter
        .create_container(create_request(&pod, next))
        .await
        .unwrap();
    assert_ne!(next.into_inner().container_id, id);
}

/// Its caller may have lost the answer, and the container its process, to the same accident.
#[tokio::test]
async fn creating_a_container_that_ended_unstarted_again_returns_its_id() {
    let node = TestNode::new().await;
    let pod = node.run_pod("web").await;
    let id = node.create(&pod, "nginx").await;

    node.fake.exit(&id, 137);

    assert_eq!(node.create(&pod, "nginx").await, id);
}

#[tokio::test]
async fn creations_at_once_make_one_container() {
    let node = Arc::new(TestNode::new().await);
    let pod = node.run_pod("web").await;

    let calls = (0..8).map(|_| node.create(&pod, "nginx"));
    let ids = futures_util::future::join_all(calls).await;

    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(node.containers(Default::default()).await.len(), 1);
}

#[tokio::test]
async fn a_pod_that_is_being_stopped_gets_no_new_container() {
    let node = TestNode::new().await;
    let pod = node.run_pod("web").await;
    node.stop_pod(&pod).await.unwrap();

    let outcome = node
        .adapter
        .create_container(create_request(&pod, container("nginx")))
        .await;

    refused(outcome, Code::FailedPrecondition, "is not ready");
}

/// As the kubelet asks for a `subPath` of a volume in a pod that has an image as a volume, too.
#[tokio::test]
async fn a_sub_path_of_an_image_means_nothing_without_an_image() {
    let node = TestNode::new().await;
    let pod = node.run_pod("web").await;
    let asked = v1::Mount {
        container_path: "/data".into(),
        host_path: node.dir.path().to_str().unwrap().to_owned(),
        image_sub_path: "sub".into(),
        ..Default::default()
    };
    let config = v1::ContainerConfig {
        mounts: vec![asked],
        ..container("nginx")
    };

    let created = node.adapter.create_container(create_request(&pod, config)).await;

    let id = created.unwrap().into_inner().container_id;
    let given = node.fake.config(&id).unwrap().mounts;
    let data = given.iter().find(|m| m.container_path == "/data").unwrap();
    assert_eq!((&data.image, data.image_sub_path.as_str()), (&None, ""));
}

#[tokio::test]
async fn only_the_mounts_that_were_asked_for_are_reported() {
    let node = TestNode::new().await;
    let pod = node.run_pod("web").await;
    let host = node.dir.path().to_str().unwrap().to_owned();
    let asked = v1::Mount {
        container_path: "/data".into(),
        host_path: host,
        readonly: true,
        propagation: v1::MountPropagation::PropagationHostToContainer as i32,
        ..Default::default()
    };
    let config = v1::ContainerConfig {
        mounts: vec![asked.clone()],
        ..container("nginx")
    };

    let id = node
        .adapter
        .create_container(create_request(&pod, config))
        .await
        .unwrap();

    let id = id.into_inner().container_id;
    assert_eq!(node.status(&id).await.mounts, [asked]);
    let given: Vec<_> = node
        .fake
        .config(&id)
        .unwrap()
        .mounts
        .into_iter()
        .map(|m| m.container_path)
        .collect();
    assert_eq!(
        given,
        [
            "/etc/hostname",
            "/etc/hosts",
            "/etc/resolv.conf",
            "/dev/shm",
            "/data"
        ]
    );
}

#[tokio::test]
async fn containers_join_the_namespaces_of_their_pod() {
    let node = TestNode::new().await;
    let check = async |pod: M, container: Option<M>, expected: &str| {
        let name = format!("{pod:?}-{container:?}")
            .to_lowercase()
            .replace(['(', ')'], "");
        let context = v1::LinuxSandboxSecurityContext {
            namespace_options: Some(namespaces(M::Pod, pod, M::Node)),
            ..Default::default()
        };
        let sandbox = node
            .adapter
            .run_pod_sandbox(run_request(secured_pod(&name, context)))
            .await
            .unwrap();
        let sandbox = sandbox.into_inner().pod_sandbox_id;
        let context = v1::LinuxContainerSecurityContext {
            namespace_options: container.map(|pid| namespaces(M::Pod, pid, M::Node)),
            ..Default::default()
        };
        let config = secured("c", context);
        let id = node
            .adapter
            .create_container(create_request(&sandbox, config))
            .await
            .unwrap();
        let config = node.fake.config(&id.into_inner().container_id).unwrap();
        let joined = config.linux.unwrap().namespaces;
        let dir = node.dir.path().join("run/sandboxes").join(&sandbox);
        assert_eq!(joined.network, Namespace::Join(dir.join("net")));
        assert_eq!(joined.uts, Namespace::Join(dir.join("uts")));
        assert_eq!(joined.ipc, Namespace::Host);
        let pid = match joined.pid {
            Namespace::New => "new".to_owned(),
            Namespace::Host => "host".to_owned(),
            Namespace::Join(path) => path.strip_prefix(&dir).unwrap().display().to_string(),
        };
        assert_eq!(pid, expected, "{pod:?} {container:?}");
    };

    check(M::Pod, None, "pid").await;
    check(M::Pod, Some(M::Pod), "pid").await;
    check(M::Pod, Some(M::Container), "new").await;
    check(M::Container, None, "new").await;
    check(M::Container, Some(M::Container), "new").await;
    check(M::Node, Some(M::Node), "host").await;
    check(M::Node, None, "host").await;
}

#[tokio::test]
async fn a_container_joins_the_pid_namespace_of_its_target() {
    let node = TestNode::new().await;
    let pod = node.run_pod("web").await;
    let other = node.run_pod("other").await;
    let target = node.running(&pod, "app").await;
    let config = |target: &str| {
        let options = v1::NamespaceOption {
            target_id: target.to_owned(),
            ..namespaces(M::Pod, M::Target, M::Pod)
        };
        let context = v1::LinuxContainerSecurityContext {
            namespace_options: Some(options),
            ..Default::default()
        };
        secured("debug", context)
    };

    let foreign = node
        .adapter
        .create_container(create_request(&other, config(&target)))
        .await;
    refused(foreign, Code::InvalidArgument, "another pod sandbox");
    let id = node
        .adapter
        .create_container(create_request(&pod, config(&target)))
        .await
        .unwrap();

    let joined = node
        .fake
        .config(&id.into_inner().container_id)
        .unwrap()
        .linux
        .unwrap()
        .namespaces
        .pid;
    assert!(matches!(joined, Namespace::Join(path) if path.starts_with("/proc") && path.ends_with("ns/pid")));
}

#[tokio::test]
async fn a_target_that_does_not_run_is_refused() {
    let node = TestNode::new().await;
    let pod = node.run_pod("web").await;
    let target = node.create(&pod, "app").await;
    let options = v1::NamespaceOption {
        target_id: target.clone(),
        ..namespaces(M::Pod, M::Target, M::Pod)
    };
    let context = v1::LinuxContainerSecurityContext {
        namespace_options: Some(options),
        ..Default::default()
    };

    let outcome = node
        .adapter
        .create_container(create_request(&pod, secured("debug", context)))
        .await;

    refused(outcome, Code::FailedPrecondition, "does not run");
}
