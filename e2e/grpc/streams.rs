//! Lists as streams, and lists that are too long for one message. The streaming calls are newer than the client that
//! other tests use; the client here is generated from our own definition.

use std::time::Instant;

pub(crate) use coracle::cri::wire::v1 as own;
use coracle::cri::wire::v1::image_service_client::ImageServiceClient;
use coracle::cri::wire::v1::runtime_service_client::RuntimeServiceClient;
use coracle::cri::wire::{MAX_MESSAGE_BYTES, v1};
use coracle::state::{Record, Store};
use libtest_mimic::Trial;
use prost::Message;
use serde::{Deserialize, Serialize};
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use crate::harness::daemon::{Daemon, shared};
use crate::harness::pod::Pod;
use crate::harness::trials;

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        streams_tell_what_lists_tell,
        fifty_thousand_containers_are_told_in_messages_of_bounded_size,
    ]
}

pub(crate) fn runtime(daemon: &Daemon) -> RuntimeServiceClient<Channel> {
    RuntimeServiceClient::new(daemon.channel()).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

/// Every message of a stream; each is one that the kubelet's client takes.
async fn all<M: Message + Default>(answer: Result<tonic::Response<Streaming<M>>, tonic::Status>) -> Vec<M> {
    let mut stream = answer.unwrap().into_inner();
    let mut messages = vec![];
    while let Some(message) = stream.message().await.unwrap() {
        assert!(message.encoded_len() < MAX_MESSAGE_BYTES / 4);
        messages.push(message);
    }
    messages
}

async fn streams_tell_what_lists_tell() {
    let pod = Pod::run(shared().await, "streams").await;
    let container = pod.idle("main").await;
    let created = pod.create("created", &["true"]).await;
    let mut client = runtime(shared().await);
    let filter = Some(v1::ContainerFilter {
        pod_sandbox_id: pod.id.clone(),
        ..Default::default()
    });
    let pods = Some(v1::PodSandboxFilter {
        id: pod.id.clone(),
        ..Default::default()
    });

    let request = v1::ListContainersRequest {
        filter: filter.clone(),
    };
    // In which order is nobody's to rely on.
    let sorted = |mut containers: Vec<v1::Container>| {
        containers.sort_by(|a, b| a.id.cmp(&b.id));
        containers
    };
    let listed = sorted(
        client
            .list_containers(request)
            .await
            .unwrap()
            .into_inner()
            .decoded()
            .unwrap(),
    );
    let request = v1::StreamContainersRequest { filter };
    let told = all(client.stream_containers(request).await).await;
    assert_eq!(told.len(), 1);
    assert_eq!(sorted(told[0].decoded().unwrap()), listed);
    let mut ids = [container.id.clone(), created.id.clone()];
    ids.sort();
    assert_eq!(listed.iter().map(|c| c.id.clone()).collect::<Vec<_>>(), ids);

    let request = v1::StreamPodSandboxesRequest { filter: pods };
    let told = all(client.stream_pod_sandboxes(request).await).await;
    let pods: Vec<v1::PodSandbox> = told[0].decoded().unwrap();
    assert_eq!((told.len(), pods[0].id.as_str()), (1, pod.id.as_str()));

    let filter = Some(v1::ContainerStatsFilter {
        pod_sandbox_id: pod.id.clone(),
        ..Default::default()
    });
    let request = v1::StreamContainerStatsRequest { filter };
    let told = all(client.stream_container_stats(request).await).await;
    let attributes = told[0].container_stats[0].attributes.clone().unwrap();
    assert_eq!(
        (told[0].container_stats.len(), attributes.id),
        (1, container.id.clone())
    );

    let mut images = ImageServiceClient::new(shared().await.channel());
    let told = all(images.stream_images(v1::StreamImagesRequest::default()).await).await;
    assert!(told[0].images.len() >= 2);

    let nothing = Some(v1::ContainerFilter {
        id: "0".repeat(64),
        ..Default::default()
    });
    let request = v1::StreamContainersRequest { filter: nothing };
    assert_eq!(all(client.stream_containers(request).await).await, []);
    pod.remove().await;
}

/// A container's record as it is on disk.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
struct Raw(serde_json::Value);

impl Record for Raw {
    const TABLE: &'static str = "containers";
}

const MANY: usize = 50_000;

async fn fifty_thousand_containers_are_told_in_messages_of_bounded_size() {
    let daemon = Daemon::with_images("many").await;
    let pod = Pod::run(&daemon, "many").await;
    let note = |config: &mut k8s_cri::v1::ContainerConfig| {
        config.annotations.insert("note".into(), "word ".repeat(60));
    };
    let model = pod.create_with("model", &["true"], note).await;
    model.start().await;
    model.exited().await;
    let (id, pod) = (model.id.clone(), pod.id.clone());
    let (place, status) = daemon.stop().await;
    assert!(status.success());
    plant(&place.state.join("state.redb"), &id).await;

    let began = Instant::now();
    let daemon = Daemon::start(place).await;
    eprintln!(
        "a daemon with {MANY} records is ready after {:?}",
        began.elapsed()
    );

    let mut client = runtime(&daemon);
    let plain = client.list_containers(v1::ListContainersRequest::default()).await;
    let refusal = plain.unwrap_err();
    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal}");
    assert!(refusal.message().contains("use the streaming call"), "{refusal}");
    let told = all(client
        .stream_containers(v1::StreamContainersRequest::default())
        .await)
    .await;
    let decoded = |message: &v1::StreamContainersResponse| message.decoded::<v1::Container>().unwrap();
    let ids: std::collections::BTreeSet<String> = told
        .iter()
        .flat_map(decoded)
        .map(|container| container.id)
        .collect();
    assert_eq!(ids.len(), MANY, "each once");
    assert_eq!(
        told.iter().map(|message| message.items.len()).sum::<usize>(),
        MANY
    );
    assert!(told.iter().all(|message| !message.items.is_empty()));
    // What a filter leaves fits.
    let filter = Some(v1::ContainerFilter {
        id,
        pod_sandbox_id: pod,
        ..Default::default()
    });
    let one = client.list_containers(v1::ListContainersRequest { filter }).await;
    assert_eq!(one.unwrap().into_inner().items.len(), 1);
}

/// Copies the record of an ended container until there are [`MANY`].
async fn plant(path: &std::path::Path, id: &str) {
    let store = Store::open(path).unwrap();
    let records = store.load::<Raw>().unwrap();
    let model = &records.iter().find(|(key, _)| key == id).unwrap().1;
    let numbers: Vec<usize> = (1..MANY).collect();
    for some in numbers.chunks(5000) {
        let keys: Vec<String> = some.iter().map(|number| format!("{number:064x}")).collect();
        let writes = keys.iter().map(|key| store.put(key, model));
        for written in futures_util::future::join_all(writes).await {
            written.unwrap();
        }
    }
    store.close().await;
}
