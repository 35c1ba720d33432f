//! A host to run containers on: directories, a busybox root file system, a zygote, a cgroup; all gone in the end.

use crate::monitor::client::{CreateDescriptors, ExecOutcome, MonitorClient, MonitorError};
use crate::monitor::protocol::{
    Capabilities, CreateRequest, Created, ExecRequest, ExitRecord, LogFile, Overlay, Process,
};
use crate::sys::cgroup::Cgroup;
use crate::sys::zygote::{Zygote, ZygoteOptions};
use crate::sys::{caps, fork};
use serde_json::{Value, json};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const APPLETS: [&str; 16] = [
    "sh", "cat", "echo", "sleep", "true", "false", "ls", "grep", "mkdir", "touch", "setsid", "id", "dd",
    "kill", "mount", "readlink",
];

/// What Docker and Kubernetes give a container by default.
const DEFAULT_CAPS: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Longest that anything here may take.
pub(super) const LONG: Duration = Duration::from_secs(60);

pub(super) struct Host {
    pub(super) root: TempDir,
    pub(super) zygote: Arc<Zygote>,
    pub(super) cgroup: Cgroup,
}

impl Host {
    /// `None`: this machine cannot run containers.
    pub(super) fn new() -> Option<Host> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() || !Path::new("/bin/busybox").exists() {
            eprintln!("skipped: needs root and /bin/busybox");
            return None;
        }
        // Nobody else may reap here, and monitors of a dead zygote must not pile up elsewhere.
        fork::become_subreaper().unwrap();
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
        make_rootfs(&root.path().join("layer"));
        let name = format!(
            "/coracle-test-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let cgroup = Cgroup::new(&name).unwrap();
        let options = ZygoteOptions {
            arguments: [
                "monitor::tests::zygote_process",
                "--exact",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ]
            .map(String::from)
            .into(),
            keep: vec![root.path().to_owned()],
            cgroup: Some(format!("{name}/monitors")),
        };
        let zygote = Arc::new(Zygote::start(options).unwrap());
        Some(Host { root, zygote, cgroup })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A container that runs `args`, not created yet.
    pub(super) fn container(&self, id: &str, args: &[&str]) -> Wanted {
        let dir = self.path(id);
        for sub in ["bundle/rootfs", "upper", "work", "staging"] {
            fs::create_dir_all(dir.join(sub)).unwrap();
        }
        let request = CreateRequest {
            id: id.into(),
            bundle: dir.join("bundle"),
            state_root: self.path("state"),
            cgroup: format!("{}/{id}", self.cgroup.path()),
            process: process(args),
            log: Some(LogFile {
                directory: dir.clone(),
                path: "log".into(),
            }),
            rootfs: Some(Overlay {
                lower: vec![self.path("layer")],
                upper: Some(dir.join("upper")),
                work: Some(dir.join("work")),
                target: dir.join("bundle/rootfs"),
                options: vec![],
            }),
            staging: Some(dir.join("staging")),
            ..CreateRequest::default()
        };
        let config = config(&request.cgroup);
        Wanted {
            dir,
            request,
            config,
            descriptors: CreateDescriptors::default(),
        }
    }

    /// Creates and starts a container.
    pub(super) async fn run(&self, id: &str, args: &[&str]) -> Running {
        let running = self.container(id, args).create(self).await.unwrap();
        running.client.start().await.unwrap();
        running
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.cgroup.kill();
        let _ = self.cgroup.remove(Duration::from_secs(5));
    }
}

pub(super) struct Wanted {
    pub(super) dir: PathBuf,
    pub(super) request: CreateRequest,
    pub(super) config: Value,
    pub(super) descriptors: CreateDescriptors,
}

impl Wanted {
    pub(super) fn mount(&mut self, mount: Value) {
        self.config["mounts"].as_array_mut().unwrap().push(mount);
    }

    pub(super) fn terminal(&mut self) {
        self.request.stdio = crate::monitor::protocol::Stdio::Terminal(None);
        self.config["process"]["terminal"] = json!(true);
    }

    pub(super) async fn create(self, host: &Host) -> Result<Running, MonitorError> {
        fs::write(self.request.bundle.join("config.json"), self.config.to_string()).unwrap();
        let client = MonitorClient::spawn(&host.zygote, &self.dir).await?;
        let process = self.request.process.clone();
        let (created, terminal) = client.create(self.request, self.descriptors).await?;
        Ok(Running {
            dir: self.dir,
            client,
            created,
            terminal,
            process,
        })
    }
}

pub(super) struct Running {
    pub(super) dir: PathBuf,
    pub(super) client: MonitorClient,
    pub(super) created: Created,
    pub(super) terminal: Option<OwnedFd>,
    process: Process,
}

impl Running {
    pub(super) async fn exited(&self) -> ExitRecord {
        let mut exited = self.client.exited();
        let record = tokio::time::timeout(LONG, exited.wait_for(Option::is_some))
            .await
            .unwrap()
            .unwrap();
        record.clone().unwrap()
    }

    /// Text of each log line of a stream, with its tag.
    pub(super) fn log(&self, stream: &str) -> Vec<String> {
        let text = fs::read_to_string(self.dir.join("log")).unwrap();
        let mut lines = vec![];
        for line in text.split_terminator('\n') {
            let parts: Vec<&str> = line.splitn(3, ' ').collect();
            if parts[1] == stream {
                lines.push(parts[2].to_owned());
            }
        }
        lines
    }

    pub(super) fn request(&self, args: &[&str]) -> ExecRequest {
        let args = args.iter().map(|a| a.to_string()).collect();
        ExecRequest {
            process: Process {
                args,
                ..self.process.clone()
            },
            ..ExecRequest::default()
        }
    }

    /// Runs a shell script inside and returns what it wrote.
    pub(super) async fn sh(&self, script: &str) -> String {
        let outcome = self.exec(self.request(&["sh", "-c", script])).await.unwrap();
        assert_eq!(
            outcome.stderr,
            b"",
            "{}",
            String::from_utf8_lossy(&outcome.stderr)
        );
        String::from_utf8(outcome.stdout).unwrap()
    }

    pub(super) async fn exec(&self, request: ExecRequest) -> Result<ExecOutcome, MonitorError> {
        tokio::time::timeout(LONG, self.client.exec_collect(request))
            .await
            .unwrap()
    }

    /// Deletes the container and waits for its monitor's end, which nobody would reap once the zygote is gone.
    pub(super) async fn delete(self) {
        let monitor = self.client.state().await.unwrap().monitor_pid;
        let monitor = crate::sys::pidfd::open(monitor).unwrap();
        tokio::time::timeout(LONG, self.client.delete())
            .await
            .unwrap()
            .unwrap();
        assert!(ended(monitor).await, "the monitor has not ended");
    }
}

/// Waits for the end of a process.
pub(super) async fn ended(process: OwnedFd) -> bool {
    let wait = move || {
        let mut end = [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)];
        let limit = rustix::event::Timespec {
            tv_sec: 60,
            tv_nsec: 0,
        };
        rustix::event::poll(&mut end, Some(&limit)) == Ok(1)
    };
    tokio::task::spawn_blocking(wait).await.unwrap()
}

pub(super) fn process(args: &[&str]) -> Process {
    let default = caps::mask(DEFAULT_CAPS);
    Process {
        args: args.iter().map(|a| a.to_string()).collect(),
        env: vec!["PATH=/bin".into(), "HOME=/root".into()],
        cwd: "/".into(),
        capabilities: Capabilities {
            bounding: default,
            effective: default,
            ..Capabilities::default()
        },
        oom_score_adj: Some(500),
        ..Process::default()
    }
}

fn config(cgroup: &str) -> Value {
    let quiet = json!(["nosuid", "noexec", "nodev"]);
    let pts = json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]);
    json!({
        "ociVersion": "1.0.2",
        "process": { "terminal": false, "user": { "uid": 0, "gid": 0 }, "args": ["x"], "cwd": "/",
            "env": ["PATH=/bin", "HOME=/root"] },
        "root": { "path": "rootfs" },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc", "options": quiet },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": pts },
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [{ "type": "pid" }, { "type": "mount" }, { "type": "ipc" }, { "type": "uts" },
                { "type": "network" }, { "type": "cgroup" }],
            "resources": { "memory": { "limit": 64 << 20 } },
        },
    })
}

fn make_rootfs(root: &Path) {
    for dir in ["bin", "proc", "dev", "sys", "tmp", "etc", "root", "mnt"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        fs::hard_link(root.join("bin/busybox"), root.join("bin").join(applet)).unwrap();
    }
    let listing = Command::new("ldd").arg("/bin/busybox").output().unwrap();
    for library in String::from_utf8_lossy(&listing.stdout)
        .split_whitespace()
        .filter(|w| w.starts_with('/'))
    {
        let target = root.join(&library[1..]);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(library, target).unwrap();
    }
}
