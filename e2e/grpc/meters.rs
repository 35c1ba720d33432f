//! The daemon's own metrics, scraped over HTTP and compared with what was done.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use k8s_cri::v1;
use libtest_mimic::Trial;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::daemon::{Daemon, Place, refused};
use crate::harness::image::Packing;
use crate::harness::node::node;
use crate::harness::pod::Pod;
use crate::harness::registry::Registry;
use crate::harness::{eventually, trials};
use crate::pulls::{image, request};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        calls_are_counted_by_method_and_code,
        clients_cannot_make_up_methods,
        pulls_plugins_and_monitors_are_told,
        a_condition_that_does_not_hold_is_told,
        only_metrics_are_served_and_only_where_asked_for,
    ]
}

/// A daemon whose metrics are served on an address of the node's loopback that no other uses.
async fn measured(purpose: &str) -> (Daemon, SocketAddr) {
    let place = Place::with_own_network(purpose);
    let port = 20_000 + u16::try_from(node().number()).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    place.set(&format!("[metrics]\naddress = '{address}'\n"));
    (Daemon::with_images_in(place).await, address)
}

/// Head and body of what an HTTP server answers.
async fn ask(address: SocketAddr, line: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// The values by their series.
async fn scrape(address: SocketAddr) -> BTreeMap<String, f64> {
    let (head, body) = ask(address, "GET /metrics").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("application/openmetrics-text"), "{head}");
    assert!(body.ends_with("# EOF\n"), "{body}");
    let values = body.lines().filter(|line| !line.starts_with('#'));
    values
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// The value of a series; of one that is not there yet, 0.
fn value(of: &BTreeMap<String, f64>, series: &str) -> f64 {
    of.get(series).copied().unwrap_or(0.0)
}

/// How much a series has grown.
fn grown(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>, series: &str) -> f64 {
    value(after, series) - value(before, series)
}

async fn calls_are_counted_by_method_and_code() {
    let (daemon, address) = measured("counted").await;
    let before = scrape(address).await;

    for _ in 0..3 {
        let request = v1::PodSandboxStatusRequest {
            pod_sandbox_id: "unknown".to_owned(),
            verbose: false,
        };
        refused(daemon.runtime().pod_sandbox_status(request)).await;
    }
    for _ in 0..5 {
        let request = v1::ListPodSandboxRequest::default();
        daemon.runtime().list_pod_sandbox(request).await.unwrap();
    }

    let failed = "coracle_rpc_results_total{method=\"PodSandboxStatus\",code=\"NotFound\"}";
    let listed = "coracle_rpc_results_total{method=\"ListPodSandbox\",code=\"OK\"}";
    let timed = "coracle_rpc_duration_seconds_count{method=\"ListPodSandbox\"}";
    let all = "coracle_rpc_duration_seconds_bucket{le=\"+Inf\",method=\"ListPodSandbox\"}";
    // A client has its answer a moment before the call has ended.
    eventually("every call is counted", async || {
        let after = scrape(address).await;
        let grown = [failed, listed, timed, all].map(|series| grown(&before, &after, series));
        (grown == [3.0, 5.0, 5.0, 5.0]).then_some(())
    })
    .await;
}

async fn clients_cannot_make_up_methods() {
    let (daemon, address) = measured("made-up").await;
    let before = scrape(address).await;
    let mut client = tonic::client::Grpc::new(daemon.channel());

    for number in 0..20 {
        client.ready().await.unwrap();
        let path = format!("/runtime.v1.RuntimeService/MadeUp{number}")
            .parse()
            .unwrap();
        let codec = tonic_prost::ProstCodec::<v1::VersionRequest, v1::VersionResponse>::default();
        let request = tonic::Request::new(v1::VersionRequest::default());
        let refusal = client.unary(request, path, codec).await.unwrap_err();
        assert_eq!(refusal.code(), tonic::Code::Unimplemented);
    }

    let other = "coracle_rpc_results_total{method=\"other\",code=\"Unimplemented\"}";
    let after = eventually("every call is counted", async || {
        let after = scrape(address).await;
        (grown(&before, &after, other) == 20.0).then_some(after)
    })
    .await;
    assert!(!after.keys().any(|series| series.contains("MadeUp")), "{after:?}");
}

async fn pulls_plugins_and_monitors_are_told() {
    let (daemon, address) = measured("told").await;
    let (registry, image) = (Registry::start().await, image(Packing::Gzip));
    registry.push("e2e/measured", "1", &image).await;
    let before = scrape(address).await;

    let name = format!("{}/e2e/measured:1", registry.host);
    daemon.images().pull_image(request(&name, None)).await.unwrap();
    let unknown = format!("{}/e2e/none:1", registry.host);
    refused(daemon.images().pull_image(request(&unknown, None))).await;
    let pod = Pod::run_with(&daemon, "told", |_| {}).await;
    let (_running, _created) = (pod.idle("running").await, pod.create("created", &["true"]).await);
    let after = scrape(address).await;

    for (series, expected) in [
        ("coracle_pull_duration_seconds_count{outcome=\"success\"}", 1.0),
        ("coracle_pull_duration_seconds_count{outcome=\"failure\"}", 1.0),
        // The bridge's and the port mapping's.
        (
            "coracle_cni_plugin_runs_total{verb=\"ADD\",outcome=\"success\"}",
            2.0,
        ),
        ("coracle_cni_plugin_duration_seconds_count{verb=\"ADD\"}", 2.0),
    ] {
        assert_eq!(grown(&before, &after, series), expected, "{series}");
    }
    // The base layer is here already.
    let blobs = image.blobs.iter().enumerate().filter(|(number, _)| *number != 1);
    let blobs: usize = blobs.map(|(_, blob)| blob.content.len()).sum();
    let pulled = grown(&before, &after, "coracle_pull_bytes_total");
    assert_eq!(
        pulled, blobs as f64,
        "configuration and layer, as they are packed"
    );
    for (series, expected) in [
        ("coracle_monitors", 2.0),
        ("coracle_containers{state=\"running\"}", 1.0),
        ("coracle_containers{state=\"created\"}", 1.0),
        ("coracle_pod_sandboxes{state=\"ready\"}", 1.0),
        ("coracle_work_in_flight{stage=\"plugin\"}", 0.0),
        ("coracle_network_debts", 0.0),
        ("coracle_condition{condition=\"NetworkReady\"}", 1.0),
        ("coracle_condition{condition=\"NetworkReleased\"}", 1.0),
        ("coracle_condition{condition=\"StoreHealthy\"}", 1.0),
    ] {
        assert_eq!(after.get(series), Some(&expected), "{series}");
    }
    pod.remove().await;
    let after = scrape(address).await;
    assert_eq!(value(&after, "coracle_monitors"), 0.0);
    assert_eq!(value(&after, "coracle_pod_sandboxes{state=\"ready\"}"), 0.0);
}

async fn a_condition_that_does_not_hold_is_told() {
    let (daemon, address) = measured("conditions").await;
    let directory = node().network_conf(&daemon.place.network());
    let aside = directory.with_extension("aside");
    let network = async || {
        value(
            &scrape(address).await,
            "coracle_condition{condition=\"NetworkReady\"}",
        )
    };
    assert_eq!(network().await, 1.0);

    std::fs::rename(&directory, &aside).unwrap();
    eventually("the network is told as gone", async || {
        (network().await == 0.0).then_some(())
    })
    .await;
    std::fs::rename(&aside, &directory).unwrap();
    eventually("and as back", async || (network().await == 1.0).then_some(())).await;
}

async fn only_metrics_are_served_and_only_where_asked_for() {
    let (daemon, address) = measured("only").await;

    let (elsewhere, _) = ask(address, "GET /").await;
    let (posted, _) = ask(address, "POST /metrics").await;

    assert!(elsewhere.starts_with("HTTP/1.1 404"), "{elsewhere}");
    assert!(posted.starts_with("HTTP/1.1 405"), "{posted}");
    let (place, _) = daemon.stop().await;
    place.unset();
    let _daemon = Daemon::start(place).await;
    assert!(TcpStream::connect(address).await.is_err(), "off by default");
}
