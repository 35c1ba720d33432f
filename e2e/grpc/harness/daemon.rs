//! Daemons under test: the built binary, each on directories and a socket of its own.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

use coracle::cri::client;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{ImageFsInfoRequest, VersionRequest};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::process::Child;
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use tonic::transport::Channel;

use super::eventually;
use super::image::{Recipe, TestImage};
use super::node::{cni_plugins, node};

/// Most bytes of a message, as the kubelet's client has it.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// The image that most tests use: busybox, `/suid-id`, users `root`, `app` and `nobody`.
pub(crate) const IMAGE: &str = "registry.example/e2e/busybox:1";
/// Runs as user `app` by name, in `/work`, declares volume `/data` with content of its own.
pub(crate) const RICH_IMAGE: &str = "registry.example/e2e/rich:1";

/// Where a daemon keeps what: outlives the process, so that another can take it over.
#[derive(Debug)]
pub(crate) struct Place {
    /// Name of its files on the node.
    name: String,
    /// Directory of its sockets and of what a reboot takes.
    pub(crate) run: PathBuf,
    /// The socket it serves on.
    pub(crate) socket: PathBuf,
    /// Directory of its records and images.
    pub(crate) state: PathBuf,
    /// Directory of `hosts.toml` files.
    pub(crate) registries: PathBuf,
}

impl Place {
    /// A place no daemon was in.
    pub(crate) fn new(purpose: &str) -> Place {
        let node = node();
        let name = format!("{purpose}-{}", node.number());
        let place = Place {
            run: node.run.join(&name),
            socket: node.run.join(format!("{name}.sock")),
            state: node.disk.join(&name),
            registries: node.directory.join(format!("{name}.certs.d")),
            name,
        };
        fs::create_dir_all(&place.registries).unwrap();
        fs::create_dir_all(place.logs()).unwrap();
        let config = place.config_text();
        fs::write(place.config(), config).unwrap();
        place
    }

    /// As [`Place::new`], with a network that no other daemon of the node shares: what is left over in it is this one's.
    pub(crate) fn with_own_network(purpose: &str) -> Place {
        let place = Place::new(purpose);
        let network = place.network();
        node().write_network(&network, &network);
        let shared = json!(node().cni_conf()).to_string();
        let own = json!(node().network_conf(&network)).to_string();
        let config = place.config_text().replace(&shared, &own);
        fs::write(place.config(), config).unwrap();
        place
    }

    /// The name of this daemon's own network, and of its bridge.
    pub(crate) fn network(&self) -> String {
        let number = self.name.rsplit('-').next().unwrap_or_default();
        format!("own{number}")
    }

    /// Sets keys beyond those that every place has.
    pub(crate) fn set(&self, toml: &str) {
        let directory = self.drop_ins();
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join(format!("{}.toml", node().number()));
        fs::write(file, toml).unwrap();
    }

    /// Takes back what [`Place::set`] set.
    pub(crate) fn unset(&self) {
        fs::remove_dir_all(self.drop_ins()).unwrap();
    }

    /// The directory of files beside the main one, by which keys are set.
    pub(crate) fn drop_ins(&self) -> PathBuf {
        self.config().with_extension("toml.d")
    }

    /// Parent of the cgroups of this daemon's pods.
    pub(crate) fn cgroup_parent(&self) -> String {
        format!("{}/{}", node().cgroup_parent(), self.name)
    }

    /// The cgroup of this daemon's zygote and monitors.
    pub(crate) fn monitor_cgroup(&self) -> String {
        format!("{}/monitors-{}", node().cgroup_parent(), self.name)
    }

    /// Directory for containers' logs.
    pub(crate) fn logs(&self) -> PathBuf {
        node().disk.join(format!("{}-logs", self.name))
    }

    /// Directory of descriptions of devices; missing until a test makes it.
    pub(crate) fn descriptions(&self) -> PathBuf {
        node().directory.join(format!("{}.cdi", self.name))
    }

    fn config(&self) -> PathBuf {
        node().directory.join(format!("{}.toml", self.name))
    }

    /// Where the board of its step points is, if a test makes one.
    pub(crate) fn steps(&self) -> PathBuf {
        node().directory.join(format!("{}.steps", self.name))
    }

    /// What the daemon says, at level debug.
    pub(crate) fn log(&self) -> PathBuf {
        node().directory.join(format!("{}.log", self.name))
    }

    fn config_text(&self) -> String {
        let quoted = |path: &Path| json!(path).to_string();
        format!(
            "state_dir = {state}\nrun_dir = {run}\nsocket = {socket}\ncgroup_parent = {cgroup}\n\
             monitor_cgroup = {monitors}\n\n\
             [log]\nlevel = \"debug\"\n\n\
             [cni]\nconf_dir = {conf}\nbin_dirs = [{bin}]\n\n\
             [cdi]\nspec_dirs = [{descriptions}]\n\n\
             [registry]\nconfig_dir = {registries}\n",
            state = quoted(&self.state),
            run = quoted(&self.run),
            socket = quoted(&self.socket),
            cgroup = quoted(Path::new(&self.cgroup_parent())),
            monitors = quoted(Path::new(&self.monitor_cgroup())),
            conf = quoted(&node().cni_conf()),
            bin = quoted(&cni_plugins()),
            descriptions = quoted(&self.descriptions()),
            registries = quoted(&self.registries),
        )
    }

    /// Runs an audit, by the daemon that is here or at rest.
    pub(crate) async fn audit(&self, options: &[&str]) -> Audit {
        let arguments = [&["check", "--json"], options].concat();
        let mut command = tokio::process::Command::from(self.command(&arguments));
        let output = command.stdin(Stdio::null()).output().await.unwrap();
        let answer = serde_json::from_slice(&output.stdout);
        let answer: serde_json::Value =
            answer.unwrap_or_else(|_| panic!("the check could not be made: {output:?}"));
        Audit {
            code: output.status.code().unwrap(),
            findings: answer["findings"].as_array().unwrap().clone(),
        }
    }

    /// Asserts that an audit finds nothing out of place.
    pub(crate) async fn check(&self) {
        let audit = self.audit(&[]).await;
        assert_eq!(audit.code, 0, "{:#?}", audit.findings);
    }

    /// The program, set up to use this place.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
        command.arg("--config").arg(self.config()).args(arguments);
        // Read by builds with step points, when a test has made it.
        command.env(coracle::sys::step::VARIABLE, self.steps());
        command
    }
}

/// What `coracle check --json` answered.
#[derive(Debug)]
pub(crate) struct Audit {
    pub(crate) code: i32,
    pub(crate) findings: Vec<serde_json::Value>,
}

impl Audit {
    /// The findings of a class, as what they are about, with whether each was repaired.
    pub(crate) fn of(&self, class: &str) -> Vec<(String, bool)> {
        let of_class = self.findings.iter().filter(|finding| finding["class"] == class);
        let told = |finding: &serde_json::Value| {
            let thing = finding["thing"].as_str().unwrap().to_owned();
            (thing, finding["repaired"].as_bool().unwrap())
        };
        of_class.map(told).collect()
    }
}

/// A running daemon. Dropping it kills the process; its containers run on.
#[derive(Debug)]
pub(crate) struct Daemon {
    process: Child,
    pub(crate) place: Place,
    channel: Channel,
}

/// The daemon that tests share which leave no trace but their own pods.
pub(crate) async fn shared() -> &'static Daemon {
    static SHARED: OnceCell<Daemon> = OnceCell::const_new();
    SHARED.get_or_init(|| Daemon::with_images("shared")).await
}

/// A daemon for one test at a time: those that compare what the whole daemon has before and after.
pub(crate) async fn alone() -> MutexGuard<'static, Daemon> {
    static ALONE: OnceCell<Mutex<Daemon>> = OnceCell::const_new();
    let daemon = ALONE.get_or_init(|| async { Mutex::new(Daemon::with_images("alone").await) });
    daemon.await.lock().await
}

impl Daemon {
    /// Starts a daemon in a new place, with the standard images in its store.
    pub(crate) async fn with_images(purpose: &str) -> Daemon {
        Daemon::with_images_in(Place::new(purpose)).await
    }

    /// Starts a daemon in a place, with the standard images in its store.
    pub(crate) async fn with_images_in(place: Place) -> Daemon {
        let daemon = Daemon::start(place).await;
        daemon.import(IMAGE, &TestImage::build(&Recipe::default())).await;
        daemon.import(RICH_IMAGE, &rich_image()).await;
        daemon
    }

    /// Starts a daemon and waits until it answers.
    pub(crate) async fn start(place: Place) -> Daemon {
        Daemon::start_by(place, &[]).await
    }

    /// Starts a daemon by way of a command that executes what follows it.
    pub(crate) async fn start_by(place: Place, starter: &[&str]) -> Daemon {
        let log = File::options()
            .create(true)
            .append(true)
            .open(place.log())
            .unwrap();
        let serve = place.command(&["serve"]);
        let whole: Vec<&OsStr> = starter
            .iter()
            .map(OsStr::new)
            .chain([serve.get_program()])
            .chain(serve.get_args())
            .collect();
        let mut command = tokio::process::Command::new(whole[0]);
        command.env(coracle::sys::step::VARIABLE, place.steps());
        command
            .args(&whole[1..])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let channel = eventually("the daemon answers", async || {
            if let Some(status) = process.try_wait().unwrap() {
                let log = fs::read_to_string(place.log()).unwrap_or_default();
                panic!("the daemon ended with {status}; its log:\n{log}");
            }
            let channel = client::channel(&place.socket).await.ok()?;
            let mut images = ImageServiceClient::new(channel.clone());
            images.image_fs_info(ImageFsInfoRequest {}).await.ok()?;
            let mut runtime = RuntimeServiceClient::new(channel.clone());
            runtime
                .version(VersionRequest::default())
                .await
                .ok()
                .map(|_| channel)
        })
        .await;
        Daemon {
            process,
            place,
            channel,
        }
    }

    /// Ends the daemon at once, as a crash would.
    pub(crate) async fn kill(mut self) -> Place {
        self.process.kill().await.unwrap();
        self.leave()
    }

    /// Asks the daemon to end, and waits until it has.
    pub(crate) async fn stop(mut self) -> (Place, ExitStatus) {
        kill(Pid::from_raw(self.pid()), Signal::SIGTERM).unwrap();
        let status = self.process.wait().await.unwrap();
        (self.leave(), status)
    }

    fn leave(self) -> Place {
        self.place
    }

    /// The daemon's process.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.process.id().expect("the daemon runs")).unwrap()
    }

    /// A client of the runtime service, v1.
    pub(crate) fn runtime(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone()).max_decoding_message_size(2 * MAX_MESSAGE)
    }

    /// A client of the image service, v1.
    pub(crate) fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// The connection, for any other client.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Brings an image into the daemon's store by the command line.
    pub(crate) async fn import(&self, name: &str, image: &TestImage) {
        let archive = tempfile::NamedTempFile::new_in(&node().disk).unwrap();
        image.write_archive(archive.path());
        let path = archive.path().to_str().unwrap();
        let output = self.cli(&["image", "import", "--name", name, path]).await;
        assert!(output.status.success(), "import of {name}: {output:?}");
    }

    /// Runs the command line against this daemon.
    pub(crate) async fn cli(&self, arguments: &[&str]) -> Output {
        let mut command = tokio::process::Command::from(self.place.command(arguments));
        command.stdin(Stdio::null()).output().await.unwrap()
    }

    /// Has the daemon compare everything with what should be, and asserts that nothing is out of place.
    pub(crate) async fn check(&self) {
        self.place.check().await;
    }

    /// The lines of the node's mount table that are about this daemon's directories.
    pub(crate) fn mounts(&self) -> Vec<String> {
        let table = fs::read_to_string(format!("/proc/{}/mountinfo", self.pid())).unwrap();
        let own = |line: &&str| line.contains(&format!("/{}", self.place.name));
        table.lines().filter(own).map(str::to_owned).collect()
    }
}

fn rich_image() -> TestImage {
    TestImage::build(&Recipe {
        config: json!({
            "User": "app", "WorkingDir": "/work", "Volumes": {"/data": {}}, "Env": ["PATH=/usr/bin:/bin", "FROM_IMAGE=yes"],
            "Entrypoint": ["echo"], "Cmd": ["from", "the", "image"], "StopSignal": "SIGUSR1",
        }),
        files: vec![
            ("data/", 1000, 0o750, Vec::new()),
            ("data/seed", 1000, 0o640, b"from the image\n".to_vec()),
        ],
        ..Recipe::default()
    })
}

/// Awaits a call that must fail, and returns its status.
pub(crate) async fn refused<T: std::fmt::Debug>(
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> tonic::Status {
    match call.await {
        Ok(answer) => panic!("this succeeded: {:?}", answer.into_inner()),
        Err(status) => status,
    }
}
