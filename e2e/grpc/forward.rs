//! PortForward, by the client that the kubelet's is made of, over both transports.

use std::process::Stdio;

use k8s_cri::v1;
use libtest_mimic::Trial;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout};
use tonic::Code;

use crate::harness::crictl::{crictl, transports};
use crate::harness::daemon::{Daemon, refused, shared};
use crate::harness::endpoint::ours;
use crate::harness::node::{descriptors, node};
use crate::harness::pod::{Pod, host_network};
use crate::harness::trials;

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        connections_reach_loopback_of_the_pod,
        connections_reach_the_network_of_the_node,
        an_answer_is_whole_though_the_client_has_said_all,
        a_port_that_nobody_listens_on_is_told,
        a_thousand_connections_leave_nothing_behind,
        a_pod_that_was_stopped_is_not_forwarded_to,
    ]
}

/// A forwarding client that is ready; ends with its handle.
pub(crate) struct Forward {
    port: u16,
    child: Child,
    _said: BufReader<ChildStdout>,
}

impl Forward {
    pub(crate) async fn begin(daemon: &Daemon, transport: &str, pod: &str, to: u16) -> Forward {
        // Of one number a port that nobody else on the node has.
        let port = 20_000 + u16::try_from(node().number()).unwrap();
        let ports = format!("{port}:{to}");
        let mut child = crictl(daemon, &["port-forward", "-r", transport, pod, &ports])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).await.unwrap();
        assert!(
            line.contains("Forwarding from 127.0.0.1"),
            "{transport}: {line:?}"
        );
        Forward {
            port,
            child,
            _said: said,
        }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    /// Sends all of it, then reads all there is.
    async fn ask(&self, question: &str) -> String {
        let mut tcp = self.connect().await;
        tcp.write_all(question.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

/// Answers each client's line.
const ECHO: &str = "exec nc -ll -p 7001 -e sh -c 'read line; echo got $line'";

async fn connections_reach_loopback_of_the_pod() {
    let pod = Pod::run_with(shared().await, "forward", |_| {}).await;
    let container = pod.start("main", &["sh", "-c", ECHO]).await;
    container
        .sh("until netstat -ltn | grep -q :7001; do :; done")
        .await;

    for &transport in transports() {
        let forward = Forward::begin(pod.daemon, transport, &pod.id, 7001).await;
        for round in 0..3 {
            let answer = forward.ask(&format!("{round}\n")).await;
            assert_eq!(answer, format!("got {round}\n"), "{transport}");
            container
                .sh("until netstat -ltn | grep -q :7001; do :; done")
                .await;
        }
    }
    pod.remove().await;
}

async fn connections_reach_the_network_of_the_node() {
    let pod = Pod::run_with(shared().await, "forward-node", host_network).await;
    let container = pod
        .start("main", &["sh", "-c", &ECHO.replace("7001", "7002")])
        .await;
    container
        .sh("until netstat -ltn | grep -q :7002; do :; done")
        .await;

    for &transport in transports() {
        let forward = Forward::begin(pod.daemon, transport, &pod.id, 7002).await;
        assert_eq!(forward.ask("hello\n").await, "got hello\n", "{transport}");
        container
            .sh("until netstat -ltn | grep -q :7002; do :; done")
            .await;
    }
    pod.remove().await;
}

async fn an_answer_is_whole_though_the_client_has_said_all() {
    let pod = Pod::run_with(shared().await, "forward-half", |_| {}).await;
    let script = "exec nc -ll -p 7003 -e sh -c 'cat >/dev/null; head -c 3000000 /dev/zero'";
    let container = pod.start("main", &["sh", "-c", script]).await;
    container
        .sh("until netstat -ltn | grep -q :7003; do :; done")
        .await;

    let forward = Forward::begin(pod.daemon, "spdy", &pod.id, 7003).await;
    let mut tcp = forward.connect().await;
    tcp.write_all(b"question").await.unwrap();
    tcp.shutdown().await.unwrap();
    let mut answer = vec![];
    tcp.read_to_end(&mut answer).await.unwrap();

    assert_eq!(answer.len(), 3_000_000);
    pod.remove().await;
}

async fn a_port_that_nobody_listens_on_is_told() {
    let pod = Pod::run_with(shared().await, "forward-closed", |_| {}).await;

    for &transport in transports() {
        let mut forward = Forward::begin(pod.daemon, transport, &pod.id, 7004).await;
        let mut tcp = forward.connect().await;
        // The client ends its whole session at an error of a connection, and says what it was told.
        let mut nothing = vec![];
        let _ = tcp.read_to_end(&mut nothing).await;
        assert!(nothing.is_empty());
        let status = forward.child.wait().await.unwrap();
        assert!(!status.success(), "{transport}");
    }
    pod.remove().await;
}

async fn a_thousand_connections_leave_nothing_behind() {
    ours("looks at the daemon's process");
    let daemon = crate::harness::daemon::alone().await;
    let pod = Pod::run_with(&daemon, "forward-crowd", |_| {}).await;
    let script = "exec nc -ll -p 7005 -e cat";
    let container = pod.start("main", &["sh", "-c", script]).await;
    container
        .sh("until netstat -ltn | grep -q :7005; do :; done")
        .await;
    let before = descriptors(daemon.pid());

    for &transport in transports() {
        let forward = Forward::begin(&daemon, transport, &pod.id, 7005).await;
        let mut open = vec![];
        for round in 0..500 {
            let mut tcp = forward.connect().await;
            tcp.write_all(b"x").await.unwrap();
            // Half of them stay open until the client dies.
            if round % 2 == 0 {
                open.push(tcp);
            }
        }
        drop(forward);
        drop(open);
    }

    crate::harness::eventually("no descriptor is left", async || {
        (descriptors(daemon.pid()) <= before).then_some(())
    })
    .await;
    pod.remove().await;
}

async fn a_pod_that_was_stopped_is_not_forwarded_to() {
    let pod = Pod::run_with(shared().await, "forward-stopped", |_| {}).await;
    let mut forward = Forward::begin(pod.daemon, "spdy", &pod.id, 7006).await;
    pod.stop().await;

    let request = v1::PortForwardRequest {
        pod_sandbox_id: pod.id.clone(),
        port: vec![],
    };
    let refusal = refused(pod.daemon.runtime().port_forward(request)).await;
    let _ = forward.connect().await.read(&mut [0]).await;
    let status = forward.child.wait().await.unwrap();

    assert_eq!(refusal.code(), Code::FailedPrecondition, "{refusal}");
    assert!(!status.success());
    pod.remove().await;
}
