//! The life of a container without a pod, by the reduced API, while the daemon dies under it: the same promises, told in
//! JSON. A call that breaks with its daemon is made again, on the next one.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::container::log_lines;
use crate::harness::daemon::IMAGE;
use crate::lane::Lane;
use crate::life::SCRIPT;

/// One life, and what it has to complain of.
pub(crate) struct Alone<'a> {
    lane: &'a Lane,
    complaints: Vec<String>,
}

impl<'a> Alone<'a> {
    pub(crate) fn new(lane: &'a Lane) -> Alone<'a> {
        Alone {
            lane,
            complaints: vec![],
        }
    }

    /// Makes a call, again when the daemon dies under it.
    async fn call(&self, name: &str, body: &Value) -> (u16, Value) {
        loop {
            let clients = self.lane.clients().await;
            match self.lane.api.try_call(name, body).await {
                Some(answer) => return answer,
                None if self.lane.lost(&clients).await => {}
                None => return (0, json!("the connection broke, and the daemon lives")),
            }
        }
    }

    /// Makes a call that must succeed.
    async fn done(&mut self, name: &str, body: Value) -> Option<Value> {
        let (status, answer) = self.call(name, &body).await;
        if status == 200 {
            return Some(answer);
        }
        self.complaints.push(format!("{name}: {status} {answer}"));
        None
    }

    async fn status(&self, id: &str) -> (u16, Value) {
        let (code, answer) = self.call("ContainerStatus", &json!({"containerID": id})).await;
        (code, answer["status"].clone())
    }

    /// Lives a container's life to its end.
    pub(crate) async fn live(mut self) -> Vec<String> {
        let id = format!("alone-{:016x}", rand::random::<u64>());
        let of = json!({"containerID": id});
        if self.created(&id).await.is_none() || self.started(&id).await.is_none() {
            return self.complaints;
        }
        let log = self.status(&id).await.1["logPath"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        for _ in 0..2000 {
            if log_lines(Path::new(&log)).len() >= 3 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.done(
            "UpdateContainerResources",
            json!({"containerID": id, "linux": {"cpuShares": 300}}),
        )
        .await;
        let exec = json!({"containerID": id, "cmd": ["sh", "-c", "echo out; exit 3"]});
        if let Some(ran) = self.done("ExecSync", exec).await
            && (ran["ExitCode"] != 3 || ran["Stdout"] != "out\n")
        {
            self.complaints.push(format!("exec: {ran}"));
        }
        self.done("StopContainer", json!({"containerID": id, "timeout": 20}))
            .await;
        let (_, ended) = self.status(&id).await;
        let last = log_lines(Path::new(&log)).pop().map(|line| line.text);
        if ended["state"] != 2 || ended["exitCode"] != 7 || last.as_deref() != Some("end") {
            self.complaints
                .push(format!("wrong end: {ended}, last line {last:?}"));
        }
        self.done("RemoveContainer", of).await;
        let (code, left) = self.status(&id).await;
        if code != 404 {
            self.complaints
                .push(format!("removed, and still there: {code} {left}"));
        }
        if Path::new(&log).exists() {
            self.complaints.push(format!("its log is left: {log}"));
        }
        self.complaints
    }

    /// Makes the container. The id is the caller's, so that a repeat is told what its first call has done.
    async fn created(&mut self, id: &str) -> Option<()> {
        let config = json!({"image": {"image": IMAGE}, "command": ["sh", "-c", SCRIPT]});
        let (status, answer) = self
            .call("CreateContainer", &json!({"containerID": id, "config": config}))
            .await;
        let state = self.status(id).await.1["state"].clone();
        // Created is the state that is left out.
        if !matches!(status, 200 | 409) || !state.is_null() {
            self.complaints
                .push(format!("create: {status} {answer}, state {state}"));
            return None;
        }
        Some(())
    }

    /// Starts it; a repeat whose first call has done the work is refused, and the container runs.
    async fn started(&mut self, id: &str) -> Option<()> {
        let (status, answer) = self.call("StartContainer", &json!({"containerID": id})).await;
        let runs = self.status(id).await.1["state"] == 1;
        if !runs || !matches!(status, 200 | 412) {
            self.complaints
                .push(format!("start: {status} {answer}, runs: {runs}"));
            return None;
        }
        Some(())
    }
}
