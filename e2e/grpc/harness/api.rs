//! The reduced API of a daemon under test: calls by HTTP on its socket, as any client makes them.

use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::daemon::{Daemon, Place, image_name};

/// The socket of a place's API.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) socket: PathBuf,
}

impl Api {
    /// Has the daemon that is to be in a place serve the API.
    pub(crate) fn on(place: &Place) -> Api {
        let socket = place.socket.with_extension("api");
        place.set(&format!("[api]\nsocket = {}\n", json!(socket)));
        Api { socket }
    }

    /// A daemon that serves the API, in a new place, with the standard images.
    pub(crate) async fn serving(purpose: &str) -> (Daemon, Api) {
        let place = Place::with_own_network(purpose);
        let api = Api::on(&place);
        (Daemon::with_images_in(place).await, api)
    }

    /// Sends a request, and returns the status, the head and the body of the answer.
    pub(crate) async fn send(&self, line: &str, kind: Option<&str>, body: &[u8]) -> (u16, String, String) {
        let answer = self.try_send(line, kind, body).await;
        answer.unwrap_or_else(|| panic!("no answer to {line}"))
    }

    /// As [`Api::send`]; `None`: the daemon died.
    async fn try_send(&self, line: &str, kind: Option<&str>, body: &[u8]) -> Option<(u16, String, String)> {
        let mut stream = UnixStream::connect(&self.socket).await.ok()?;
        let kind = kind
            .map(|kind| format!("Content-Type: {kind}\r\n"))
            .unwrap_or_default();
        let head = format!(
            "{line} HTTP/1.1\r\nHost: api\r\nConnection: close\r\n{kind}Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.ok()?;
        // One that refuses what is coming may have closed before it was all sent.
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().unwrap();
        Some((status, head.to_owned(), body.to_owned()))
    }

    /// Makes a call of a daemon that may die; `None`: it did.
    pub(crate) async fn try_call(&self, name: &str, body: &Value) -> Option<(u16, Value)> {
        let line = format!("POST /v1/{name}");
        let body = body.to_string();
        let (status, _, answer) = self
            .try_send(&line, Some("application/json"), body.as_bytes())
            .await?;
        Some((status, serde_json::from_str(&answer).ok()?))
    }

    /// Makes a call; `name` may have a query behind it.
    pub(crate) async fn call(&self, name: &str, body: &Value) -> (u16, Value) {
        let line = format!("POST /v1/{name}");
        let (status, _, answer) = self
            .send(&line, Some("application/json"), body.to_string().as_bytes())
            .await;
        (
            status,
            serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{name}: {answer}")),
        )
    }

    /// Makes a call that succeeds.
    pub(crate) async fn ok(&self, name: &str, body: Value) -> Value {
        let (status, answer) = self.call(name, &body).await;
        assert_eq!(status, 200, "{name} {body}: {answer}");
        answer
    }

    /// Makes a call that is refused, and returns the status and the text.
    pub(crate) async fn refused(&self, name: &str, body: Value) -> (u16, String) {
        let (status, answer) = self.call(name, &body).await;
        assert_ne!(status, 200, "{name} {body}: {answer}");
        (status, answer["message"].as_str().unwrap().to_owned())
    }

    /// Makes a container that runs a script.
    pub(crate) async fn create(&self, name: &str, script: &str) -> String {
        let config = json!({
            "metadata": {"name": name}, "image": {"image": image_name()}, "command": ["sh", "-c", script],
        });
        let answer = self.ok("CreateContainer", json!({"config": config})).await;
        answer["containerID"].as_str().unwrap().to_owned()
    }

    /// Makes and starts one that idles.
    pub(crate) async fn idle(&self, name: &str) -> String {
        let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done";
        let id = self.create(name, script).await;
        self.ok("StartContainer", json!({"containerID": id})).await;
        id
    }

    /// A container's status.
    pub(crate) async fn status(&self, id: &str) -> Value {
        self.ok("ContainerStatus", json!({"containerID": id})).await["status"].clone()
    }
}
