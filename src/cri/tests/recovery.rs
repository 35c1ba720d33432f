//! What a restarted daemon makes of the sandboxes it finds.

use tonic::Request;

use super::requests::{pod, run_request};
use super::support::TestNode;
use crate::cri::sandbox::{Phase, Record};
use crate::cri::wire::v1::{self, runtime_service_server::RuntimeService as _};

const READY: i32 = v1::PodSandboxState::SandboxReady as i32;
const NOT_READY: i32 = v1::PodSandboxState::SandboxNotready as i32;

#[tokio::test]
async fn a_restarted_daemon_finds_its_pods() {
    let node = TestNode::new().await;
    let (ready, stopped) = (node.run_pod("a").await, node.run_pod("b").await);
    node.stop_pod(&stopped).await.unwrap();
    let before = node.pod_status(&ready).await.status;

    let node = node.restart().await;

    assert_eq!(node.pod_status(&ready).await.status, before);
    assert_eq!(node.pod_status(&stopped).await.status.unwrap().state, NOT_READY);
    assert_eq!(node.run_pod("a").await, ready);
}

#[tokio::test]
async fn what_a_pod_may_use_is_kept_and_shown() {
    let node = TestNode::new().await;
    let id = node.run_pod("web").await;
    let memory = |bytes| {
        Some(v1::LinuxContainerResources {
            memory_limit_in_bytes: bytes,
            ..Default::default()
        })
    };

    node.update_pod(&id, memory(1), memory(100)).await.unwrap();
    node.update_pod(&id, None, memory(200)).await.unwrap();
    let node = node.restart().await;

    let request = v1::PodSandboxStatusRequest {
        pod_sandbox_id: id,
        verbose: true,
    };
    let answer = node.adapter.pod_sandbox_status(Request::new(request)).await;
    let info: serde_json::Value = serde_json::from_str(&answer.unwrap().into_inner().info["info"]).unwrap();
    let kept = |of: &str| info["sandbox"]["config"]["resources"][of]["memoryLimitInBytes"].as_i64();
    assert_eq!((kept("overhead"), kept("containers")), (Some(1), Some(200)));
}

#[tokio::test]
async fn a_pod_that_a_reboot_took_is_not_ready_and_can_be_removed() {
    let node = TestNode::new().await;
    let id = node.run_pod("web").await;
    node.world.lock().pinned.clear();

    let node = node.restart().await;

    assert_eq!(node.pod_status(&id).await.status.unwrap().state, NOT_READY);
    node.remove_pod(&id).await.unwrap();
    assert!(node.world.lock().attached.is_empty());
}

#[tokio::test]
async fn a_pod_that_was_being_made_is_cleaned_up() {
    let node = TestNode::new().await;
    let id = half_made(&node).await;

    let node = node.restart().await;

    assert!(node.pods(Default::default()).await.is_empty());
    node.debts_paid().await;
    let traces = node.traces().await;
    assert_eq!(
        (traces.records, traces.pinned.len(), traces.directories.len()),
        (0, 0, 0)
    );
    assert_eq!((traces.attached.len(), node.world.lock().networks.len()), (0, 0));
    assert_ne!(node.run_pod("web").await, id);
}

#[tokio::test]
async fn a_half_made_pod_that_cannot_be_cleaned_up_is_seen() {
    let node = TestNode::new().await;
    let id = half_made(&node).await;
    node.world.fail("release", true);

    let node = node.restart().await;

    let listed = node.pods(Default::default()).await;
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].id.as_str(), listed[0].state), (id.as_str(), NOT_READY));
    node.world.fail("release", false);
    node.remove_pod(&id).await.unwrap();
    assert_eq!(node.traces().await.records, 0);
}

#[tokio::test]
async fn a_debt_outlives_the_daemon() {
    let node = TestNode::new().await;
    let id = node.run_pod("web").await;
    node.world.fail("detach", true);
    node.remove_pod(&id).await.unwrap();

    let node = node.restart().await;

    assert!(node.adapter.sandboxes.debts().contains_key(&id));
    node.world.fail("detach", false);
    let node = node.restart().await;
    node.world.detached.0.acquire().await.unwrap().forget();
    assert!(node.world.lock().attached.is_empty());
}

#[tokio::test]
async fn a_restarted_daemon_has_the_network_let_go_of_all_but_its_pods() {
    let node = TestNode::new().await;
    let (id, stopped) = (node.run_pod("web").await, node.run_pod("stopped").await);
    node.stop_pod(&stopped).await.unwrap();
    node.world.collected.0.acquire().await.unwrap().forget();

    let node = node.restart().await;

    node.world.collected.0.acquire().await.unwrap().forget();
    assert_eq!(node.world.lock().valid, [id].into());
}

#[tokio::test]
async fn an_attachment_without_a_pod_is_a_debt() {
    let node = TestNode::new().await;
    let id = node.run_pod("web").await;
    node.world.lock().attached.insert("lost".to_owned());

    let node = node.restart().await;

    node.world.detached.0.acquire().await.unwrap().forget();
    assert_eq!(node.world.lock().attached, [id].into());
}

#[tokio::test]
async fn nothing_new_is_attached_while_many_debts_were_not_tried() {
    let node = TestNode::new().await;
    {
        let mut world = node.world.lock();
        world
            .attached
            .extend((0..17).map(|number| format!("lost-{number}")));
        world.detaching_waits = true;
    }
    let node = node.restart().await;
    let run = node.run_pod("web");
    let pay = async {
        while !node.world.lock().calls.contains(&"pin") {
            tokio::task::yield_now().await;
        }
        node.world.permits.0.add_permits(17);
    };

    tokio::join!(run, pay);

    let calls = node.world.lock().calls.clone();
    let of = |wanted| calls.iter().position(|call| *call == wanted).unwrap();
    assert!(
        of("pin") < of("detach") && of("detach") < of("attach"),
        "{calls:?}"
    );
}

/// Leaves a sandbox as a daemon that was killed in the middle of making it does.
async fn half_made(node: &TestNode) -> String {
    let answer = node
        .adapter
        .run_pod_sandbox(run_request(pod("web")))
        .await
        .unwrap();
    let id = answer.into_inner().pod_sandbox_id;
    assert_eq!(node.pod_status(&id).await.status.unwrap().state, READY);
    let records = node.store.load::<Record>().unwrap();
    let (key, record) = records.into_iter().find(|(key, _)| *key == id).unwrap();
    let phase = Phase::Making;
    node.store.put(&key, &Record { phase, ..record }).await.unwrap();
    id
}
