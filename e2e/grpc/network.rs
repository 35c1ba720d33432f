//! What a pod's containers share: network, names, IPC, processes.

use std::fs;

use k8s_cri::v1;
use libtest_mimic::Trial;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::daemon::shared;
use crate::harness::node::{NODE_IP, node};
use crate::harness::pod::{Pod, namespaces, security};
use crate::harness::{eventually, trials};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        a_pod_has_an_address_that_answers,
        a_port_of_the_node_leads_to_the_pod,
        a_pod_in_the_nodes_network_has_no_address_of_its_own,
        names_are_those_of_the_pod,
        containers_of_a_pod_share_network_names_and_ipc,
        containers_of_a_pod_share_processes_when_asked_to,
        a_container_joins_the_processes_of_its_target,
        sysctls_hold_in_the_pod_only,
        a_pod_releases_its_address,
    ]
}

pub(crate) const SERVER: &[&str] = &[
    "sh",
    "-c",
    "mkdir /www; echo pod answers >/www/index.html; exec httpd -f -p 80 -h /www",
];

/// What a web server says, once it does.
pub(crate) async fn page(address: &str) -> String {
    eventually(&format!("{address} answers"), async || {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request = format!("GET / HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
    })
    .await
}

async fn a_pod_has_an_address_that_answers() {
    let pod = Pod::run_with(shared().await, "address", |_| {}).await;
    let ip = pod.ip().await;
    let container = pod.start("web", SERVER).await;

    let body = page(&format!("{ip}:80")).await;

    assert!(ip.starts_with("10.88."), "{ip}");
    assert_eq!(body, "pod answers\n");
    assert!(container.sh("ip -4 addr show eth0").await.contains(&ip));
    assert!(container.sh("ip -4 addr show lo").await.contains("127.0.0.1"));
    pod.remove().await;
}

async fn a_port_of_the_node_leads_to_the_pod() {
    let pod = Pod::run_with(shared().await, "hostport", |config| {
        config.port_mappings.push(v1::PortMapping {
            protocol: v1::Protocol::Tcp.into(),
            container_port: 80,
            host_port: 18080,
            host_ip: String::new(),
        });
        // A port that is only told of, as the kubelet passes most of them.
        config.port_mappings.push(v1::PortMapping {
            protocol: v1::Protocol::Udp.into(),
            container_port: 53,
            host_port: 0,
            host_ip: String::new(),
        });
    })
    .await;
    pod.start("web", SERVER).await;

    let body = page(&format!("{NODE_IP}:18080")).await;

    assert_eq!(body, "pod answers\n");
    pod.remove().await;
    assert!(TcpStream::connect(format!("{NODE_IP}:18080")).await.is_err());
}

async fn a_pod_in_the_nodes_network_has_no_address_of_its_own() {
    let pod = Pod::run(shared().await, "hostnet").await;
    let container = pod.idle("main").await;

    let status = pod.status().await;

    assert_eq!(status.network.unwrap_or_default().ip, "");
    let options = status.linux.unwrap().namespaces.unwrap().options.unwrap();
    assert_eq!(options.network(), v1::NamespaceMode::Node);
    assert!(container.sh("ip -4 addr show node0").await.contains(NODE_IP));
    let own = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(container.sh("hostname").await, own);
    pod.remove().await;
}

async fn names_are_those_of_the_pod() {
    let pod = Pod::run_with(shared().await, "names", |config| {
        config.hostname = "a-name.example".into();
        config.dns_config = Some(v1::DnsConfig {
            servers: vec!["192.0.2.53".into()],
            searches: vec!["e2e.example".into()],
            options: vec!["ndots:5".into()],
        });
    })
    .await;
    let container = pod.idle("main").await;
    let ip = pod.ip().await;

    let hosts = container.sh("cat /etc/hosts").await;
    let resolver = container.sh("cat /etc/resolv.conf").await;

    assert_eq!(container.sh("hostname").await, "a-name.example\n");
    assert_eq!(container.sh("cat /etc/hostname").await, "a-name.example\n");
    assert!(hosts.contains(&format!("{ip}\ta-name.example")), "{hosts}");
    for line in ["nameserver 192.0.2.53", "search e2e.example", "options ndots:5"] {
        assert!(resolver.lines().any(|have| have == line), "{resolver}");
    }
    pod.remove().await;
}

async fn containers_of_a_pod_share_network_names_and_ipc() {
    let pod = Pod::run_with(shared().await, "shared", |_| {}).await;
    let (one, other) = (pod.idle("one").await, pod.idle("other").await);
    let links = "for n in net uts ipc pid mnt; do readlink /proc/self/ns/$n; done";

    let (first, second) = (one.sh(links).await, other.sh(links).await);
    one.sh("echo seen >/dev/shm/file").await;

    let pairs: Vec<(&str, &str)> = first.lines().zip(second.lines()).collect();
    let same: Vec<bool> = pairs.iter().map(|(first, second)| first == second).collect();
    assert_eq!(same, [true, true, true, false, false], "{pairs:?}");
    let of_the_node = fs::read_link("/proc/self/ns/net").unwrap();
    assert_ne!(pairs[0].0, of_the_node.to_str().unwrap());
    assert_eq!(other.sh("cat /dev/shm/file").await, "seen\n");
    pod.remove().await;
}

async fn containers_of_a_pod_share_processes_when_asked_to() {
    let pod = Pod::run_with(shared().await, "sharedpid", |config| {
        namespaces(config).pid = v1::NamespaceMode::Pod.into();
    })
    .await;
    let share = |config: &mut v1::ContainerConfig| {
        let options = security(config).namespace_options.as_mut().unwrap();
        options.pid = v1::NamespaceMode::Pod.into();
    };
    let one = pod.start_with("one", &["sleep", "12345"], share).await;
    let other = pod.start_with("other", &["sleep", "infinity"], share).await;

    let seen = other.sh("ps -o args").await;

    assert!(seen.contains("sleep 12345"), "{seen}");
    let orphan = "sh -c 'sleep 0 & exec sleep 0' & wait; ps -o stat,args | grep -c '^Z' || true";
    assert_eq!(other.sh(orphan).await.trim(), "0");
    one.stop(0).await;
    assert_eq!(other.status().await.state(), v1::ContainerState::ContainerRunning);
    pod.remove().await;
}

async fn a_container_joins_the_processes_of_its_target() {
    let pod = Pod::run(shared().await, "target").await;
    let target = pod.start("main", &["sleep", "54321"]).await;

    let debugger = pod
        .start_with("debugger", &["sleep", "infinity"], |config| {
            let options = security(config).namespace_options.as_mut().unwrap();
            options.pid = v1::NamespaceMode::Target.into();
            options.target_id = target.id.clone();
        })
        .await;

    let seen = debugger.sh("ps -o pid,args").await;
    assert!(
        seen.lines()
            .any(|line| line.split_whitespace().eq(["1", "sleep", "54321"])),
        "{seen}"
    );
    debugger.stop(0).await;
    assert_eq!(
        target.status().await.state(),
        v1::ContainerState::ContainerRunning
    );
    pod.remove().await;
}

async fn sysctls_hold_in_the_pod_only() {
    const KEY: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let pod = Pod::run_with(shared().await, "sysctl", |config| {
        let sysctls = &mut config.linux.as_mut().unwrap().sysctls;
        sysctls.insert("net.ipv4.ip_unprivileged_port_start".into(), "123".into());
        sysctls.insert("kernel.shm_rmid_forced".into(), "1".into());
    })
    .await;
    let container = pod.idle("main").await;

    let inside = container
        .sh(&format!("cat {KEY} /proc/sys/kernel/shm_rmid_forced"))
        .await;

    assert_eq!(inside, "123\n1\n");
    assert_ne!(fs::read_to_string(KEY).unwrap(), "123\n");
    pod.remove().await;
}

async fn a_pod_releases_its_address() {
    let pod = Pod::run_with(shared().await, "release", |_| {}).await;
    let ip = pod.ip().await;
    let lease = node().addresses("e2e").join(&ip);
    let held = fs::read_to_string(&lease).unwrap();

    pod.stop().await;

    assert!(held.contains(&pod.id), "{held}");
    // Another pod may have it already.
    let now = fs::read_to_string(&lease).unwrap_or_default();
    assert!(!now.contains(&pod.id), "{now}");
    pod.remove().await;
}
