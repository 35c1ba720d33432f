//! Events: what they tell, in which order, and what becomes of a subscriber that does not keep up.

use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use tonic::{Code, Request, Status};

use super::support::TestNode;
use crate::cri::wire::v1::{self, ContainerEventType as Kind, runtime_service_server::RuntimeService as _};

type Events = Pin<Box<dyn Stream<Item = Result<v1::ContainerEventResponse, Status>> + Send>>;

async fn subscribe(node: &TestNode) -> Events {
    let request = Request::new(v1::GetEventsRequest {});
    let answer = node.adapter.get_container_events(request).await.unwrap();
    answer.into_inner()
}

/// The next event's container, kind, and the states of pod and containers that came with it.
async fn next(
    events: &mut Events,
) -> (
    String,
    Kind,
    v1::PodSandboxState,
    Vec<(String, v1::ContainerState)>,
) {
    let event = events.next().await.unwrap().unwrap();
    let pod = event.pod_sandbox_status.clone().unwrap();
    let states = event.containers_statuses.iter();
    let states = states.map(|status| (status.id.clone(), status.state())).collect();
    (
        event.container_id.clone(),
        event.container_event_type(),
        pod.state(),
        states,
    )
}

#[tokio::test]
async fn a_life_is_told_in_order_with_the_state_at_each_step() {
    use v1::ContainerState::{ContainerCreated, ContainerExited, ContainerRunning};
    use v1::PodSandboxState::{SandboxNotready, SandboxReady};
    let node = TestNode::new().await;
    let mut events = subscribe(&node).await;

    let pod = node.run_pod("web").await;
    let container = node.running(&pod, "app").await;
    node.fake.exit(&container, 3);
    node.stop_pod(&pod).await.unwrap();
    node.remove_pod(&pod).await.unwrap();

    let (of, in_state) = (container.clone(), |state| vec![(container.clone(), state)]);
    let expected = [
        (pod.clone(), Kind::ContainerCreatedEvent, SandboxReady, vec![]),
        (pod.clone(), Kind::ContainerStartedEvent, SandboxReady, vec![]),
        (
            of.clone(),
            Kind::ContainerCreatedEvent,
            SandboxReady,
            in_state(ContainerCreated),
        ),
        (
            of.clone(),
            Kind::ContainerStartedEvent,
            SandboxReady,
            in_state(ContainerRunning),
        ),
        (
            of.clone(),
            Kind::ContainerStoppedEvent,
            SandboxReady,
            in_state(ContainerExited),
        ),
        (
            pod.clone(),
            Kind::ContainerStoppedEvent,
            SandboxNotready,
            in_state(ContainerExited),
        ),
        (of.clone(), Kind::ContainerDeletedEvent, SandboxNotready, vec![]),
        (pod.clone(), Kind::ContainerDeletedEvent, SandboxNotready, vec![]),
    ];
    for step in expected {
        assert_eq!(next(&mut events).await, step);
    }
}

#[tokio::test]
async fn repeated_calls_tell_nothing_again() {
    let node = TestNode::new().await;
    let pod = node.run_pod("web").await;
    let container = node.running(&pod, "app").await;
    node.fake.exit(&container, 0);
    node.stop_pod(&pod).await.unwrap();
    let mut events = subscribe(&node).await;
    // What happened before anybody listened.
    for _ in 0..6 {
        next(&mut events).await;
    }

    node.stop_pod(&pod).await.unwrap();
    node.remove_pod(&pod).await.unwrap();
    node.remove_pod(&pod).await.unwrap();

    assert_eq!(next(&mut events).await.1, Kind::ContainerDeletedEvent);
    assert_eq!(next(&mut events).await.1, Kind::ContainerDeletedEvent);
    node.adapter.hang_up();
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn every_subscriber_gets_every_event_from_then_on() {
    let node = TestNode::new().await;
    let mut early = subscribe(&node).await;
    let first = node.run_pod("a").await;
    let mut late = subscribe(&node).await;
    let second = node.run_pod("b").await;

    let (mut of_early, mut of_late) = (vec![], vec![]);
    for _ in 0..4 {
        of_early.push(next(&mut early).await.0);
    }
    for _ in 0..2 {
        of_late.push(next(&mut late).await.0);
    }

    assert_eq!(of_early, [first.clone(), first, second.clone(), second.clone()]);
    assert_eq!(of_late, [second.clone(), second]);
}

#[tokio::test]
async fn a_slow_subscriber_loses_its_stream_and_holds_up_nobody() {
    let node = TestNode::new().await;
    let mut slow = subscribe(&node).await;
    let mut quick = subscribe(&node).await;

    // Two events a pod: more than a subscriber may be behind by.
    for number in 0..600 {
        node.run_pod(&format!("p{number}")).await;
        next(&mut quick).await;
        next(&mut quick).await;
    }
    let mut ends = vec![];
    while let Some(event) = slow.next().await {
        ends.extend(event.err());
    }

    assert_eq!(ends.len(), 1);
    assert_eq!(ends[0].code(), Code::DataLoss);
    assert!(ends[0].message().contains("list everything anew"), "{}", ends[0]);
    let pod = node.run_pod("after").await;
    assert_eq!(next(&mut quick).await.0, pod);
    // The one that lost its stream begins again.
    let mut again = subscribe(&node).await;
    node.stop_pod(&pod).await.unwrap();
    assert_eq!(next(&mut again).await.1, Kind::ContainerStoppedEvent);
}

#[tokio::test]
async fn what_happened_before_anybody_listened_is_told_to_the_first() {
    let node = TestNode::new().await;
    let gone = node.run_pod("web").await;
    node.world.lock().pinned.clear();

    let node = node.restart().await;
    let (mut first, mut second) = (subscribe(&node).await, subscribe(&node).await);
    node.adapter.hang_up();

    let told = next(&mut first).await;
    assert_eq!((told.0, told.1), (gone, Kind::ContainerStoppedEvent));
    assert!(first.next().await.is_none());
    assert!(second.next().await.is_none());
}

#[tokio::test]
async fn a_container_without_a_pod_is_not_told_of() {
    use crate::model::{ContainerConfig, CreateContainerRequest, ImageSpec, RuntimeService as _};
    let node = TestNode::new().await;
    let mut events = subscribe(&node).await;
    let image = Some(ImageSpec::named(super::support::IMAGE));
    let config = Some(ContainerConfig {
        image,
        ..Default::default()
    });

    let request = CreateContainerRequest {
        config,
        ..Default::default()
    };
    node.fake.create_container(request).await.unwrap();
    let pod = node.run_pod("web").await;

    assert_eq!(next(&mut events).await.0, pod);
}
