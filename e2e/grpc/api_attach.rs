//! Attach over the reduced API: a container's own streams as channels of a WebSocket on the API's socket.

use std::path::Path;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::net::UnixStream;

use crate::attach::ECHO;
use crate::harness::api::Api;
use crate::harness::container::log_lines;
use crate::harness::daemon::image_name;
use crate::harness::node::descriptors;
use crate::harness::pod::Pod;
use crate::harness::websocket::Session;
use crate::harness::{eventually, trials};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        clients_of_the_api_hear_and_feed_a_container,
        a_terminal_is_attached_to_with_its_size,
        what_the_api_cannot_attach_to_is_refused,
    ]
}

/// A running container with an input.
async fn listening(api: &Api, script: &str, more: Value) -> String {
    let mut config =
        json!({"image": {"image": image_name()}, "command": ["sh", "-c", script], "stdin": true});
    config
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let made = api.ok("CreateContainer", json!({"config": config})).await;
    let id = made["containerID"].as_str().unwrap().to_owned();
    api.ok("StartContainer", json!({"containerID": id})).await;
    id
}

async fn attach(api: &Api, id: &str, query: &str) -> Session<UnixStream> {
    let path = format!("/v1/Attach?containerID={id}{query}");
    let session = Session::on(&api.socket, &path).await;
    session.unwrap_or_else(|(status, text)| panic!("{path}: {status}: {text}"))
}

async fn clients_of_the_api_hear_and_feed_a_container() {
    let (daemon, api) = Api::serving("api-attach").await;
    let id = listening(
        &api,
        &format!("{ECHO}; echo over >&2; exit 3"),
        json!({"stdinOnce": true}),
    )
    .await;
    let before = descriptors(daemon.pid());

    // One that only listens, one that speaks, and one that has gone.
    let mut gone = attach(&api, &id, "").await;
    let mut deaf = attach(&api, &id, "&stdin=true&stdout=false&stderr=false").await;
    let mut heard = attach(&api, &id, "").await;
    for session in [&mut gone, &mut heard] {
        eventually("it is attached", async || {
            deaf.send(0, "ping\n").await;
            session.next().await.filter(|(channel, _)| *channel == 1)
        })
        .await;
    }
    drop(gone);
    deaf.send(0, "last word\n").await;
    heard.says(1, "got last word\n").await;
    // The end of this input is that of the container's own.
    deaf.send(255, "\0").await;
    heard.says(2, "over\n").await;
    heard.says(3, r#"{"status":"Success"}"#).await;
    assert_eq!(heard.next().await, None);
    let ended = eventually("it has ended", async || {
        Some(api.status(&id).await).filter(|status| status["state"] == 2)
    })
    .await;

    assert_eq!(ended["exitCode"], 3);
    let log = log_lines(Path::new(ended["logPath"].as_str().unwrap()));
    let lines: Vec<&str> = log.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(lines[lines.len() - 2..], ["got last word", "over"]);
    drop((deaf, heard));
    eventually("no descriptor is left", async || {
        (descriptors(daemon.pid()) <= before).then_some(())
    })
    .await;
    api.ok("RemoveContainer", json!({"containerID": id})).await;
    daemon.check().await;
}

async fn a_terminal_is_attached_to_with_its_size() {
    let (daemon, api) = Api::serving("api-attach-tty").await;
    let script = "while read x; do echo got $x; stty size; done";
    let id = listening(&api, script, json!({"tty": true})).await;
    let mut session = attach(&api, &id, "&stdin=true&tty=true").await;

    session.send(4, r#"{"Width": 91, "Height": 31}"#).await;
    session.send(0, "word\n").await;
    session.says(1, "got word\r\n").await;
    eventually("the size has arrived", async || {
        session.send(0, "again\n").await;
        let (_, said) = session.next().await.unwrap();
        said.contains("31 91\r\n").then_some(())
    })
    .await;
    session.send(255, "\0").await;
    session.says(3, r#"{"status":"Success"}"#).await;

    // A client that leaves a terminal leaves the container alone.
    assert_eq!(api.status(&id).await["state"], 1);
    daemon.check().await;
}

async fn what_the_api_cannot_attach_to_is_refused() {
    let (daemon, api) = Api::serving("api-attach-not").await;
    let created = api.create("created", "true").await;
    let idle = api.idle("idle").await;
    let pod = Pod::run(&daemon, "attach-owned").await;
    let owned = pod.idle("main").await;
    let check = async |query: &str, status: u16, text: &str| {
        let answer = Session::on(&api.socket, &format!("/v1/Attach?{query}")).await;
        let (found, said) = answer.err().unwrap_or_else(|| panic!("{query}: taken"));
        assert_eq!(found, status, "{query}: {said}");
        assert!(said.contains(text), "{query}: {said}");
    };

    check("", 400, "containerID is empty").await;
    check("containerID=nobody", 404, "nobody").await;
    check(&format!("containerID={created}"), 412, &created).await;
    check(
        &format!("containerID={idle}&cmd=sh"),
        400,
        "cmd: there is no such",
    )
    .await;
    let nothing = format!("containerID={idle}&stdout=false&stderr=false");
    check(&nothing, 400, "one of stdin, stdout and stderr").await;
    let owner = format!("belongs to the kubelet (pod sandbox {})", pod.id);
    check(&format!("containerID={}", owned.id), 412, &owner).await;
    let idle = format!("containerID={idle}");
    check(&format!("{idle}&tty=true"), 400, "has no terminal").await;
    let only_input = format!("{idle}&stdin=true&stdout=false&stderr=false");
    check(&only_input, 400, "takes none").await;
    let script = "while true; do echo tick; sleep 0.05; done";
    let telling = pod.start("telling", &["sh", "-c", script]).await;
    let mut forced = attach(&api, &telling.id, "&force=true").await;
    forced.says(1, "tick").await;
    telling.stop(0).await;
    forced.says(3, "Success").await;

    daemon.check().await;
}
