//! Clients of a container's own streams, of a real container.

use crate::monitor::client::{AttachEnds, Attachment, MonitorError};
use crate::monitor::protocol::{Detachment, FailureKind, Stdio, TerminalSize};
use crate::monitor::tests::fixture::{Host, LONG, Running};
use crate::sys::pipe;
use std::fs;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};

/// A client with all three streams.
struct Client {
    attachment: Attachment,
    stdin: Option<Sender>,
    stdout: Receiver,
    stderr: Receiver,
}

impl Client {
    async fn attach(to: &Running) -> Client {
        Client::try_attach(to).await.unwrap()
    }

    async fn try_attach(to: &Running) -> Result<Client, MonitorError> {
        let (stdin_end, stdin) = pipe::pair().unwrap();
        let (stdout, stdout_end) = pipe::pair().unwrap();
        let (stderr, stderr_end) = pipe::pair().unwrap();
        let ends = AttachEnds {
            stdin: Some(stdin_end),
            stdout: Some(stdout_end),
            stderr: Some(stderr_end),
        };
        Ok(Client {
            attachment: to.client.attach(ends).await?,
            stdin: Some(Sender::from_owned_fd(stdin).unwrap()),
            stdout: Receiver::from_owned_fd(stdout).unwrap(),
            stderr: Receiver::from_owned_fd(stderr).unwrap(),
        })
    }

    async fn say(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).await.unwrap();
    }

    /// What is left of both outputs, and how it ended.
    async fn rest(mut self) -> (String, String, Detachment) {
        let (mut out, mut err) = (String::new(), String::new());
        let all = async {
            self.stdout.read_to_string(&mut out).await.unwrap();
            self.stderr.read_to_string(&mut err).await.unwrap();
            self.attachment.wait().await.unwrap()
        };
        let how = tokio::time::timeout(LONG, all).await.unwrap();
        (out, err, how)
    }
}

/// Waits for so much output.
async fn hears(output: &mut Receiver, expected: &str) {
    let mut heard = vec![0; expected.len()];
    let read = output.read_exact(&mut heard);
    tokio::time::timeout(LONG, read).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&heard), expected);
}

async fn run(host: &Host, script: &str, once: bool) -> Running {
    let mut wanted = host.container("a", &["sh", "-c", script]);
    wanted.request.stdio = Stdio::Pipes {
        stdin: true,
        stdin_once: once,
    };
    let container = wanted.create(host).await.unwrap();
    container.client.start().await.unwrap();
    container
}

/// Descriptors that the container's monitor has.
async fn descriptors(container: &Running) -> usize {
    let monitor = container.client.state().await.unwrap().monitor_pid;
    fs::read_dir(format!("/proc/{monitor}/fd")).unwrap().count()
}

#[tokio::test]
async fn every_client_hears_all_and_the_log_has_it_once() {
    let Some(host) = Host::new() else { return };
    let container = run(
        &host,
        "while read x; do echo got $x; echo err $x >&2; done",
        false,
    )
    .await;

    let mut one = Client::attach(&container).await;
    one.say("early\n").await;
    hears(&mut one.stdout, "got early\n").await;
    hears(&mut one.stderr, "err early\n").await;
    let mut other = Client::attach(&container).await;
    one.say("1\n").await;
    hears(&mut one.stdout, "got 1\n").await;
    hears(&mut other.stdout, "got 1\n").await;
    other.say("2\n").await;
    hears(&mut one.stdout, "got 2\n").await;
    hears(&mut other.stdout, "got 2\n").await;
    container.client.close_stdin().await.unwrap();

    let rest = (String::new(), "err 1\nerr 2\n".to_owned(), Detachment::Ended);
    assert_eq!(one.rest().await, rest);
    assert_eq!(other.rest().await, rest);
    container.exited().await;
    assert_eq!(container.log("stdout"), ["F got early", "F got 1", "F got 2"]);
    assert_eq!(container.log("stderr"), ["F err early", "F err 1", "F err 2"]);
    container.delete().await;
}

#[tokio::test]
async fn clients_come_and_go_and_the_input_stays_open() {
    let Some(host) = Host::new() else { return };
    let container = run(&host, "while read x; do echo got $x; done", false).await;
    let before = descriptors(&container).await;

    for round in 0..3 {
        let mut client = Client::attach(&container).await;
        client.say(&format!("{round}\n")).await;
        hears(&mut client.stdout, &format!("got {round}\n")).await;
    }
    // Each question makes the monitor look.
    let settled = async { while descriptors(&container).await != before {} };
    tokio::time::timeout(LONG, settled).await.unwrap();
    let state = container.client.state().await.unwrap();
    assert_eq!(state.exit, None);
    container.delete().await;
}

#[tokio::test]
async fn input_for_one_client_ends_with_the_first_one_s() {
    let Some(host) = Host::new() else { return };
    let container = run(&host, "cat; echo done", true).await;

    let mut first = Client::attach(&container).await;
    let second = Client::attach(&container).await;
    first.say("words").await;
    first.stdin = None;

    let expected = ("wordsdone\n".to_owned(), String::new(), Detachment::Ended);
    assert_eq!(first.rest().await, expected);
    assert_eq!(second.rest().await, expected);
    container.exited().await;
    container.delete().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_nobody_and_is_told() {
    let Some(host) = Host::new() else { return };
    let script = "read x; dd if=/dev/zero bs=1000 count=300 2>/dev/null; echo end; read x";
    let container = run(&host, script, false).await;

    let mut stuck = Client::attach(&container).await;
    let mut reading = Client::attach(&container).await;
    reading.say("go\n").await;
    // Both have pipes of 64 KiB: the second one's is read while the first one's is not.
    let mut heard = vec![];
    while !heard.ends_with(b"end\n") {
        let read = reading.stdout.read_buf(&mut heard);
        let count = tokio::time::timeout(LONG, read).await.unwrap().unwrap();
        if count == 0 {
            break;
        }
    }

    let how = tokio::time::timeout(LONG, stuck.attachment.wait()).await.unwrap();
    assert_eq!(how.unwrap(), Detachment::Behind);
    let mut kept = vec![];
    stuck.stdout.read_to_end(&mut kept).await.unwrap();
    assert!(!kept.is_empty() && kept.iter().all(|byte| *byte == 0));
    container.client.signal(9).await.unwrap();
    container.exited().await;
    let lines = container.log("stdout");
    let logged: usize = lines.iter().map(|line| line.len() - 2).sum();
    assert_eq!((logged, lines.last().unwrap().ends_with("end")), (300_003, true));
    container.delete().await;
}

#[tokio::test]
async fn input_waits_for_a_container_that_takes_its_time_and_arrives_whole() {
    let Some(host) = Host::new() else { return };
    let container = run(&host, "echo ready; read x; busybox wc -c", true).await;

    let mut client = Client::attach(&container).await;
    let mut stdin = client.stdin.take().unwrap();
    let sent = async {
        stdin.write_all(b"x\n").await.unwrap();
        // More than both pipes hold.
        stdin.write_all(&vec![b'y'; 1_000_000]).await.unwrap();
        drop(stdin);
    };
    let ((), (out, ..)) = tokio::join!(sent, client.rest());

    assert!(out.ends_with("1000000\n"), "{out}");
    container.exited().await;
    container.delete().await;
}

#[tokio::test]
async fn a_terminal_shows_its_clients_what_it_logs() {
    let Some(host) = Host::new() else { return };
    let mut wanted = host.container(
        "a",
        &["sh", "-c", "read x; echo got $x; read x; busybox stty size"],
    );
    wanted.terminal();
    let container = wanted.create(&host).await.unwrap();
    container.client.start().await.unwrap();

    let mut client = Client::attach(&container).await;
    client.say("word\n").await;
    hears(&mut client.stdout, "word\r\ngot word\r\n").await;
    let (width, height) = (90, 30);
    container
        .client
        .resize(TerminalSize { width, height })
        .await
        .unwrap();
    client.say("\n").await;

    let (out, err, how) = client.rest().await;
    assert_eq!(
        (out.as_str(), err.as_str(), how),
        ("\r\n30 90\r\n", "", Detachment::Ended)
    );
    container.exited().await;
    assert_eq!(
        container.log("stdout"),
        ["F word\r", "F got word\r", "F \r", "F 30 90\r"]
    );
    container.delete().await;
}

#[tokio::test]
async fn what_is_not_logged_is_passed_on_all_the_same() {
    let Some(host) = Host::new() else { return };
    for terminal in [false, true] {
        let name = if terminal { "t" } else { "p" };
        let mut wanted = host.container(name, &["sh", "-c", "read x; echo got $x"]);
        wanted.request.stdio = match terminal {
            true => Stdio::Terminal(None),
            false => Stdio::Pipes {
                stdin: true,
                stdin_once: false,
            },
        };
        wanted.config["process"]["terminal"] = terminal.into();
        wanted.request.log = None;
        let container = wanted.create(&host).await.unwrap();
        container.client.start().await.unwrap();

        let mut client = Client::attach(&container).await;
        client.say("word\n").await;
        let (out, ..) = client.rest().await;

        assert!(out.contains("got word"), "{out}");
        assert_eq!(container.exited().await.code, 0);
        container.delete().await;
    }
}

#[tokio::test]
async fn streams_that_have_ended_end_at_once_and_the_container_goes_on() {
    let Some(host) = Host::new() else { return };
    let container = run(&host, "exec >/dev/null 2>&1 0</dev/null; sleep 1000", false).await;
    // Input that nobody can read any more is found closed only by writing.
    container.client.close_stdin().await.unwrap();
    let closed = async {
        while pipes(&container) != 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, closed).await.unwrap();

    let client = Client::attach(&container).await;

    assert_eq!(
        client.rest().await,
        (String::new(), String::new(), Detachment::Ended)
    );
    assert_eq!(container.client.state().await.unwrap().exit, None);
    container.delete().await;
}

/// Pipes among the standard streams of a container's first process.
fn pipes(container: &Running) -> usize {
    let pid = container.created.pid;
    let of = |n: u8| fs::read_link(format!("/proc/{pid}/fd/{n}")).unwrap();
    (0..3)
        .filter(|n| of(*n).to_string_lossy().starts_with("pipe:"))
        .count()
}

#[tokio::test]
async fn who_cannot_be_attached_is_told_why() {
    let Some(host) = Host::new() else { return };
    let refused = |attached: Result<Client, MonitorError>| match attached.err() {
        Some(MonitorError::Failed(failure)) => failure.kind,
        other => panic!("{other:?}"),
    };
    let created = host.container("c", &["true"]).create(&host).await.unwrap();
    assert_eq!(refused(Client::try_attach(&created).await), FailureKind::Phase);
    created.client.start().await.unwrap();
    created.exited().await;
    assert_eq!(refused(Client::try_attach(&created).await), FailureKind::Phase);
    created.delete().await;

    let container = run(&host, "sleep 1000", false).await;
    let mut crowd = vec![];
    let last = loop {
        match Client::try_attach(&container).await {
            Ok(client) => crowd.push(client),
            Err(error) => break refused(Err(error)),
        }
    };
    assert_eq!((crowd.len(), last), (100, FailureKind::Exhausted));
    // Input that the container does not take keeps the place of nobody who has gone.
    for client in &mut crowd {
        let mut bytes = vec![0; 256 << 10];
        bytes.truncate(client.stdin.as_mut().unwrap().try_write(&bytes).unwrap());
    }
    drop(crowd);
    // What other tests execute has copies of the ends for an instant.
    let attached = async {
        while Client::try_attach(&container).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, attached).await.unwrap();
    container.delete().await;
}

#[tokio::test]
async fn input_ends_are_closed_for_all_when_the_container_has_closed_its_own() {
    let Some(host) = Host::new() else { return };
    let container = run(&host, "exec 0</dev/null; echo closed; sleep 1000", false).await;
    let closed = async {
        while pipes(&container) != 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, closed).await.unwrap();

    let mut client = Client::attach(&container).await;
    let stdin = client.stdin.as_mut().unwrap();
    let broken = async { while stdin.write_all(b"x").await.is_ok() {} };
    tokio::time::timeout(LONG, broken).await.unwrap();

    assert_eq!(container.client.state().await.unwrap().exit, None);
    container.delete().await;
}
