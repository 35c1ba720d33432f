//! The life of a pod with one container, from run to removal, as a kubelet drives it; and that of images. What is
//! promised to callers is checked on the way: a complaint is a line.

use std::path::PathBuf;

use coracle::cri::wire::v1 as ours;
use k8s_cri::v1;
use prost::Message as _;
use tonic::{Code, Status};

use crate::caller::Caller;
use crate::fate::{Fate, Victim};
use crate::harness::container::{LogLine, log_lines};
use crate::harness::daemon::rich_image_name;
use crate::harness::pod::{self, Pod, namespaces, security};
use crate::lane::Lane;
use crate::names::Names;

/// Kinds of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A PID namespace for the container alone.
    Plain,
    /// A user namespace, a PID namespace that the pod shares, an image with a volume and a user.
    Shared,
}

impl Kind {
    /// Seconds that its container gets to end when it is stopped: one kind is killed at once.
    fn patience(self) -> i64 {
        match self {
            Kind::Plain => 20,
            Kind::Shared => 0,
        }
    }
}

/// Counts for ever; ends with code 7 and a last word when asked to.
pub(crate) const SCRIPT: &str =
    "trap 'echo end; exit 7' TERM USR1; i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done";

/// One life, and what it has to complain of.
pub(crate) struct Life<'a> {
    caller: Caller<'a>,
    fate: &'a Fate,
    errors: usize,
    complaints: Vec<String>,
}

/// A container of a life.
struct Attempt {
    id: String,
    log: PathBuf,
}

impl<'a> Life<'a> {
    pub(crate) fn new(lane: &'a Lane, fate: &'a Fate) -> Life<'a> {
        Life {
            caller: Caller::new(lane),
            fate,
            errors: 0,
            complaints: vec![],
        }
    }

    fn complain(&mut self, text: impl Into<String>) {
        self.complaints.push(text.into());
    }

    /// An error that the fate accounts for lets the caller go on; any other one is a complaint.
    fn accept(&mut self, what: &str, status: &Status) {
        let text = status.message();
        if text.contains("exists") || text.contains("reserved") {
            self.complain(format!("{what}: not joined: {text}"));
        }
        self.errors += 1;
        if self.errors > self.fate.errors() {
            self.complain(format!("{what}: {:?}: {text}", status.code()));
        }
    }

    /// A call that must succeed, at most on its third try.
    async fn until_done<T>(
        &mut self,
        what: &str,
        mut call: impl AsyncFnMut(&mut Caller<'a>) -> Result<T, Status>,
    ) -> Option<T> {
        for _ in 0..3 {
            match call(&mut self.caller).await {
                Ok(answer) => return Some(answer),
                Err(status) => self.accept(what, &status),
            }
        }
        self.complain(format!("{what}: does not succeed"));
        None
    }

    /// Lives a pod's life to its end.
    pub(crate) async fn pod(mut self, kind: Kind, names: &Names) -> Vec<String> {
        let config = self.pod_config(kind).await;
        let Some(pod) = self.until_done("run", async |c| c.run_pod(&config).await).await else {
            return self.complaints;
        };
        let volume = match kind {
            Kind::Plain => rich_image_name(),
            Kind::Shared => names.mounted.clone(),
        };
        if let Some(attempt) = self.running(&pod, &config, (kind, &volume)).await {
            self.resize(&pod).await;
            self.use_it(&attempt).await;
            let id = attempt.id.clone();
            let patience = kind.patience();
            self.until_done("stop", async |c| c.stop(&id, patience).await)
                .await;
            self.judge(&attempt, Some(patience)).await;
            self.until_done("remove", async |c| c.remove(&id).await).await;
            match self.caller.status(&id).await {
                Err(status) if status.code() == Code::NotFound => {}
                other => self.complain(format!("removed, and still there: {other:?}")),
            }
        }
        self.until_done("stop pod", async |c| c.stop_pod(&pod).await)
            .await;
        self.until_done("remove pod", async |c| c.remove_pod(&pod).await)
            .await;
        self.complaints
    }

    async fn pod_config(&mut self, kind: Kind) -> v1::PodSandboxConfig {
        let daemon = self.caller.lane.daemon().await;
        let mut config = pod::config(&daemon, "life");
        self.fate
            .set_cgroup(&config.linux.as_ref().unwrap().cgroup_parent);
        for direction in ["ingress", "egress"] {
            let name = format!("kubernetes.io/{direction}-bandwidth");
            config.annotations.insert(name, "100M".to_owned());
        }
        if kind == Kind::Shared {
            let mapping = v1::IdMapping {
                host_id: 300_000,
                container_id: 0,
                length: 65_536,
            };
            let options = namespaces(&mut config);
            options.pid = v1::NamespaceMode::Pod.into();
            options.userns_options = Some(v1::UserNamespace {
                mode: v1::NamespaceMode::Pod.into(),
                uids: vec![mapping],
                gids: vec![mapping],
            });
        }
        config
    }

    /// Brings a container to run, with as many attempts as the fate makes necessary.
    async fn running(
        &mut self,
        pod: &str,
        config: &v1::PodSandboxConfig,
        what: (Kind, &str),
    ) -> Option<Attempt> {
        for number in 0..6 {
            let attempt = self.created(pod, config, what, number).await?;
            for _ in 0..3 {
                let started = self.caller.start(&attempt.id).await;
                let state = self.state(&attempt).await?;
                match (started, state) {
                    (_, v1::ContainerState::ContainerRunning) => return Some(attempt),
                    // To be seen: a repeat whose first call has done the work.
                    (Err(status), v1::ContainerState::ContainerCreated) => self.accept("start", &status),
                    (Ok(()), v1::ContainerState::ContainerCreated) => {
                        self.complain("started, and still only created");
                    }
                    _ => break,
                }
            }
            if !self.fate.may_end_it() {
                self.complain("the container has ended without a reason");
            }
            self.judge(&attempt, None).await;
            let id = attempt.id.clone();
            self.until_done("remove ended", async |c| c.remove(&id).await)
                .await;
        }
        self.complain("no attempt comes to run");
        None
    }

    async fn state(&mut self, attempt: &Attempt) -> Option<v1::ContainerState> {
        match self.caller.status(&attempt.id).await {
            Ok(status) => Some(status.state()),
            Err(status) => {
                self.complain(format!("the container is lost: {}", status.message()));
                None
            }
        }
    }

    async fn created(
        &mut self,
        pod: &str,
        config: &v1::PodSandboxConfig,
        (kind, volume): (Kind, &str),
        number: u32,
    ) -> Option<Attempt> {
        let daemon = self.caller.lane.daemon().await;
        let pod = Pod::adopted(&daemon, pod, config);
        let mut container = pod.container_config("main", &["sh", "-c", SCRIPT]);
        container.metadata.as_mut().unwrap().attempt = number;
        container.log_path = format!("main-{number}.log");
        if kind == Kind::Shared {
            container.image.as_mut().unwrap().image = rich_image_name();
            let options = security(&mut container).namespace_options.as_mut().unwrap();
            options.pid = v1::NamespaceMode::Pod.into();
        }
        let log = pod.logs().join(&container.log_path);
        let mut request = own_request(&pod.create_request(container));
        request.config.as_mut().unwrap().mounts = vec![image_mount(volume)];
        drop(daemon);
        let id = self
            .until_done("create", async |c| c.create(&request).await)
            .await?;
        Some(Attempt { id, log })
    }

    /// Changes what the pod as a whole may use, which is nobody's business but the daemon's.
    async fn resize(&mut self, pod: &str) {
        for bytes in [64 << 20, 65 << 20] {
            self.until_done("update pod", async |c| c.update_pod(pod, bytes).await)
                .await;
        }
        match self.caller.pod_memory(pod).await {
            Ok(Some(kept)) if kept == 65 << 20 => {}
            other => self.complain(format!("what the pod may use: {other:?}")),
        }
    }

    /// Waits for output, updates, execs; whatever has ended the container meanwhile ends this.
    async fn use_it(&mut self, attempt: &Attempt) {
        for _ in 0..2000 {
            if log_lines(&attempt.log).len() >= 3 || self.has_ended(attempt).await {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let id = attempt.id.clone();
        for shares in [300, 400] {
            if let Err(status) = self.caller.update(&id, shares).await {
                self.refused_to_ended("update", &status);
            }
        }
        let script = "[ -e /volume/weights ] || [ -e /volume/bin/sh ] && echo out; exit 3";
        let ran = self.caller.exec(&id, &["sh", "-c", script]).await;
        match ran {
            Ok(ran) if ran.exit_code == 3 && ran.stdout == b"out\n" => {}
            // Killed with its container or its worker.
            Ok(ran) if self.fate.may_end_it() && ran.exit_code == 137 => {}
            Ok(ran) => self.complain(format!("exec: {ran:?}")),
            Err(status) => self.refused_to_ended("exec", &status),
        }
    }

    async fn has_ended(&mut self, attempt: &Attempt) -> bool {
        !matches!(
            self.state(attempt).await,
            Some(v1::ContainerState::ContainerRunning | v1::ContainerState::ContainerCreated)
        )
    }

    fn refused_to_ended(&mut self, what: &str, status: &Status) {
        if !self.fate.may_end_it() {
            self.complain(format!("{what}: {:?}: {}", status.code(), status.message()));
        }
    }

    /// The end must be the true one, and the log whole. A container that was stopped was given so many seconds.
    async fn judge(&mut self, attempt: &Attempt, stopped: Option<i64>) {
        let status = match self.caller.status(&attempt.id).await {
            Ok(status) => status,
            Err(status) => return self.complain(format!("the container is lost: {}", status.message())),
        };
        let lines = log_lines(&attempt.log);
        let told = (status.state(), status.exit_code, status.reason.as_str());
        let by_itself = (v1::ContainerState::ContainerExited, 7, "Error");
        let right = match told {
            told if stopped.is_some() && told == by_itself => {
                lines.last().is_some_and(|line| line.text == "end")
            }
            (v1::ContainerState::ContainerExited, 137, "Error") => {
                stopped == Some(0) || self.fate.struck_one_of(&[Victim::Container, Victim::Worker])
            }
            // Killed before its command was executed.
            (v1::ContainerState::ContainerExited, 128 | 137, "StartError") => {
                self.fate.struck_one_of(&[Victim::Container, Victim::Worker]) && lines.is_empty()
            }
            (v1::ContainerState::ContainerUnknown, 255, "Unknown") => {
                self.fate.struck_one_of(&[Victim::Monitor, Victim::Worker]) && !status.message.is_empty()
            }
            _ => false,
        };
        if !right {
            let last = lines.last().map(|line| line.text.clone());
            self.complain(format!(
                "wrong end: {told:?} {:?}, last line {last:?}",
                status.message
            ));
        }
        if let Some(gap) = gap(&lines) {
            self.complain(gap);
        }
    }

    /// Pulls, imports and removes images.
    pub(crate) async fn images(mut self, names: &Names) -> Vec<String> {
        for name in [&names.pulled, &names.artifact] {
            self.until_done("pull", async |c| c.pull(name).await).await;
            self.expect_image(name).await;
            self.until_done("remove image", async |c| c.remove_image(name).await)
                .await;
        }
        for _ in 0..50 {
            let daemon = self.caller.lane.daemon().await;
            let archive = names.archive.to_str().unwrap();
            let output = daemon
                .cli(&["image", "import", "--name", &names.imported, archive])
                .await;
            drop(daemon);
            if output.status.success() {
                break;
            }
            // It broke with the daemon, and says so: a person tries again.
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            if !text.contains("transport error")
                && !text.contains("(Unavailable)")
                && !text.contains("connect")
            {
                self.complain(format!("import: {text}"));
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let name = names.imported.clone();
        self.expect_image(&name).await;
        self.until_done("remove image", async |c| c.remove_image(&name).await)
            .await;
        self.complaints
    }

    async fn expect_image(&mut self, name: &str) {
        let images = self.caller.images().await;
        if !images
            .iter()
            .any(|image| image.repo_tags.iter().any(|tag| tag == name))
        {
            self.complain(format!("image {name} is lost"));
        }
    }
}

/// Fields that `k8s_cri` does not know yet are set in our own definition.
fn own_request(request: &v1::CreateContainerRequest) -> ours::CreateContainerRequest {
    ours::CreateContainerRequest::decode(request.encode_to_vec().as_slice()).unwrap()
}

fn image_mount(image: &str) -> ours::Mount {
    ours::Mount {
        container_path: "/volume".to_owned(),
        readonly: true,
        image: Some(ours::ImageSpec {
            image: image.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Says what is wrong with a log that counts from 1.
pub(crate) fn gap(lines: &[LogLine]) -> Option<String> {
    let numbers = lines.iter().filter(|line| line.text != "end");
    let wrong = numbers
        .zip(1usize..)
        .find(|(line, wanted)| line.text != wanted.to_string() || line.tag != "F");
    wrong.map(|(line, wanted)| format!("log: line {wanted} is {line:?}"))
}
