//! Attach, by the client that the kubelet's is made of, over both transports.

use std::process::{ExitStatus, Stdio};

use k8s_cri::v1;
use libtest_mimic::Trial;
use sha2::Digest as _;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tonic::Code;

use crate::harness::container::Made;
use crate::harness::crictl::{crictl, transports, with_input};
use crate::harness::daemon::{Daemon, alone, refused, shared};
use crate::harness::endpoint::ours;
use crate::harness::node::descriptors;
use crate::harness::pod::Pod;
use crate::harness::websocket::Session;
use crate::harness::{eventually, trials};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        every_client_hears_the_container_and_the_log_has_it_once,
        the_end_of_a_client_s_input_detaches_it,
        input_for_one_client_ends_with_it_and_the_answer_is_whole,
        a_client_without_input_hears_the_outputs_apart,
        a_container_that_ends_ends_its_sessions_behind_its_last_words,
        a_terminal_takes_input_and_size,
        a_client_that_does_not_read_holds_up_nobody_and_is_told,
        a_container_that_reads_nothing_keeps_no_client_that_has_died,
        fifty_clients_leave_nothing_behind,
        a_daemon_that_ends_ends_its_sessions_and_the_next_one_has_others,
        a_container_without_a_log_can_be_attached_to,
        what_cannot_be_attached_to_is_refused,
    ]
}

/// Says what it hears.
pub(crate) const ECHO: &str = "while read x; do echo got $x; done";

/// A container that takes input.
pub(crate) async fn listening<'a>(pod: &Pod<'a>, name: &str, script: &str, once: bool) -> Made<'a> {
    pod.start_with(name, &["sh", "-c", script], |config| {
        config.stdin = true;
        config.stdin_once = once;
    })
    .await
}

/// A client; it dies with its handle.
pub(crate) struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Client {
    /// Begins a client that has input. It is attached once it has heard what it has said.
    pub(crate) fn begin(daemon: &Daemon, transport: &str, id: &str) -> Client {
        let mut command = crictl(daemon, &["attach", "-i", "-r", transport, id]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        Client {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    pub(crate) async fn say(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(format!("{text}\n").as_bytes()).await.unwrap();
        stdin.flush().await.unwrap();
    }

    /// Waits for a line. The lines before it are others'.
    pub(crate) async fn hears(&mut self, line: &str) {
        let mut heard = String::new();
        while heard.trim_end() != line {
            heard.clear();
            let count = self.stdout.read_line(&mut heard).await.unwrap();
            assert!(count > 0, "the output has ended before {line:?}");
        }
    }

    /// Waits for its end; returns what was left of its output, and what it has to say of its own.
    pub(crate) async fn end(mut self) -> (ExitStatus, String, String) {
        drop(self.stdin.take());
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).await.unwrap();
        let output = self.child.wait_with_output().await.unwrap();
        (
            output.status,
            rest,
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }
}

async fn every_client_hears_the_container_and_the_log_has_it_once() {
    let pod = Pod::run(shared().await, "attach").await;
    let container = listening(&pod, "main", ECHO, false).await;

    // Two, by either way where there are two.
    let ways = [transports()[0], transports()[transports().len() - 1]];
    let mut clients = ways.map(|transport| Client::begin(pod.daemon, transport, &container.id));
    for (number, client) in clients.iter_mut().enumerate() {
        client.say(&format!("hello {number}")).await;
        client.hears(&format!("got hello {number}")).await;
    }
    for number in 0..clients.len() {
        clients[number].say(&format!("all {number}")).await;
        for client in &mut clients {
            client.hears(&format!("got all {number}")).await;
        }
    }

    assert_eq!(
        container.output(),
        "got hello 0\ngot hello 1\ngot all 0\ngot all 1\n"
    );
    pod.remove().await;
}

async fn the_end_of_a_client_s_input_detaches_it() {
    let pod = Pod::run(shared().await, "attach-leave").await;
    let container = listening(&pod, "main", ECHO, false).await;

    for &transport in transports() {
        for round in 0..2 {
            let mut client = Client::begin(pod.daemon, transport, &container.id);
            client.say(&format!("{transport} {round}")).await;
            client.hears(&format!("got {transport} {round}")).await;
            let (status, rest, said) = client.end().await;
            assert!(status.success() && rest.is_empty(), "{transport}: {rest}{said}");
        }
    }

    assert_eq!(
        container.status().await.state(),
        v1::ContainerState::ContainerRunning
    );
    pod.remove().await;
}

async fn input_for_one_client_ends_with_it_and_the_answer_is_whole() {
    let pod = Pod::run(shared().await, "attach-once").await;
    let mut bytes = vec![0; 20_000_000];
    let words = bytes.chunks_mut(4).zip(1u32..);
    words.for_each(|(to, n)| to.copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes()));
    let hash = sha2::Sha256::digest(&bytes);
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();

    for &transport in transports() {
        // Takes its time, and says more after the end of the input.
        let script = "sleep 1; sha256sum; head -c 300000 /dev/zero; echo end";
        let container = listening(&pod, transport, script, true).await;
        let command = crictl(pod.daemon, &["attach", "-i", "-r", transport, &container.id]);
        let output = with_input(command, &bytes).await;

        assert!(output.status.success(), "{transport}: {:?}", output.status);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.starts_with(&hash), "{transport}: {}", &text[..100]);
        assert!(text.ends_with("\0end\n"), "{transport}");
        assert_eq!(text.len(), hash.len() + "  -\n".len() + 300_004, "{transport}");
        container.exited().await;
    }
    pod.remove().await;
}

async fn a_client_without_input_hears_the_outputs_apart() {
    let pod = Pod::run(shared().await, "attach-listen").await;
    let script = "while :; do echo out; echo err >&2; sleep 0.05; done";
    let container = pod.start("main", &["sh", "-c", script]).await;

    for &transport in transports() {
        let mut child = crictl(pod.daemon, &["attach", "-r", transport, &container.id])
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        // The client has a word of its own before.
        while stderr.next_line().await.unwrap().expect("it goes on") != "err" {}
        for _ in 0..3 {
            assert_eq!(stdout.next_line().await.unwrap().unwrap(), "out", "{transport}");
            assert_eq!(stderr.next_line().await.unwrap().unwrap(), "err", "{transport}");
        }
    }
    pod.remove().await;
}

async fn a_container_that_ends_ends_its_sessions_behind_its_last_words() {
    let pod = Pod::run(shared().await, "attach-end").await;

    for &transport in transports() {
        let script = "read x; echo got $x; read x; head -c 3000000 /dev/zero; echo last; exit 3";
        let container = listening(&pod, transport, script, false).await;
        let mut client = Client::begin(pod.daemon, transport, &container.id);
        client.say("hello").await;
        client.hears("got hello").await;
        client.say("end").await;
        let mut rest = vec![];
        client.stdout.read_to_end(&mut rest).await.unwrap();
        let (status, _, said) = client.end().await;

        // How the container has ended is not the client's failure.
        assert!(status.success(), "{transport}: {status}: {said}");
        assert!(rest.ends_with(b"\0last\n"), "{transport}");
        assert_eq!(rest.len(), 3_000_005, "{transport}");
        assert_eq!(container.exited().await.exit_code, 3);
    }
    pod.remove().await;
}

async fn attach_url(container: &Made<'_>, tty: bool) -> String {
    let request = v1::AttachRequest {
        container_id: container.id.clone(),
        stdin: true,
        tty,
        stdout: true,
        stderr: false,
    };
    let answer = container.daemon.runtime().attach(request).await;
    answer.unwrap().into_inner().url
}

async fn a_terminal_takes_input_and_size() {
    let pod = Pod::run(shared().await, "attach-tty").await;
    let script = "while read x; do echo got $x; stty size; done";
    let container = pod
        .start_with("main", &["sh", "-c", script], |config| {
            config.stdin = true;
            config.tty = true;
            // Means nothing for a terminal.
            config.stdin_once = true;
        })
        .await;

    for (protocol, size) in [("v4.channel.k8s.io", (31, 91)), ("v5.channel.k8s.io", (32, 92))] {
        let (rows, columns) = size;
        let mut session = Session::open(&attach_url(&container, true).await, protocol).await;
        let text = format!("{{\"Width\":{columns},\"Height\":{rows}}}\n");
        session.send(4, &text).await;
        session.send(0, "word\n").await;
        session.says(1, "got word\r\n").await;
        eventually("the size has arrived", async || {
            session.send(0, "again\n").await;
            let (_, said) = session.next().await.unwrap();
            said.contains(&format!("{rows} {columns}\r\n")).then_some(())
        })
        .await;
    }

    let mut session = Session::open(&attach_url(&container, true).await, "v5.channel.k8s.io").await;
    session.send(0, "last\n").await;
    session.says(1, "got last").await;
    session.send(255, "\0").await;
    session.says(3, r#"{"status":"Success"}"#).await;
    assert_eq!(session.next().await, None);
    assert_eq!(
        container.status().await.state(),
        v1::ContainerState::ContainerRunning
    );
    pod.remove().await;
}

async fn a_client_that_does_not_read_holds_up_nobody_and_is_told() {
    const PIECE: usize = 4_000_000;
    const ROUNDS: usize = 20;
    let pod = Pod::run(shared().await, "attach-slow").await;

    for &transport in transports() {
        let script = format!("while read x; do echo got $x; head -c {PIECE} /dev/zero; echo; done");
        let container = listening(&pod, transport, &script, false).await;
        let mut slow = Client::begin(pod.daemon, transport, &container.id);
        slow.say("slow").await;
        slow.hears("got slow").await;
        let mut fast = Client::begin(pod.daemon, transport, &container.id);

        // In all far more than what any buffer on the way takes; the next piece comes when the last one is here.
        let mut heard = vec![];
        for round in 0..ROUNDS {
            fast.say(&round.to_string()).await;
            fast.hears(&format!("got {round}")).await;
            heard.clear();
            fast.stdout.read_until(b'\n', &mut heard).await.unwrap();
            if heard.len() != PIECE + 1 {
                panic!(
                    "{transport}, round {round}: {} {:?}",
                    heard.len(),
                    fast.end().await
                );
            }
        }
        let mut kept = vec![];
        slow.stdout.read_to_end(&mut kept).await.unwrap();
        let output = slow.child.wait_with_output().await.unwrap();

        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{transport}");
        assert!(text.contains("fallen too far behind"), "{transport}: {text}");
        assert!(
            kept.len() > PIECE && kept.len() < ROUNDS * PIECE,
            "{transport}: {}",
            kept.len()
        );
        let logged: usize = container.lines().iter().map(|line| line.text.len()).sum();
        assert!(logged > (ROUNDS + 1) * PIECE, "{transport}: {logged}");
        let (status, ..) = fast.end().await;
        assert!(status.success(), "{transport}");
        container.remove().await;
        std::fs::remove_file(&container.log).unwrap();
    }
    pod.remove().await;
}

async fn a_container_that_reads_nothing_keeps_no_client_that_has_died() {
    ours("looks at the daemon's process");
    let daemon = alone().await;
    let pod = Pod::run(&daemon, "attach-deaf").await;
    let container = listening(&pod, "main", "echo begun; exec sleep infinity", false).await;
    container.printed("begun").await;
    let before = descriptors(daemon.pid());

    for &transport in transports() {
        let mut client = Client::begin(&daemon, transport, &container.id);
        // More than fits on the way: the daemon can read no further when the client dies.
        let mut stdin = client.stdin.take().unwrap();
        let stuck = async {
            let bytes = vec![0; 1 << 20];
            loop {
                let more = tokio::time::timeout(std::time::Duration::from_secs(2), stdin.write_all(&bytes));
                if more.await.is_err() {
                    return;
                }
            }
        };
        stuck.await;
        client.child.kill().await.unwrap();
    }

    eventually("no descriptor is left", async || {
        (descriptors(daemon.pid()) <= before).then_some(())
    })
    .await;
    container.stop(0).await;
    pod.remove().await;
    daemon.check().await;
}

async fn fifty_clients_leave_nothing_behind() {
    const CROWD: usize = 50;
    ours("looks at the daemon's process");
    let daemon = alone().await;
    let pod = Pod::run(&daemon, "attach-crowd").await;
    let container = listening(&pod, "main", ECHO, false).await;
    let monitor = container.monitor().await;
    let before = (descriptors(daemon.pid()), descriptors(monitor));

    let mut crowd: Vec<Client> = (0..CROWD)
        .map(|number| Client::begin(&daemon, transports()[number % transports().len()], &container.id))
        .collect();
    for (number, client) in crowd.iter_mut().enumerate() {
        client.say(&number.to_string()).await;
        client.hears(&format!("got {number}")).await;
    }
    crowd[0].say("everybody").await;
    for client in &mut crowd {
        client.hears("got everybody").await;
    }
    // Half of them die, the others leave.
    let leaving = crowd.split_off(CROWD / 2);
    drop(crowd);
    for client in leaving {
        let (status, _, said) = client.end().await;
        assert!(status.success(), "{said}");
    }

    eventually("no descriptor is left", async || {
        let now = (descriptors(daemon.pid()), descriptors(monitor));
        (now.0 <= before.0 && now.1 <= before.1).then_some(())
    })
    .await;
    let mut last = Client::begin(&daemon, "spdy", &container.id);
    last.say("last").await;
    last.hears("got last").await;
    drop(last);
    assert_eq!(container.lines().len(), CROWD + 2);
    daemon.check().await;
    pod.remove().await;
}

async fn a_daemon_that_ends_ends_its_sessions_and_the_next_one_has_others() {
    let mut daemon = Daemon::with_images("attach-restart").await;
    let (pod_id, config, id, log) = {
        let pod = Pod::run(&daemon, "attach-restart").await;
        let container = listening(&pod, "main", ECHO, false).await;
        let names = (pod.id.clone(), pod.config.clone());
        (names.0, names.1, container.id.clone(), container.log.clone())
    };
    let mut expected = String::new();

    for &transport in transports() {
        for kills in [false, true] {
            let word = format!("{transport} {kills}");
            let mut client = Client::begin(&daemon, transport, &id);
            client.say(&word).await;
            client.hears(&format!("got {word}")).await;
            expected += &format!("got {word}\n");
            let place = match kills {
                true => daemon.kill().await,
                false => daemon.stop().await.0,
            };
            client.stdin.as_mut().unwrap().flush().await.unwrap();
            let output = client.child.wait_with_output().await.unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            // One that was killed had no time for words.
            assert!(
                kills || !output.status.success() && text.contains("the runtime is ending"),
                "{transport}: {text}"
            );
            daemon = Daemon::start(place).await;
        }
    }

    let container = Made::adopted(&daemon, &id, &log);
    assert_eq!(container.output(), expected);
    daemon.check().await;
    Pod::adopted(&daemon, &pod_id, &config).remove().await;
}

async fn a_container_without_a_log_can_be_attached_to() {
    let pod = Pod::run(shared().await, "attach-unlogged").await;
    let check = async |tty: bool| {
        let name = format!("tty-{tty}");
        let container = pod
            .start_with(&name, &["sh", "-c", ECHO], |config| {
                config.stdin = true;
                config.tty = tty;
                config.log_path.clear();
            })
            .await;
        let mut session = Session::open(&attach_url(&container, tty).await, "v4.channel.k8s.io").await;
        session.send(0, "hello\n").await;
        session.says(1, "got hello").await;
    };

    check(false).await;
    check(true).await;
    pod.remove().await;
}

async fn what_cannot_be_attached_to_is_refused() {
    let pod = Pod::run(shared().await, "attach-not").await;
    let created = pod.create("created", &["sleep", "9"]).await;
    let exited = pod.start("exited", &["true"]).await;
    exited.exited().await;
    let idle = pod.idle("idle").await;
    let good = v1::AttachRequest {
        container_id: idle.id.clone(),
        stdout: true,
        ..Default::default()
    };
    let check = async |request: v1::AttachRequest, code: Code, text: &str| {
        let refusal = refused(pod.daemon.runtime().attach(request)).await;
        assert_eq!(refusal.code(), code, "{refusal}");
        assert!(refusal.message().contains(text), "{refusal}");
    };
    let of = |id: &str| v1::AttachRequest {
        container_id: id.to_owned(),
        ..good.clone()
    };

    check(of("nobody"), Code::NotFound, "nobody").await;
    check(of(&created.id), Code::FailedPrecondition, &created.id).await;
    check(of(&exited.id), Code::FailedPrecondition, &exited.id).await;
    let no_terminal = v1::AttachRequest {
        tty: true,
        ..good.clone()
    };
    check(no_terminal, Code::InvalidArgument, "has no terminal").await;
    let only_input = v1::AttachRequest {
        stdin: true,
        stdout: false,
        ..good.clone()
    };
    check(only_input, Code::InvalidArgument, "takes none").await;

    // It may end before its client comes.
    let request = pod.daemon.runtime().attach(good).await;
    let url = request.unwrap().into_inner().url;
    idle.stop(0).await;
    let mut session = Session::open(&url, "v4.channel.k8s.io").await;
    session.says(3, "error attaching to container").await;
    pod.remove().await;
}
