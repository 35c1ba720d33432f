//! Daemons under test: the built binary, each on directories and a socket of its own.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::future::Future;
use std::path::PathBuf;
use std::process::{ExitStatus, Output, Stdio};

use coracle::cri::client;
use coracle::cri::wire::v1 as wire;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{ImageFsInfoRequest, ImageSpec, PullImageRequest, VersionRequest};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::process::Child;
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use tonic::transport::Channel;

use super::image::{Recipe, TestImage};
use super::node::node;
pub(crate) use super::place::Place;
use super::registry::Registry;
use super::{endpoint, eventually};

/// Most bytes of a message, as the kubelet's client has it.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// [`image_name`] on a daemon of ours.
pub(crate) const IMAGE: &str = "registry.example/e2e/busybox:1";

/// The repositories of [`image_name`] and [`rich_image_name`].
const REPOSITORIES: [&str; 2] = ["e2e/busybox", "e2e/rich"];

/// The image that most tests use: busybox, `/suid-id`, users `root`, `app` and `nobody`.
pub(crate) fn image_name() -> String {
    standard_image(REPOSITORIES[0])
}

/// Runs as user `app` by name, in `/work`, declares volume `/data` with content of its own.
pub(crate) fn rich_image_name() -> String {
    standard_image(REPOSITORIES[1])
}

/// Ours have it from an archive; what is not ours pulls it.
fn standard_image(repository: &str) -> String {
    let registry = REGISTRY.get().map(|registry| registry.host.as_str());
    format!("{}/{repository}:1", registry.unwrap_or("registry.example"))
}

/// Where a runtime that is not ours has the standard images from.
static REGISTRY: OnceCell<Registry> = OnceCell::const_new();

/// A running daemon. Dropping it kills the process; its containers run on.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// None: it is not ours.
    process: Option<Child>,
    pub(crate) place: Place,
    channel: Channel,
}

/// The daemon that tests share which leave no trace but their own pods.
pub(crate) async fn shared() -> &'static Daemon {
    static SHARED: OnceCell<Daemon> = OnceCell::const_new();
    SHARED.get_or_init(|| Daemon::common("shared")).await
}

/// A daemon for one test at a time: those that compare what the whole daemon has before and after.
pub(crate) async fn alone() -> MutexGuard<'static, Daemon> {
    static ALONE: OnceCell<Mutex<Daemon>> = OnceCell::const_new();
    // Before the lock: whoever waits for that one lets nobody have this.
    endpoint::alone();
    let daemon = ALONE.get_or_init(|| async { Mutex::new(Daemon::common("alone").await) });
    daemon.await.lock().await
}

impl Daemon {
    /// The daemon that tests share: one with the standard images in a new place, or what is given.
    async fn common(purpose: &str) -> Daemon {
        match endpoint::given() {
            Some(socket) => Daemon::given(socket).await,
            None => Daemon::with_images(purpose).await,
        }
    }

    /// A runtime that is not ours, with the standard images.
    async fn given(socket: PathBuf) -> Daemon {
        let channel = client::channel(&socket).await.unwrap();
        let daemon = Daemon {
            process: None,
            place: Place::given(socket),
            channel,
        };
        let registry = REGISTRY.get_or_init(async || {
            let registry = Registry::start().await;
            let images = [TestImage::build(&Recipe::default()), rich_image()];
            for (repository, image) in REPOSITORIES.into_iter().zip(images) {
                registry.push(repository, "1", &image).await;
            }
            registry
        });
        registry.await;
        for name in [image_name(), rich_image_name()] {
            let request = PullImageRequest {
                image: Some(ImageSpec {
                    image: name,
                    ..Default::default()
                }),
                ..Default::default()
            };
            daemon.images().pull_image(request).await.unwrap();
        }
        daemon
    }

    /// Starts a daemon in a new place, with the standard images in its store.
    pub(crate) async fn with_images(purpose: &str) -> Daemon {
        Daemon::with_images_in(Place::new(purpose)).await
    }

    /// Starts a daemon in a place, with the standard images in its store.
    pub(crate) async fn with_images_in(place: Place) -> Daemon {
        let daemon = Daemon::start(place).await;
        daemon
            .import(&image_name(), &TestImage::build(&Recipe::default()))
            .await;
        daemon.import(&rich_image_name(), &rich_image()).await;
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
            process: Some(process),
            place,
            channel,
        }
    }

    /// Ends the daemon at once, as a crash would.
    pub(crate) async fn kill(mut self) -> Place {
        self.process.as_mut().unwrap().kill().await.unwrap();
        self.leave()
    }

    /// Asks the daemon to end, and waits until it has.
    pub(crate) async fn stop(mut self) -> (Place, ExitStatus) {
        kill(Pid::from_raw(self.pid()), Signal::SIGTERM).unwrap();
        let status = self.process.as_mut().unwrap().wait().await.unwrap();
        (self.leave(), status)
    }

    fn leave(self) -> Place {
        self.place
    }

    /// The daemon's process.
    pub(crate) fn pid(&self) -> i32 {
        endpoint::ours("looks at the daemon's process");
        let process = self.process.as_ref().unwrap();
        i32::try_from(process.id().expect("the daemon runs")).unwrap()
    }

    /// A client of the runtime service, v1.
    pub(crate) fn runtime(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone()).max_decoding_message_size(2 * MAX_MESSAGE)
    }

    /// The same by our own definition, for fields that `k8s_cri` does not know yet.
    pub(crate) fn own_runtime(&self) -> wire::runtime_service_client::RuntimeServiceClient<Channel> {
        wire::runtime_service_client::RuntimeServiceClient::new(self.channel.clone())
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
        // A runtime that is not ours has the namespace of the tests.
        let process = self
            .process
            .as_ref()
            .map_or("self".to_owned(), |_| self.pid().to_string());
        let table = fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap();
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
