//! A container of a test: what one does with it, and its log.

use std::fs;
use std::path::{Path, PathBuf};

use k8s_cri::v1;

use super::daemon::Daemon;
use super::eventually;

/// A container, and the daemon it is on.
pub(crate) struct Made<'a> {
    pub(crate) daemon: &'a Daemon,
    pub(crate) id: String,
    /// Its log file.
    pub(crate) log: PathBuf,
}

/// One line of a log in CRI's format: `TIME STREAM TAG TEXT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogLine {
    pub(crate) time: String,
    pub(crate) stream: String,
    pub(crate) tag: String,
    pub(crate) text: String,
}

/// What an exec printed, and its exit code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

impl<'a> Made<'a> {
    /// The container of this id, on another daemon than the one that made it.
    pub(crate) fn adopted(daemon: &'a Daemon, id: &str, log: &Path) -> Made<'a> {
        Made {
            daemon,
            id: id.to_owned(),
            log: log.to_owned(),
        }
    }

    pub(crate) async fn start(&self) {
        let request = v1::StartContainerRequest {
            container_id: self.id.clone(),
        };
        self.daemon.runtime().start_container(request).await.unwrap();
    }

    /// Stops the container, giving it `seconds` to end by itself.
    pub(crate) async fn stop(&self, seconds: i64) {
        let request = v1::StopContainerRequest {
            container_id: self.id.clone(),
            timeout: seconds,
        };
        self.daemon.runtime().stop_container(request).await.unwrap();
    }

    pub(crate) async fn remove(&self) {
        let request = v1::RemoveContainerRequest {
            container_id: self.id.clone(),
        };
        self.daemon.runtime().remove_container(request).await.unwrap();
    }

    /// The status with the verbose `info`.
    pub(crate) async fn verbose_status(&self) -> v1::ContainerStatusResponse {
        let request = v1::ContainerStatusRequest {
            container_id: self.id.clone(),
            verbose: true,
        };
        self.daemon
            .runtime()
            .container_status(request)
            .await
            .unwrap()
            .into_inner()
    }

    pub(crate) async fn status(&self) -> v1::ContainerStatus {
        let request = v1::ContainerStatusRequest {
            container_id: self.id.clone(),
            verbose: false,
        };
        let answer = self.daemon.runtime().container_status(request).await.unwrap();
        answer.into_inner().status.unwrap()
    }

    /// The host's number of the container's first process.
    pub(crate) async fn pid(&self) -> i32 {
        let info = self.verbose_status().await.info;
        let info: serde_json::Value = serde_json::from_str(&info["info"]).unwrap();
        i32::try_from(info["pid"].as_i64().unwrap()).unwrap()
    }

    /// The number of its monitor: the parent of its first process.
    pub(crate) async fn monitor(&self) -> i32 {
        super::endpoint::ours("looks at a container's monitor");
        let pid = self.pid().await;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let mut lines = status.lines();
        let parent = lines.find_map(|line| line.strip_prefix("PPid:")).unwrap();
        parent.trim().parse().unwrap()
    }

    /// Waits until the container has ended.
    pub(crate) async fn exited(&self) -> v1::ContainerStatus {
        eventually("the container has exited", async || {
            let status = self.status().await;
            (status.state() == v1::ContainerState::ContainerExited).then_some(status)
        })
        .await
    }

    /// What a request to run `command` in the container looks like; 0 seconds are no limit.
    pub(crate) fn exec_request(&self, command: &[&str], seconds: i64) -> v1::ExecSyncRequest {
        v1::ExecSyncRequest {
            container_id: self.id.clone(),
            cmd: command.iter().map(|word| (*word).to_owned()).collect(),
            timeout: seconds,
        }
    }

    /// Runs a command in the container.
    pub(crate) async fn exec(&self, command: &[&str]) -> Ran {
        let request = self.exec_request(command, 0);
        let answer = self
            .daemon
            .runtime()
            .exec_sync(request)
            .await
            .unwrap()
            .into_inner();
        Ran {
            stdout: String::from_utf8(answer.stdout).unwrap(),
            stderr: String::from_utf8(answer.stderr).unwrap(),
            code: answer.exit_code,
        }
    }

    /// Runs a script that must succeed, and returns what it printed.
    pub(crate) async fn sh(&self, script: &str) -> String {
        let ran = self.exec(&["sh", "-c", script]).await;
        assert_eq!(ran.code, 0, "{script}: {ran:?}");
        ran.stdout
    }

    /// The log's complete lines.
    pub(crate) fn lines(&self) -> Vec<LogLine> {
        log_lines(&self.log)
    }

    /// What the container printed, on both streams, as the log has it.
    pub(crate) fn output(&self) -> String {
        let lines = self.lines();
        let text = |line: &LogLine| match line.tag.as_str() {
            "P" => line.text.clone(),
            _ => format!("{}\n", line.text),
        };
        lines.iter().map(text).collect()
    }

    /// Waits until the container has printed a line that contains `text`.
    pub(crate) async fn printed(&self, text: &str) {
        eventually(&format!("the log has {text:?}"), async || {
            self.output().contains(text).then_some(())
        })
        .await;
    }
}

/// The complete lines of a log file; none when there is no file.
pub(crate) fn log_lines(path: &Path) -> Vec<LogLine> {
    let Ok(bytes) = fs::read(path) else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&bytes);
    let complete = text
        .split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'));
    complete.map(log_line).collect()
}

fn log_line(line: &str) -> LogLine {
    let mut fields = line.splitn(4, ' ').map(str::to_owned);
    let mut next = || {
        fields
            .next()
            .unwrap_or_else(|| panic!("not a line of a CRI log: {line:?}"))
    };
    LogLine {
        time: next(),
        stream: next(),
        tag: next(),
        text: next(),
    }
}
