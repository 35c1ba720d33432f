//! Daemons and monitors of different versions. What a monitor of version 1 said is kept in `recorded/monitor-1.jsonl`, a
//! line for each kind of call, and said again by a peer here; monitors of versions to come are made up.
//! `CORACLE_FAULTS_RECORD` names a file to record a real one into, anew.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use coracle::monitor::protocol::{FailureKind, Phase};
use coracle::monitor::{MonitorClient, MonitorError};
use coracle::sys::{message, socket};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::harness::container::Made;
use crate::harness::daemon::Daemon;
use crate::harness::pod::Pod;
use crate::harness::trials;

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        a_monitor_of_version_1_is_understood,
        a_monitor_of_a_version_to_come_is_understood_as_far_as_it_is_known,
        a_monitor_answers_daemons_of_versions_to_come,
        pods_run_on_under_the_next_daemon_and_lose_no_line,
    ]
}

const RECORDED: &str = include_str!("recorded/monitor-1.jsonl");

/// What a peer says to each kind of call; `events` come after the answer to `state`.
struct Peer {
    answers: Vec<(String, Value)>,
    events: Vec<Value>,
}

impl Peer {
    fn recorded() -> Peer {
        let mut peer = Peer {
            answers: vec![],
            events: vec![],
        };
        for line in RECORDED.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            match line["call"].as_str() {
                Some(call) => peer.answers.push((call.to_owned(), line["said"].clone())),
                None => peer.events.push(line["said"].clone()),
            }
        }
        peer
    }

    /// Answers one client in `dir` until it goes.
    fn serve(self, dir: &Path) {
        let listener = socket::listen(&dir.join("monitor.sock")).unwrap();
        std::thread::spawn(move || {
            // A stream by type only, for the switch.
            let client = UnixStream::from(socket::accept(&listener).unwrap());
            client.set_nonblocking(false).unwrap();
            let client = OwnedFd::from(client);
            while let Ok(Some((text, _))) = message::receive_text(client.as_fd()) {
                self.answer(&client, &serde_json::from_slice(&text).unwrap());
            }
        });
    }

    fn answer(&self, client: &OwnedFd, request: &Value) {
        let call = kind(&request["call"]);
        let (_, said) = self.answers.iter().find(|(known, _)| *known == call).unwrap();
        let mut said = said.clone();
        said["answer"]["id"] = request["id"].clone();
        say(client, &said);
        if call == "state" {
            self.events.iter().for_each(|event| say(client, event));
        }
    }
}

/// The name of a call, or of an answer.
fn kind(of: &Value) -> String {
    let fields = of.as_object().and_then(|fields| fields.keys().next());
    of.as_str().or(fields.map(String::as_str)).unwrap().to_owned()
}

fn say(to: &impl AsFd, what: &Value) {
    message::Packet::new(what, vec![])
        .unwrap()
        .send(to.as_fd())
        .unwrap();
}

async fn a_monitor_of_version_1_is_understood() {
    let dir = tempfile::tempdir().unwrap();
    Peer::recorded().serve(dir.path());

    let client = MonitorClient::connect(dir.path()).await.unwrap();
    let state = client.state().await.unwrap();
    client.signal(0).await.unwrap();
    let refused = client.start().await.unwrap_err();
    let mut exited = client.exited();
    let end = exited.wait_for(Option::is_some).await.unwrap().clone().unwrap();

    assert_eq!(state.phase, Phase::Running);
    assert!(
        state.pid > 0 && state.start_time > 0 && state.monitor_pid > 0,
        "{state:?}"
    );
    let MonitorError::Failed(failure) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(failure.kind, FailureKind::Phase, "{failure}");
    assert_eq!((end.code, end.signal, end.oom_killed), (7, None, false));
}

async fn a_monitor_of_a_version_to_come_is_understood_as_far_as_it_is_known() {
    let mut peer = Peer::recorded();
    for (call, said) in &mut peer.answers {
        match call.as_str() {
            "hello" => said["answer"]["answer"]["hello"] = json!({"version": 2, "colour": "red"}),
            "state" => said["answer"]["answer"]["state"]["mood"] = json!("good"),
            // An answer of a kind that nobody knows.
            "signal" => said["answer"]["answer"] = json!({"signalled_twice": {"really": true}}),
            _ => {}
        }
    }
    peer.events.insert(0, json!({"event": {"birthday": {"age": 3}}}));
    peer.events.insert(0, json!({"rumour": "of something"}));
    let dir = tempfile::tempdir().unwrap();
    peer.serve(dir.path());

    let client = MonitorClient::connect(dir.path()).await.unwrap();
    let state = client.state().await.unwrap();
    let unknown = client.signal(0).await.unwrap_err();
    let mut exited = client.exited();
    let end = exited.wait_for(Option::is_some).await.unwrap().clone().unwrap();

    assert_eq!((state.phase, end.code), (Phase::Running, 7));
    let MonitorError::Failed(failure) = unknown else {
        panic!("{unknown:?}")
    };
    assert_eq!(failure.kind, FailureKind::Unsupported, "{failure}");
}

async fn a_monitor_answers_daemons_of_versions_to_come() {
    let daemon = Daemon::with_images("newer").await;
    let pod = Pod::run(&daemon, "newer").await;
    let script = "trap 'exit 7' TERM; while :; do sleep 0.02; done";
    let container = pod.start("main", &["sh", "-c", script]).await;
    let path = daemon
        .place
        .run
        .join("containers")
        .join(&container.id)
        .join("monitor.sock");
    let monitor = UnixStream::from(socket::connect(&path).unwrap());
    monitor.set_nonblocking(false).unwrap();
    let mut record = vec![];
    let mut ask = |call: Value| {
        say(&monitor, &json!({"id": 41, "call": call, "hurry": true}));
        let (text, _) = message::receive_text(monitor.as_fd()).unwrap().unwrap();
        let said: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(said["answer"]["id"], 41, "{said}");
        record.push(json!({"call": kind(&call), "said": said}));
        said["answer"]["answer"].clone()
    };

    let hello = ask(json!({"hello": {"version": 2, "colour": "red"}}));
    let state = ask(json!("state"));
    ask(json!({"signal": {"signal": 0, "all": false}}));
    ask(json!("start"));
    let unknown = ask(json!({"dance": {"how": "slowly"}}));
    let unknown_word = ask(json!("sing"));

    assert_eq!(hello, json!({"hello": {"version": 1}}));
    assert_eq!(state["state"]["phase"], "running");
    for said in [unknown, unknown_word] {
        assert_eq!(said["failed"]["kind"], "unsupported", "{said}");
        assert!(
            said["failed"]["text"].as_str().unwrap().contains("unknown call"),
            "{said}"
        );
    }
    container.stop(10).await;
    let (text, _) = message::receive_text(monitor.as_fd()).unwrap().unwrap();
    let said: Value = serde_json::from_slice(&text).unwrap();
    record.push(json!({"said": said}));
    if let Some(file) = std::env::var_os("CORACLE_FAULTS_RECORD") {
        let lines = record
            .iter()
            .filter(|line| !matches!(line["call"].as_str(), Some("dance" | "sing")));
        std::fs::write(file, lines.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    }
    container.remove().await;
}

async fn pods_run_on_under_the_next_daemon_and_lose_no_line() {
    let daemon = Daemon::with_images("upgrade").await;
    let pod = Pod::run_with(&daemon, "upgrade", |_| {}).await;
    let script = "trap 'echo end; exit 7' TERM; i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done";
    let container = pod.start("main", &["sh", "-c", script]).await;
    container.printed("3\n").await;
    let (pod_id, config, id) = (pod.id.clone(), pod.config.clone(), container.id.clone());
    let (log, pid, started) = (
        container.log.clone(),
        container.pid().await,
        container.status().await.started_at,
    );

    let mut place = Some(daemon.stop().await.0);
    for _ in 0..3 {
        let next = Daemon::start(place.take().unwrap()).await;
        let container = Made::adopted(&next, &id, &log);
        assert_eq!(
            (container.pid().await, container.status().await.started_at),
            (pid, started)
        );
        assert_eq!(container.sh("echo in").await, "in\n");
        place = Some(next.stop().await.0);
    }
    let last = Daemon::start(place.unwrap()).await;
    let container = Made::adopted(&last, &id, &log);
    container.stop(10).await;

    assert_eq!(container.status().await.exit_code, 7);
    let lines = container.lines();
    assert_eq!(crate::life::gap(&lines), None);
    assert_eq!(lines.last().unwrap().text, "end");
    Pod::adopted(&last, &pod_id, &config).remove().await;
}
