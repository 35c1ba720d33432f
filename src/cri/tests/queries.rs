//! What is told of containers, and what runs in them.

use tonic::{Code, Request};

use super::requests::{container, create_request, pod, refused, run_request};
use super::support::TestNode;
use crate::cri::wire::v1::{self, runtime_service_server::RuntimeService as _};

#[tokio::test]
async fn containers_are_listed_by_every_field_of_the_filter() {
    let node = TestNode::new().await;
    let (a, b) = (node.run_pod("a").await, node.run_pod("b").await);
    let (one, two) = (node.create(&a, "one").await, node.running(&b, "two").await);
    let check = async |filter: v1::ContainerFilter, expected: &[&String]| {
        let listed: Vec<_> = node.containers(filter).await.into_iter().map(|c| c.id).collect();
        assert_eq!(listed.iter().collect::<Vec<_>>(), expected);
    };
    let filter = v1::ContainerFilter::default;

    check(filter(), &[&one, &two]).await;
    check(
        v1::ContainerFilter {
            id: one.clone(),
            ..filter()
        },
        &[&one],
    )
    .await;
    check(
        v1::ContainerFilter {
            id: "zz".into(),
            ..filter()
        },
        &[],
    )
    .await;
    check(
        v1::ContainerFilter {
            pod_sandbox_id: b.clone(),
            ..filter()
        },
        &[&two],
    )
    .await;
    check(
        v1::ContainerFilter {
            pod_sandbox_id: b[..20].to_owned(),
            ..filter()
        },
        &[&two],
    )
    .await;
    check(
        v1::ContainerFilter {
            pod_sandbox_id: "zz".into(),
            ..filter()
        },
        &[],
    )
    .await;
    let running = Some(v1::ContainerStateValue { state: 1 });
    check(
        v1::ContainerFilter {
            state: running,
            ..filter()
        },
        &[&two],
    )
    .await;
    let nothing = v1::ContainerFilter {
        state: running,
        pod_sandbox_id: a.clone(),
        ..filter()
    };
    check(nothing, &[]).await;
    let listed = node
        .containers(v1::ContainerFilter {
            id: two.clone(),
            ..filter()
        })
        .await;
    assert_eq!(listed[0].pod_sandbox_id, b);
    assert_eq!(listed[0].metadata, container("two").metadata);
}

#[tokio::test]
async fn a_commands_output_and_exit_code_are_returned() {
    let node = TestNode::new().await;
    let pod = node.run_pod("web").await;
    let id = node.running(&pod, "app").await;
    let exec = |cmd: &[&str], timeout| {
        let request = v1::ExecSyncRequest {
            container_id: id.clone(),
            cmd: cmd.iter().map(|word| word.to_string()).collect(),
            timeout,
        };
        node.adapter.exec_sync(Request::new(request))
    };

    let answer = exec(&["false", "hello"], 0).await.unwrap().into_inner();

    assert_eq!(
        (answer.stdout.as_slice(), answer.exit_code),
        (b"false hello".as_slice(), 1)
    );
    refused(
        exec(&["sleep", "100"], 1).await,
        Code::DeadlineExceeded,
        "time is up",
    );
}

#[tokio::test]
async fn running_containers_are_measured() {
    let node = TestNode::new().await;
    let pod = node.run_pod("web").await;
    let (id, _) = (node.running(&pod, "app").await, node.create(&pod, "idle").await);
    let request = v1::ContainerStatsRequest {
        container_id: id.clone(),
    };

    let one = node
        .adapter
        .container_stats(Request::new(request))
        .await
        .unwrap()
        .into_inner();
    let all = node
        .adapter
        .list_container_stats(Request::new(Default::default()))
        .await
        .unwrap()
        .into_inner();

    let stats = one.stats.unwrap();
    let attributes = stats.attributes.clone().unwrap();
    assert_eq!(
        (attributes.id, attributes.metadata.unwrap().name.as_str()),
        (id, "app")
    );
    assert!(stats.cpu.unwrap().timestamp > 0 && stats.memory.unwrap().working_set_bytes.is_some());
    assert_eq!(all.stats, [stats]);
}

#[tokio::test]
async fn a_pods_status_has_its_containers() {
    let node = TestNode::new().await;
    let (a, b) = (node.run_pod("a").await, node.run_pod("b").await);
    let id = node.running(&a, "app").await;
    node.create(&b, "other").await;

    let answer = node.pod_status(&a).await;

    assert_eq!(answer.containers_statuses, [node.status(&id).await]);
    assert!(answer.timestamp > 0);
    assert!(answer.info["info"].contains(&a));
}

#[tokio::test]
async fn new_limits_are_reported() {
    let node = TestNode::new().await;
    let pod = node.run_pod("web").await;
    let id = node.running(&pod, "app").await;
    let request = v1::UpdateContainerResourcesRequest {
        container_id: id.clone(),
        linux: Some(v1::LinuxContainerResources {
            memory_limit_in_bytes: 1 << 20,
            cpu_quota: -5,
            ..Default::default()
        }),
        ..Default::default()
    };

    node.adapter
        .update_container_resources(Request::new(request))
        .await
        .unwrap();

    let limits = node.status(&id).await.resources.unwrap().linux.unwrap();
    assert_eq!((limits.memory_limit_in_bytes, limits.cpu_quota), (1 << 20, -1));
}

#[tokio::test]
async fn an_environment_keeps_every_byte() {
    let node = TestNode::new().await;
    let pod = node
        .adapter
        .run_pod_sandbox(run_request(pod("web")))
        .await
        .unwrap();
    let pod = pod.into_inner().pod_sandbox_id;
    let config = v1::ContainerConfig {
        envs: vec![v1::KeyValue {
            key: "RAW".into(),
            value: vec![0xff, b'a'],
        }],
        ..container("app")
    };

    let id = node
        .adapter
        .create_container(create_request(&pod, config))
        .await
        .unwrap();

    let given = node.fake.config(&id.into_inner().container_id).unwrap();
    assert_eq!(given.envs[0].value_bytes(), [0xff, b'a']);
}
