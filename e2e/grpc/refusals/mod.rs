//! Bad input: for each call a table of requests that are missing something, empty, malformed, out of order, or about
//! what is unknown. Each is refused with the right code and a text that names the field, and changes nothing.
//!
//! Where the API has a call succeed on what is unknown (stop and remove are repeated until they do), the table says so.

mod containers;
mod create;
mod images;
mod limits;
mod pods;
mod running;
mod wire;

use std::fmt::Debug;
use std::future::Future;
use std::path::PathBuf;

use k8s_cri::v1;
use libtest_mimic::Trial;
use tokio::sync::MutexGuard;
use tonic::{Code, Response, Status};

use crate::harness::daemon::{self, Daemon};
use crate::harness::node::{cgroups_below, hierarchies};
use crate::harness::pod::Pod;
use crate::harness::{endpoint, eventually};

pub(crate) fn tests() -> Vec<Trial> {
    [
        pods::tests(),
        limits::tests(),
        create::tests(),
        containers::tests(),
        running::tests(),
        images::tests(),
        wire::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// All that a daemon has, as far as it can be told from outside.
#[derive(Debug, PartialEq)]
pub(crate) struct World {
    pods: Vec<v1::PodSandbox>,
    containers: Vec<v1::Container>,
    images: Vec<v1::Image>,
    mounts: Vec<String>,
    cgroups: Vec<PathBuf>,
}

pub(crate) async fn world(daemon: &Daemon) -> World {
    let mut runtime = daemon.runtime();
    let pods = runtime
        .list_pod_sandbox(v1::ListPodSandboxRequest::default())
        .await
        .unwrap();
    let containers = runtime
        .list_containers(v1::ListContainersRequest::default())
        .await
        .unwrap();
    let images = daemon
        .images()
        .list_images(v1::ListImagesRequest::default())
        .await
        .unwrap();
    let mut world = World {
        pods: pods.into_inner().items,
        containers: containers.into_inner().containers,
        images: images.into_inner().images,
        mounts: daemon.mounts(),
        cgroups: cgroups(daemon),
    };
    world.pods.sort_by(|a, b| a.id.cmp(&b.id));
    world.containers.sort_by(|a, b| a.id.cmp(&b.id));
    world.images.sort_by(|a, b| a.id.cmp(&b.id));
    world
}

/// Waits until the groups of ended containers are gone, which follows their end: with nothing that runs, all are.
async fn at_rest(daemon: &Daemon) {
    eventually("no cgroup is left", async || {
        cgroups(daemon).is_empty().then_some(())
    })
    .await;
}

fn cgroups(daemon: &Daemon) -> Vec<PathBuf> {
    // Those of pods are a kubelet's to make and to remove. Ours takes them along when nobody has; others need not.
    if endpoint::given().is_some() {
        return vec![];
    }
    let parent = daemon.place.cgroup_parent();
    let roots = hierarchies().into_iter();
    let mut found: Vec<PathBuf> = roots
        .flat_map(|root| cgroups_below(&root.join(parent.trim_start_matches('/'))))
        .collect();
    found.sort();
    found
}

/// A table under test: rows are asserted as they are called, and all that is wrong is told at the end.
struct Table<'a> {
    daemon: &'a Daemon,
    before: World,
    rows: usize,
    wrong: Vec<String>,
}

impl<'a> Table<'a> {
    async fn new(daemon: &'a Daemon) -> Table<'a> {
        Table {
            daemon,
            before: world(daemon).await,
            rows: 0,
            wrong: Vec::new(),
        }
    }

    /// A row that is refused with `code`, in a text that contains `names`.
    async fn refused<T: Debug>(
        &mut self,
        row: &str,
        code: Code,
        names: &str,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) {
        match call.await {
            Err(status) if status.code() == code && status.message().contains(names) => {}
            Err(status) => self.wrong.push(format!(
                "{row}: expected {code:?} naming {names:?}, not {:?}: {}",
                status.code(),
                status.message()
            )),
            Ok(answer) => self
                .wrong
                .push(format!("{row}: not refused: {:?}", answer.into_inner())),
        }
        self.unchanged(row).await;
    }

    /// A row that succeeds and changes nothing.
    async fn accepted<T: Debug>(
        &mut self,
        row: &str,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Option<T> {
        let answer = call.await;
        self.unchanged(row).await;
        match answer {
            Ok(answer) => Some(answer.into_inner()),
            Err(status) => {
                self.wrong.push(format!("{row}: refused: {status}"));
                None
            }
        }
    }

    async fn unchanged(&mut self, row: &str) {
        self.rows += 1;
        let now = world(self.daemon).await;
        if now != self.before {
            self.wrong.push(format!(
                "{row}: changed the world from {:#?} to {now:#?}",
                self.before
            ));
            self.before = now;
        }
    }

    fn finish(self) {
        assert!(self.rows >= 5, "only {} rows", self.rows);
        assert!(
            self.wrong.is_empty(),
            "{} of {} rows:\n{}",
            self.wrong.len(),
            self.rows,
            self.wrong.join("\n")
        );
    }
}

/// The daemon of these tests, for one at a time, without any pod.
pub(crate) async fn empty() -> MutexGuard<'static, Daemon> {
    let daemon = daemon::alone().await;
    let listed = daemon
        .runtime()
        .list_pod_sandbox(v1::ListPodSandboxRequest::default())
        .await
        .unwrap();
    for pod in listed
        .into_inner()
        .items
        .into_iter()
        .filter(endpoint::is_of_tests)
    {
        Pod::adopted(&daemon, &pod.id, &v1::PodSandboxConfig::default())
            .remove()
            .await;
    }
    daemon
}

/// Makes things with an id until two begin with the same character, and returns that.
async fn shared_beginning(mut make: impl AsyncFnMut(usize) -> String) -> String {
    let mut seen = Vec::new();
    // Ids are hexadecimal: the seventeenth repeats a beginning at the latest.
    for number in 0..17 {
        let beginning = make(number).await[..1].to_owned();
        if seen.contains(&beginning) {
            return beginning;
        }
        seen.push(beginning);
    }
    unreachable!("ids begin with more than sixteen characters");
}
