//! What plugins do with a pod's traffic at its request: ports of the node that lead into it, and how fast it may be.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use k8s_cri::v1;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::harness::daemon::{Daemon, Place, shared};
use crate::harness::image::{Recipe, TestImage, perl};
use crate::harness::node::{NODE_IP, node};
use crate::harness::pod::Pod;
use crate::harness::{eventually, trials};
use crate::network::{SERVER, page};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        a_port_of_one_address_of_the_node_is_no_other_addresses,
        datagrams_and_associations_reach_the_pod_too,
        nftables_lead_into_the_pod_where_the_network_says_so,
        a_pods_traffic_is_as_fast_as_its_annotations_say,
    ]
}

/// Answers each datagram with what was in it, and a word of its own. Numbers are those of Linux.
const ECHO: &str = r#"socket(S, 2, 2, 17) && bind(S, pack("SnNx8", 2, 53, 0)) or die $!;
    while (defined(my $from = recv(S, my $said, 99, 0))) { send(S, "the pod heard $said", 0, $from); }"#;

fn mapping(protocol: v1::Protocol, container: i32, host: i32, address: &str) -> v1::PortMapping {
    v1::PortMapping {
        protocol: protocol.into(),
        container_port: container,
        host_port: host,
        host_ip: address.to_owned(),
    }
}

/// What a command prints.
fn told(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What the pod says to a datagram, once it does.
async fn heard(address: &str) -> String {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    eventually(&format!("a datagram to {address} is answered"), async || {
        socket.send_to(b"this", address).ok()?;
        let mut answer = [0; 99];
        let length = tokio::task::block_in_place(|| socket.recv(&mut answer)).ok()?;
        Some(String::from_utf8_lossy(&answer[..length]).into_owned())
    })
    .await
}

async fn a_port_of_one_address_of_the_node_is_no_other_addresses() {
    let pod = Pod::run_with(shared().await, "host-ip", |config| {
        config.port_mappings = vec![mapping(v1::Protocol::Tcp, 80, 18180, NODE_IP)];
    })
    .await;
    pod.start("web", SERVER).await;

    let body = page(&format!("{NODE_IP}:18180")).await;

    assert_eq!(body, "pod answers\n");
    // The node's own address on the pods' bridge.
    assert!(TcpStream::connect("10.88.0.1:18180").await.is_err());
    pod.remove().await;
}

/// A pod with the server of datagrams, and ports of the node for datagrams and SCTP.
async fn echoing<'a>(daemon: &'a Daemon, name: &str, (udp, sctp): (i32, i32)) -> Pod<'a> {
    let image = format!("registry.example/e2e/perl:{}", node().number());
    let recipe = Recipe {
        top: Some(perl()),
        ..Recipe::default()
    };
    daemon.import(&image, &TestImage::build(&recipe)).await;
    let pod = Pod::run_with(daemon, name, |config| {
        config.port_mappings = vec![
            mapping(v1::Protocol::Udp, 53, udp, ""),
            mapping(v1::Protocol::Sctp, 132, sctp, NODE_IP),
        ];
    })
    .await;
    pod.start_with("echo", &["perl", "-e", ECHO], |config| {
        config.image.as_mut().unwrap().image = image;
    })
    .await;
    pod
}

async fn datagrams_and_associations_reach_the_pod_too() {
    let pod = echoing(shared().await, "datagrams", (18253, 18332)).await;
    let ip = pod.ip().await;

    assert_eq!(heard(&format!("{NODE_IP}:18253")).await, "the pod heard this");

    // Few kernels have the protocol itself: what leads to the pod is looked at instead.
    let rules = || told("iptables", &["-t", "nat", "-S"]);
    let of_the_pod = |line: &&str| line.contains("--dport 18332 ") && line.contains("DNAT");
    let found: Vec<String> = rules().lines().filter(of_the_pod).map(str::to_owned).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    for part in ["-p sctp", NODE_IP, &format!("--to-destination {ip}:132")] {
        assert!(found[0].contains(part), "{found:?}");
    }
    pod.remove().await;
    let left = rules();
    assert!(!left.contains("18332") && !left.contains("18253"), "{left}");
}

/// A place with a network of its own whose plugins are changed.
fn place_with(purpose: &str, change: impl FnOnce(&mut Vec<Value>)) -> Place {
    let place = Place::with_own_network(purpose);
    let file = node().network_conf(&place.network()).join("10-e2e.conflist");
    let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    change(config["plugins"].as_array_mut().unwrap());
    fs::write(file, config.to_string()).unwrap();
    place
}

async fn nftables_lead_into_the_pod_where_the_network_says_so() {
    let place = place_with("nftables", |plugins| plugins[1]["backend"] = json!("nftables"));
    let daemon = Daemon::with_images_in(place).await;
    let pod = echoing(&daemon, "nftables", (18353, 18432)).await;
    let ip = pod.ip().await;

    assert_eq!(heard(&format!("{NODE_IP}:18353")).await, "the pod heard this");

    let rules = || told("nft", &["list", "table", "ip", "cni_hostport"]);
    let sctp = format!("ip daddr {NODE_IP} sctp dport 18432 dnat to {ip}:132");
    let found = rules();
    assert!(found.contains(&sctp), "{sctp} in {found}");
    pod.remove().await;
    let left = rules();
    assert!(!left.contains("18432") && !left.contains("18353"), "{left}");
}

/// The limits in the node's network, by device, in bits a second.
fn limits() -> Vec<(String, u64)> {
    let queues: Value = serde_json::from_str(&told("tc", &["-j", "qdisc", "show"])).unwrap();
    let buckets = queues.as_array().unwrap().iter();
    buckets
        .filter(|queue| queue["kind"] == "tbf")
        .map(|queue| {
            let device = queue["dev"].as_str().unwrap().to_owned();
            (device, queue["options"]["rate"].as_u64().unwrap() * 8)
        })
        .collect()
}

async fn a_pods_traffic_is_as_fast_as_its_annotations_say() {
    let place = place_with("bandwidth", |plugins| {
        plugins.push(json!({"type": "bandwidth", "capabilities": {"bandwidth": true}}));
    });
    let daemon = Daemon::with_images_in(place).await;
    let limited = Pod::run_with(&daemon, "limited", |config| {
        for (direction, rate) in [("ingress", "10M"), ("egress", "1.5M")] {
            let name = format!("kubernetes.io/{direction}-bandwidth");
            config.annotations.insert(name, rate.to_owned());
        }
    })
    .await;
    let container = limited.start("web", SERVER).await;
    let free = Pod::run_with(&daemon, "free", |_| {}).await;

    let body = page(&format!("{}:80", limited.ip().await)).await;

    assert_eq!(body, "pod answers\n");
    let outside = container.sh("cat /sys/class/net/eth0/iflink").await;
    let links: Value = serde_json::from_str(&told("ip", &["-j", "link", "show"])).unwrap();
    let links = links.as_array().unwrap();
    let name = |link: &Value| link["ifname"].as_str().unwrap().to_owned();
    let ours = links
        .iter()
        .find(|link| link["ifindex"].as_u64() == outside.trim().parse().ok())
        .unwrap();
    let mut found = limits();
    found.sort_by_key(|(_, rate)| *rate);
    let rates: Vec<u64> = found.iter().map(|(_, rate)| *rate).collect();
    assert_eq!(rates, [1_500_000, 10_000_000], "{found:?}");
    // What leaves the node's end comes to the pod; what the pod sends passes through a device of its own.
    assert_eq!(found[1].0, name(ours));
    assert!(links.iter().any(|link| name(link) == found[0].0));
    limited.remove().await;
    free.remove().await;
    assert_eq!(limits(), []);
    daemon.check().await;
}
