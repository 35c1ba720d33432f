//! Exec with streams, by the client that the kubelet's is made of, over both transports.

use std::io::Write as _;
use std::process::{Output, Stdio};

use k8s_cri::v1;
use libtest_mimic::Trial;
use sha2::Digest as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::container::Made;
use crate::harness::crictl::{crictl, transports, with_input};
use crate::harness::daemon::{Daemon, shared};
use crate::harness::eventually;
use crate::harness::pod::Pod;
use crate::harness::trials;

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        outputs_and_exit_code_reach_the_client,
        input_of_any_length_reaches_a_command_that_takes_its_time,
        input_is_not_cut_when_the_command_closes_its_output,
        output_is_whole_though_the_client_is_slow,
        what_a_command_leaves_behind_does_not_hold_the_session,
        a_client_that_is_killed_takes_its_command_with_it,
        a_container_that_ends_ends_its_sessions,
        a_daemon_that_ends_ends_its_sessions_with_a_reason,
        a_url_works_once,
        strangers_get_nothing,
    ]
}

fn arguments<'a>(transport: &'a str, options: &[&'a str], id: &'a str, script: &'a str) -> Vec<&'a str> {
    let first = ["exec", "-r", transport];
    first
        .iter()
        .chain(options)
        .copied()
        .chain([id, "sh", "-c", script])
        .collect()
}

async fn exec(container: &Made<'_>, transport: &str, script: &str) -> Output {
    let arguments = arguments(transport, &[], &container.id, script);
    crictl(container.daemon, &arguments).output().await.unwrap()
}

async fn exec_with(container: &Made<'_>, transport: &str, script: &str, input: &[u8]) -> String {
    let arguments = arguments(transport, &["-i"], &container.id, script);
    let output = with_input(crictl(container.daemon, &arguments), input).await;
    assert!(output.status.success(), "{transport}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Bytes that are not all alike, and their hash as `sha256sum` prints it.
fn noise(length: usize) -> (Vec<u8>, String) {
    let mut bytes = vec![0; length];
    let words = bytes.chunks_mut(4).zip(1u32..);
    words.for_each(|(mut to, n)| drop(to.write(&n.wrapping_mul(2_654_435_761).to_be_bytes())));
    let hash = sha2::Sha256::digest(&bytes);
    let hash = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    (bytes, hash)
}

async fn outputs_and_exit_code_reach_the_client() {
    let pod = Pod::run(shared().await, "stream").await;
    let container = pod.idle("main").await;

    for &transport in transports() {
        let output = exec(&container, transport, "echo out; echo err >&2; exit 42").await;

        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.stdout, b"out\n", "{transport}");
        assert!(
            text.contains("err\n") && text.contains("exit code 42"),
            "{transport}: {text}"
        );
    }
    pod.remove().await;
}

async fn input_of_any_length_reaches_a_command_that_takes_its_time() {
    let pod = Pod::run(shared().await, "stream-input").await;
    let container = pod.idle("main").await;
    let (bytes, hash) = noise(40_000_000);

    for &transport in transports() {
        let told = exec_with(&container, transport, "sleep 1; sha256sum", &bytes).await;
        assert!(told.starts_with(&hash), "{transport}: {told}");
        let told = exec_with(&container, transport, "wc -c", b"").await;
        assert_eq!(told.trim(), "0", "{transport}");
    }
    pod.remove().await;
}

async fn input_is_not_cut_when_the_command_closes_its_output() {
    let pod = Pod::run(shared().await, "stream-closed").await;
    let container = pod.idle("main").await;
    let (bytes, hash) = noise(5_000_000);

    for &transport in transports() {
        exec_with(&container, transport, "exec cat >/tmp/copy", &bytes).await;
        let told = container.sh("sha256sum </tmp/copy; rm /tmp/copy").await;
        assert!(told.starts_with(&hash), "{transport}: {told}");
    }
    pod.remove().await;
}

async fn output_is_whole_though_the_client_is_slow() {
    let pod = Pod::run(shared().await, "stream-output").await;
    let container = pod.idle("main").await;

    for &transport in transports() {
        let arguments = arguments(transport, &[], &container.id, "exec seq 1 3000000");
        let mut child = crictl(container.daemon, &arguments).spawn().unwrap();
        // Nothing is read before the command runs; what it prints fits into no buffer on the way.
        eventually("the command runs", async || {
            runs(&container, "seq 1 3000000").await.then_some(())
        })
        .await;
        let mut text = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .await
            .unwrap();

        assert!(child.wait().await.unwrap().success());
        assert_eq!(text.lines().count(), 3_000_000, "{transport}");
        assert!(text.ends_with("\n3000000\n"), "{transport}");
    }
    pod.remove().await;
}

async fn what_a_command_leaves_behind_does_not_hold_the_session() {
    let pod = Pod::run(shared().await, "stream-left").await;
    let container = pod.idle("main").await;

    for &transport in transports() {
        let output = exec(&container, transport, "setsid sleep 3600 & echo started").await;
        assert_eq!(output.stdout, b"started\n", "{transport}");
        assert!(output.status.success(), "{transport}: {output:?}");
    }
    pod.remove().await;
}

async fn runs(container: &Made<'_>, command: &str) -> bool {
    let listed = container.sh("ps -o args").await;
    listed.lines().any(|line| line.trim() == command)
}

async fn a_client_that_is_killed_takes_its_command_with_it() {
    let pod = Pod::run(shared().await, "stream-killed").await;
    let container = pod.idle("main").await;

    for &transport in transports() {
        let arguments = arguments(transport, &["-i"], &container.id, "exec sleep 7881");
        let mut child = crictl(container.daemon, &arguments)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        eventually("the command runs", async || {
            runs(&container, "sleep 7881").await.then_some(())
        })
        .await;
        // More than fits on the way: the daemon can read no further when the client dies.
        let mut stdin = child.stdin.take().unwrap();
        let (bytes, _) = noise(12_000_000);
        tokio::select! {
            _ = stdin.write_all(&bytes) => {}
            () = async { container.sh("sleep 1").await; } => {}
        }
        child.kill().await.unwrap();

        eventually("the command has ended", async || {
            (!runs(&container, "sleep 7881").await).then_some(())
        })
        .await;
    }
    pod.remove().await;
}

async fn a_container_that_ends_ends_its_sessions() {
    let pod = Pod::run(shared().await, "stream-ended").await;

    for &transport in transports() {
        let container = pod.idle(transport).await;
        let arguments = arguments(transport, &[], &container.id, "echo begun; exec sleep 7882");
        let mut child = crictl(container.daemon, &arguments).spawn().unwrap();
        let mut begun = [0; 6];
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut begun).await.unwrap();
        container.stop(0).await;

        let output = child.wait_with_output().await.unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("exit code 137"), "{transport}: {text}");
    }
    pod.remove().await;
}

async fn a_daemon_that_ends_ends_its_sessions_with_a_reason() {
    for &transport in transports() {
        let daemon = Daemon::with_images("stream-stop").await;
        let (id, log, pod_id, config) = {
            let pod = Pod::run(&daemon, "stream-stop").await;
            let container = pod.idle("main").await;
            (
                container.id.clone(),
                container.log.clone(),
                pod.id.clone(),
                pod.config.clone(),
            )
        };
        let arguments = arguments(transport, &[], &id, "echo begun; exec sleep 7883");
        let mut child = crictl(&daemon, &arguments).spawn().unwrap();
        let mut begun = [0; 6];
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut begun).await.unwrap();

        let (place, status) = daemon.stop().await;
        let output = child.wait_with_output().await.unwrap();
        let daemon = Daemon::start(place).await;

        assert!(status.success());
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{transport}");
        assert!(text.contains("the runtime is ending"), "{transport}: {text}");
        let container = Made::adopted(&daemon, &id, &log);
        assert!(!runs(&container, "sleep 7883").await, "{transport}");
        Pod::adopted(&daemon, &pod_id, &config).remove().await;
    }
}

/// Sends the head of a request and returns the whole answer.
async fn raw(address: &str, head: &str) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let request = format!("{head}\r\nHost: elsewhere\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn url(container: &Made<'_>) -> String {
    let request = v1::ExecRequest {
        container_id: container.id.clone(),
        cmd: vec!["true".to_owned()],
        stdout: true,
        ..Default::default()
    };
    container
        .daemon
        .runtime()
        .exec(request)
        .await
        .unwrap()
        .into_inner()
        .url
}

async fn a_url_works_once() {
    let pod = Pod::run(shared().await, "stream-url").await;
    let container = pod.idle("main").await;
    let url = url(&container).await;
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let request = format!("POST /{path} HTTP/1.1");

    // Whoever brings it uses it up, though nothing can be agreed on.
    let first = raw(address, &request).await;
    let second = raw(address, &request).await;

    assert!(first.starts_with("HTTP/1.1 400 "), "{first}");
    assert!(second.starts_with("HTTP/1.1 404 "), "{second}");
    pod.remove().await;
}

async fn strangers_get_nothing() {
    let pod = Pod::run(shared().await, "stream-strange").await;
    let container = pod.idle("main").await;
    let url = url(&container).await;
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let check = async |head: &str, status: &str| {
        let answer = raw(address, head).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{head}: {answer}"
        );
    };

    check("GET / HTTP/1.1", "404").await;
    check("GET /exec/AAAAAAAAAAAAAAAAAAAAAA HTTP/1.1", "404").await;
    check(&format!("DELETE /{path} HTTP/1.1"), "405").await;
    check(
        &format!("GET /{} HTTP/1.1", path.replace("exec", "attach")),
        "404",
    )
    .await;
    check("nonsense", "400").await;
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    pod.remove().await;
}
