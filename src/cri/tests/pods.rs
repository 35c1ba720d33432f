//! The life of sandboxes.

use std::sync::Arc;

use tonic::Code;

use super::requests::{namespaces, pod, refused, run_request, secured_pod};
use super::support::TestNode;
use crate::cri::wire::v1::{self, NamespaceMode as M, runtime_service_server::RuntimeService as _};

const READY: i32 = v1::PodSandboxState::SandboxReady as i32;
const NOT_READY: i32 = v1::PodSandboxState::SandboxNotready as i32;

#[tokio::test]
async fn a_pod_is_ready_once_run_and_shows_what_it_was_given() {
    let node = TestNode::new().await;

    let id = node.run_pod("web").await;

    let status = node.pod_status(&id).await.status.unwrap();
    let asked = pod("web");
    assert_eq!(status.state, READY);
    assert_eq!(status.metadata, asked.metadata);
    assert_eq!(status.labels, asked.labels);
    assert_eq!(status.annotations, asked.annotations);
    assert!(status.created_at > 0);
    let network = status.network.unwrap();
    assert_eq!(network.ip, "10.1.0.2");
    assert_eq!(network.additional_ips, [v1::PodIp { ip: "fd00::2".into() }]);
    let hosts = node.dir.path().join("run/sandboxes").join(&id).join("hosts");
    assert!(
        std::fs::read_to_string(hosts)
            .unwrap()
            .contains("10.1.0.2\tweb\n")
    );
}

#[tokio::test]
async fn running_a_ready_pod_again_returns_its_id() {
    let node = TestNode::new().await;
    let id = node.run_pod("web").await;

    assert_eq!(node.run_pod("web").await, id);

    assert_eq!(node.traces().await.records, 1);
}

#[tokio::test]
async fn a_repeat_joins_the_run_under_way_even_when_its_caller_has_left() {
    let node = Arc::new(TestNode::new().await);
    node.world.lock().waiting = true;
    let mut first = Box::pin(node.adapter.run_pod_sandbox(run_request(pod("web"))));
    assert!(futures_util::poll!(&mut first).is_pending());
    drop(first);
    let mut second = Box::pin(node.adapter.run_pod_sandbox(run_request(pod("web"))));
    assert!(futures_util::poll!(&mut second).is_pending());
    assert!(node.pods(Default::default()).await.is_empty());

    node.world.permits.0.add_permits(1);

    let id = second.await.unwrap().into_inner().pod_sandbox_id;
    let listed = node.pods(Default::default()).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].id, id);
}

#[tokio::test]
async fn a_run_that_fails_leaves_nothing_and_can_be_repeated() {
    for step in ["pin", "attach"] {
        let node = TestNode::new().await;
        let before = node.traces().await;
        node.world.fail(step, true);

        let outcome = node.adapter.run_pod_sandbox(run_request(pod("web"))).await;

        refused(
            outcome,
            Code::Internal,
            &format!("cannot run pod sandbox default/web (uid-web, attempt 0): {step}"),
        );
        assert_eq!(node.traces().await, before, "{step}");
        node.world.fail(step, false);
        node.run_pod("web").await;
    }
}

#[tokio::test]
async fn a_failed_run_that_cannot_be_undone_is_seen_and_can_be_removed() {
    let node = TestNode::new().await;
    node.world.fail("attach", true);
    node.world.fail("release", true);

    let outcome = node.adapter.run_pod_sandbox(run_request(pod("web"))).await;

    refused(outcome, Code::Internal, "attach fails");
    let listed = node.pods(Default::default()).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].state, NOT_READY);
    let again = node.adapter.run_pod_sandbox(run_request(pod("web"))).await;
    refused(again, Code::AlreadyExists, &listed[0].id);
    node.world.fail("release", false);
    node.remove_pod(&listed[0].id).await.unwrap();
    let after = node.traces().await;
    assert_eq!(
        (after.records, after.pinned.len(), after.attached.len()),
        (0, 0, 0)
    );
    assert!(after.directories.is_empty());
}

#[tokio::test]
async fn stopping_kills_the_containers_and_gives_everything_back() {
    let node = TestNode::new().await;
    let id = node.run_pod("web").await;
    let container = node.running(&id, "nginx").await;
    let other = node.run_pod("other").await;

    node.stop_pod(&id).await.unwrap();

    let status = node.status(&container).await;
    assert_eq!(status.state, v1::ContainerState::ContainerExited as i32);
    assert_eq!(status.exit_code, 137);
    let pod = node.pod_status(&id).await.status.unwrap();
    assert_eq!(pod.state, NOT_READY);
    assert_eq!(pod.network.unwrap().ip, "");
    let traces = node.traces().await;
    assert_eq!(traces.pinned.len(), 1);
    assert_eq!(traces.attached.into_iter().collect::<Vec<_>>(), [other]);
}

#[tokio::test]
async fn stopping_and_removing_can_be_repeated() {
    let node = TestNode::new().await;
    let id = node.run_pod("web").await;
    node.running(&id, "nginx").await;

    for _ in 0..2 {
        node.stop_pod(&id).await.unwrap();
    }
    assert_eq!(node.pod_status(&id).await.status.unwrap().state, NOT_READY);
    for _ in 0..2 {
        node.remove_pod(&id).await.unwrap();
    }
    node.stop_pod(&id).await.unwrap();

    assert!(node.pods(Default::default()).await.is_empty());
    let traces = node.traces().await;
    assert_eq!(traces.records, 0);
    assert!(traces.containers.is_empty() && traces.directories.is_empty());
    node.run_pod("web").await;
}

#[tokio::test]
async fn a_running_pod_can_be_removed_at_once() {
    let node = TestNode::new().await;
    let before = node.traces().await;
    let id = node.run_pod("web").await;
    node.running(&id, "nginx").await;

    node.remove_pod(&id).await.unwrap();

    assert_eq!(node.traces().await, before);
}

#[tokio::test]
async fn every_step_of_a_stop_is_taken_and_every_error_told() {
    let node = TestNode::new().await;
    let id = node.run_pod("web").await;
    node.running(&id, "nginx").await;
    node.fake
        .fail("stop_container", Some(crate::model::Kind::Unavailable));
    node.world.fail("release", true);

    let outcome = node.stop_pod(&id).await;

    let status = outcome.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(
        status
            .message()
            .contains("stop_container fails as told; release fails as told"),
        "{status:?}"
    );
    assert!(node.world.lock().attached.is_empty());
    assert_eq!(node.pod_status(&id).await.status.unwrap().state, NOT_READY);
    node.fake.fail("stop_container", None);
    node.world.fail("release", false);
    node.stop_pod(&id).await.unwrap();
}

#[tokio::test]
async fn a_failing_network_does_not_keep_a_pod_from_being_removed() {
    let node = TestNode::new().await;
    let id = node.run_pod("web").await;
    node.world.fail("detach", true);

    node.remove_pod(&id).await.unwrap();

    assert!(node.pods(Default::default()).await.is_empty());
    assert_eq!(node.adapter.sandboxes.debts()[&id].reason, "detach fails as told");
    // What is to be taken back is found in the network namespace.
    let dir = node.adapter.sandboxes.dir(&id);
    let traces = node.traces().await;
    assert_eq!((traces.pinned.len(), traces.directories.len()), (0, 1));
    assert_eq!(node.world.lock().networks, [dir].into());
    node.world.fail("detach", false);
    node.debts_paid().await;
    assert_eq!(node.traces().await.directories.len(), 0);
    assert!(node.world.lock().networks.is_empty());
}

#[tokio::test]
async fn a_stopped_pod_whose_network_is_detached_at_last_keeps_nothing_of_it() {
    let node = TestNode::new().await;
    let id = node.run_pod("web").await;
    node.world.fail("detach", true);
    node.stop_pod(&id).await.unwrap();
    assert_eq!(node.world.lock().networks.len(), 1);
    node.world.fail("detach", false);

    node.debts_paid().await;

    assert_eq!(node.traces().await.directories.len(), 1);
    assert!(node.world.lock().networks.is_empty());
    node.remove_pod(&id).await.unwrap();
    assert_eq!(node.traces().await.directories.len(), 0);
}

#[tokio::test]
async fn a_pod_that_could_not_be_attached_leaves_a_debt_at_most() {
    let node = TestNode::new().await;
    node.world.fail("attach", true);
    node.world.fail("detach", true);

    let refused = node.adapter.run_pod_sandbox(run_request(pod("web"))).await;

    assert!(refused.unwrap_err().message().contains("attach fails as told"));
    assert!(node.pods(Default::default()).await.is_empty());
    assert_eq!(node.adapter.sandboxes.debts().len(), 1);
    node.world.fail("attach", false);
    node.world.fail("detach", false);
    node.run_pod("web").await;
    node.world.detached.0.acquire().await.unwrap().forget();
}

#[tokio::test]
async fn a_pod_in_the_hosts_network_has_no_network_of_its_own() {
    let node = TestNode::new().await;
    node.world.fail("attach", true);
    let context = v1::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(M::Node, M::Node, M::Node)),
        ..Default::default()
    };

    let outcome = node
        .adapter
        .run_pod_sandbox(run_request(secured_pod("web", context)))
        .await;

    let id = outcome.unwrap().into_inner().pod_sandbox_id;
    let status = node.pod_status(&id).await.status.unwrap();
    assert_eq!(status.network.unwrap(), v1::PodSandboxNetworkStatus::default());
    let asked = node.world.lock().requests.pop().unwrap();
    assert!(!asked.network && asked.ipc.is_none() && asked.uts.is_none() && !asked.pid);
    node.remove_pod(&id).await.unwrap();
    assert!(!node.world.lock().calls.contains(&"detach"));
}

#[tokio::test]
async fn only_a_shared_pid_namespace_takes_a_process() {
    for (mode, expected) in [(M::Pod, true), (M::Container, false), (M::Node, false)] {
        let node = TestNode::new().await;
        let context = v1::LinuxSandboxSecurityContext {
            namespace_options: Some(namespaces(M::Pod, mode, M::Pod)),
            ..Default::default()
        };

        node.adapter
            .run_pod_sandbox(run_request(secured_pod("web", context)))
            .await
            .unwrap();

        assert_eq!(node.world.lock().requests[0].pid, expected, "{mode:?}");
    }
}

#[tokio::test]
async fn pods_are_listed_by_every_field_of_the_filter() {
    let node = TestNode::new().await;
    let (a, b) = (node.run_pod("a").await, node.run_pod("b").await);
    node.stop_pod(&b).await.unwrap();
    let state = |state| Some(v1::PodSandboxStateValue { state });
    let label = |value: &str| [("app".to_owned(), value.to_owned())].into();
    let filter = |id: &str, state, label_selector| v1::PodSandboxFilter {
        id: id.to_owned(),
        state,
        label_selector,
    };
    let check = async |filter, expected: &[&String]| {
        let mut listed: Vec<_> = node.pods(filter).await.into_iter().map(|pod| pod.id).collect();
        let mut expected: Vec<_> = expected.iter().map(|id| id.to_string()).collect();
        listed.sort();
        expected.sort();
        assert_eq!(listed, expected);
    };

    check(filter("", None, Default::default()), &[&a, &b]).await;
    check(filter(&a, None, Default::default()), &[&a]).await;
    check(filter(&a[..20], None, Default::default()), &[&a]).await;
    check(filter("zz", None, Default::default()), &[]).await;
    check(filter("", state(READY), Default::default()), &[&a]).await;
    check(filter("", state(NOT_READY), Default::default()), &[&b]).await;
    check(filter("", None, label("b")), &[&b]).await;
    check(filter("", state(READY), label("b")), &[]).await;
    check(filter(&a, None, label("b")), &[]).await;
}

fn in_user_namespace(name: &str) -> v1::PodSandboxConfig {
    let mapping = v1::IdMapping {
        host_id: 100_000,
        container_id: 0,
        length: 65_536,
    };
    let user = v1::UserNamespace {
        mode: M::Pod as i32,
        uids: vec![mapping],
        gids: vec![mapping],
    };
    let options = v1::NamespaceOption {
        userns_options: Some(user),
        ..Default::default()
    };
    let context = v1::LinuxSandboxSecurityContext {
        namespace_options: Some(options),
        ..Default::default()
    };
    secured_pod(name, context)
}

#[tokio::test]
async fn the_namespaces_of_a_pod_belong_to_its_user_namespace() {
    let node = TestNode::new().await;

    let answer = node
        .adapter
        .run_pod_sandbox(run_request(in_user_namespace("web")))
        .await;

    let id = answer.unwrap().into_inner().pod_sandbox_id;
    let mapping = crate::model::IdMapping {
        container_id: 0,
        host_id: 100_000,
        length: 65_536,
    };
    assert_eq!(node.world.lock().requests[0].user, Some((mapping, mapping)));
    let status = node.pod_status(&id).await.status.unwrap();
    let told = status.linux.unwrap().namespaces.unwrap().options.unwrap();
    let asked = in_user_namespace("web").linux.unwrap().security_context.unwrap();
    assert_eq!(
        told.userns_options,
        asked.namespace_options.unwrap().userns_options
    );
}

#[tokio::test]
async fn a_node_without_user_namespaces_says_so_and_refuses_pods_in_them() {
    let node = TestNode::new().await;
    node.world.fail("user_namespaces", true);

    let run = node
        .adapter
        .run_pod_sandbox(run_request(in_user_namespace("web")))
        .await;

    let text = "user namespaces are not supported on this node: the kernel is too old";
    refused(run, Code::Unimplemented, text);
    assert_eq!(node.traces().await.records, 0);
    let told = node
        .adapter
        .status(tonic::Request::new(v1::StatusRequest::default()))
        .await;
    let features = told.unwrap().into_inner();
    assert!(!features.runtime_handlers[0].features.unwrap().user_namespaces);
    assert!(!features.features.unwrap().user_namespaces_host_network);
}
