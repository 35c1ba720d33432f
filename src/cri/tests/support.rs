//! A node for tests: the adapter, what it stands on, and what can be seen and broken of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::requests::{container, create_request, pod, run_request};

use crate::cri::sandbox::Record;
use crate::cri::wire::v1::{self, runtime_service_server::RuntimeService as _};
use crate::cri::{AttachRequest, Handlers, Held, Network, PinRequest, Pinner, Runtime, Settings};
use crate::model::fake::Fake;
use crate::model::{Error, ImageService as _, ImageSpec, PullImageRequest, Result};
use crate::state::Store;
use crate::streaming::Urls;
use crate::sys::cgroup::Driver;
use crate::sys::selinux::Selinux;

/// An image that every node has.
pub(super) const IMAGE: &str = "registry.example/busybox:1";

pub(super) type Adapter = Runtime<Fake, Fake, FakePinner, FakeNetwork>;

/// What the kernel and the network would hold.
#[derive(Debug, Default)]
pub(super) struct World {
    state: Mutex<WorldState>,
    /// Attaching takes a permit, or detaching, when it is told to wait for one.
    pub(super) permits: Semaphore0,
    /// Has a permit for each successful detaching.
    pub(super) detached: Semaphore0,
    /// Has a permit for each successful collecting.
    pub(super) collected: Semaphore0,
}

#[derive(Debug, Default)]
pub(super) struct WorldState {
    pub(super) pinned: BTreeSet<PathBuf>,
    /// Directories where of all pins there is only that of the network.
    pub(super) networks: BTreeSet<PathBuf>,
    pub(super) attached: BTreeSet<String>,
    pub(super) failing: BTreeSet<&'static str>,
    pub(super) calls: Vec<&'static str>,
    pub(super) requests: Vec<PinRequest>,
    pub(super) ranges: Vec<String>,
    pub(super) valid: BTreeSet<String>,
    pub(super) conf_dirs: Vec<Option<PathBuf>>,
    pub(super) annotations: Vec<BTreeMap<String, String>>,
    pub(super) waiting: bool,
    pub(super) detaching_waits: bool,
    /// What the next daemon finds on the node.
    pub(super) selinux: Selinux,
}

/// A semaphore that begins empty.
#[derive(Debug)]
pub(super) struct Semaphore0(pub(super) Semaphore);

impl Default for Semaphore0 {
    fn default() -> Self {
        Semaphore0(Semaphore::new(0))
    }
}

impl World {
    pub(super) fn lock(&self) -> MutexGuard<'_, WorldState> {
        self.state.lock().unwrap()
    }

    /// Lets a step fail, by name, until it is told to work.
    pub(super) fn fail(&self, step: &'static str, fails: bool) {
        let mut state = self.lock();
        match fails {
            true => state.failing.insert(step),
            false => state.failing.remove(step),
        };
    }

    fn enter(&self, step: &'static str) -> Result<MutexGuard<'_, WorldState>> {
        let mut state = self.lock();
        state.calls.push(step);
        match state.failing.contains(step) {
            true => Err(Error::internal(format!("{step} fails as told"))),
            false => Ok(state),
        }
    }
}

#[derive(Debug)]
pub(super) struct FakePinner(Arc<World>);

impl Pinner for FakePinner {
    async fn pin(&self, request: PinRequest) -> Result<()> {
        // Half done even when it fails, as the real one may be.
        self.0.lock().pinned.insert(request.dir.clone());
        self.0.enter("pin")?.requests.push(request);
        Ok(())
    }

    async fn release(&self, dir: PathBuf, but: &'static [&'static str]) -> Result<()> {
        let mut state = self.0.enter("release")?;
        state.pinned.remove(&dir);
        state.networks.remove(&dir);
        if but == ["net"] {
            state.networks.insert(dir);
        }
        Ok(())
    }

    async fn hold(&self, all: Vec<Held>) -> Vec<bool> {
        let pinned = &self.0.lock().pinned;
        all.iter()
            .map(|held| held.dir.exists() && pinned.contains(&held.dir))
            .collect()
    }

    async fn user_namespaces(&self) -> std::result::Result<(), String> {
        match self.0.lock().failing.contains("user_namespaces") {
            true => Err("the kernel is too old".to_owned()),
            false => Ok(()),
        }
    }
}

#[derive(Debug)]
pub(super) struct FakeNetwork(Arc<World>);

impl Network for FakeNetwork {
    async fn attach(&self, request: AttachRequest) -> Result<Vec<IpAddr>> {
        self.0.lock().attached.insert(request.id.clone());
        if self.0.lock().waiting {
            self.0.permits.0.acquire().await.unwrap().forget();
        }
        let mut state = self.0.enter("attach")?;
        state.conf_dirs.push(request.conf_dir);
        state.annotations.push(request.annotations);
        drop(state);
        Ok(vec!["10.1.0.2".parse().unwrap(), "fd00::2".parse().unwrap()])
    }

    async fn detach(&self, id: &str, _: Option<&Path>) -> Result<()> {
        if self.0.lock().detaching_waits {
            self.0.permits.0.acquire().await.unwrap().forget();
        }
        self.0.enter("detach")?.attached.remove(id);
        self.0.detached.0.add_permits(1);
        Ok(())
    }

    async fn recorded(&self) -> Result<BTreeSet<String>> {
        Ok(self.0.lock().attached.clone())
    }

    async fn collect(&self, valid: impl Fn() -> BTreeSet<String> + Send + Sync) -> Result<()> {
        let valid = valid();
        self.0.enter("collect")?.valid = valid;
        self.0.collected.0.add_permits(1);
        Ok(())
    }

    fn ready(&self, conf_dir: Option<&Path>) -> std::result::Result<(), String> {
        if let Some(dir) = conf_dir {
            return Err(format!("no network configuration in {}", dir.display()));
        }
        match self.0.lock().failing.contains("ready") {
            true => Err("no network configuration in /etc/cni/net.d".to_owned()),
            false => Ok(()),
        }
    }

    async fn settled(&self) {}

    async fn update_ranges(&self, ranges: Vec<String>) -> Result<()> {
        self.0.enter("update_ranges")?.ranges = ranges;
        Ok(())
    }
}

pub(super) struct TestNode {
    pub(super) adapter: Adapter,
    pub(super) fake: Arc<Fake>,
    pub(super) world: Arc<World>,
    pub(super) store: Store,
    pub(super) dir: tempfile::TempDir,
}

impl TestNode {
    pub(super) async fn new() -> TestNode {
        TestNode::driven_by(Driver::Cgroupfs).await
    }

    pub(super) async fn driven_by(driver: Driver) -> TestNode {
        let fake = Arc::new(Fake::with_images([IMAGE]));
        let image = Some(ImageSpec::named(IMAGE));
        fake.pull_image(PullImageRequest { image, auth: None })
            .await
            .unwrap();
        TestNode::open(tempfile::tempdir().unwrap(), fake, Arc::default(), driver).await
    }

    async fn open(
        dir: tempfile::TempDir,
        fake: Arc<Fake>,
        world: Arc<World>,
        cgroup_driver: Driver,
    ) -> TestNode {
        let store = Store::open(&dir.path().join("db")).unwrap();
        let settings = Settings {
            state_dir: dir.path().to_owned(),
            run_dir: dir.path().join("run"),
            cgroup_driver,
            urls: Urls::new("http://127.0.0.1:1".to_owned()),
            handlers: Handlers::new("coracle", BTreeMap::new()),
            selinux: world.lock().selinux.clone(),
        };
        let (pinner, network) = (FakePinner(Arc::clone(&world)), FakeNetwork(Arc::clone(&world)));
        let opened = Runtime::open(
            Arc::clone(&fake),
            Arc::clone(&fake),
            pinner,
            network,
            store.clone(),
            settings,
        );
        TestNode {
            adapter: opened.await.unwrap(),
            fake,
            world,
            store,
            dir,
        }
    }

    /// Ends the daemon and starts it again; what it stands on stays.
    pub(super) async fn restart(self) -> TestNode {
        let TestNode {
            adapter,
            fake,
            world,
            store,
            dir,
        } = self;
        adapter.drain().await;
        store.close().await;
        drop((adapter, store));
        TestNode::open(dir, fake, world, Driver::Cgroupfs).await
    }

    pub(super) async fn run_pod(&self, name: &str) -> String {
        let request = run_request(pod(name));
        let answer = self.adapter.run_pod_sandbox(request).await.unwrap();
        answer.into_inner().pod_sandbox_id
    }

    pub(super) async fn create(&self, pod: &str, name: &str) -> String {
        let answer = self
            .adapter
            .create_container(create_request(pod, container(name)))
            .await
            .unwrap();
        answer.into_inner().container_id
    }

    pub(super) async fn running(&self, pod: &str, name: &str) -> String {
        let container_id = self.create(pod, name).await;
        let request = v1::StartContainerRequest {
            container_id: container_id.clone(),
        };
        self.adapter.start_container(Request::new(request)).await.unwrap();
        container_id
    }

    pub(super) async fn stop_pod(
        &self,
        id: &str,
    ) -> std::result::Result<Response<v1::StopPodSandboxResponse>, Status> {
        let pod_sandbox_id = id.to_owned();
        let request = v1::StopPodSandboxRequest { pod_sandbox_id };
        self.adapter.stop_pod_sandbox(Request::new(request)).await
    }

    pub(super) async fn update_pod(
        &self,
        id: &str,
        overhead: Option<v1::LinuxContainerResources>,
        resources: Option<v1::LinuxContainerResources>,
    ) -> std::result::Result<Response<v1::UpdatePodSandboxResourcesResponse>, Status> {
        let request = v1::UpdatePodSandboxResourcesRequest {
            pod_sandbox_id: id.to_owned(),
            overhead,
            resources,
        };
        self.adapter
            .update_pod_sandbox_resources(Request::new(request))
            .await
    }

    pub(super) async fn remove_pod(
        &self,
        id: &str,
    ) -> std::result::Result<Response<v1::RemovePodSandboxResponse>, Status> {
        let pod_sandbox_id = id.to_owned();
        let request = v1::RemovePodSandboxRequest { pod_sandbox_id };
        self.adapter.remove_pod_sandbox(Request::new(request)).await
    }

    pub(super) async fn pods(&self, filter: v1::PodSandboxFilter) -> Vec<v1::PodSandbox> {
        let request = v1::ListPodSandboxRequest { filter: Some(filter) };
        let answer = self
            .adapter
            .list_pod_sandbox(Request::new(request))
            .await
            .unwrap();
        answer.into_inner().decoded().unwrap()
    }

    pub(super) async fn pod_status(&self, id: &str) -> v1::PodSandboxStatusResponse {
        let request = v1::PodSandboxStatusRequest {
            pod_sandbox_id: id.to_owned(),
            verbose: true,
        };
        let answer = self
            .adapter
            .pod_sandbox_status(Request::new(request))
            .await
            .unwrap();
        answer.into_inner()
    }

    pub(super) async fn status(&self, id: &str) -> v1::ContainerStatus {
        let request = v1::ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: false,
        };
        let answer = self
            .adapter
            .container_status(Request::new(request))
            .await
            .unwrap();
        answer.into_inner().status.unwrap()
    }

    pub(super) async fn containers(&self, filter: v1::ContainerFilter) -> Vec<v1::Container> {
        let request = v1::ListContainersRequest { filter: Some(filter) };
        let answer = self.adapter.list_containers(Request::new(request)).await.unwrap();
        answer.into_inner().decoded().unwrap()
    }

    /// Waits until nothing is owed to the network.
    pub(super) async fn debts_paid(&self) {
        while !self.adapter.sandboxes.debts().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Everything that a refused call must leave as it was.
    pub(super) async fn traces(&self) -> Traces {
        let sandboxes = self.dir.path().join("run/sandboxes");
        let listed = self.containers(v1::ContainerFilter::default()).await;
        let directories = std::fs::read_dir(sandboxes).map(|entries| {
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.collect()
        });
        let world = self.world.lock();
        Traces {
            records: self.store.load::<Record>().unwrap().len(),
            pinned: world.pinned.clone(),
            attached: world.attached.clone(),
            directories: directories.unwrap_or_default(),
            containers: listed.into_iter().map(|c| (c.id, c.state)).collect(),
        }
    }
}

#[derive(Debug, PartialEq)]
pub(super) struct Traces {
    pub(super) records: usize,
    pub(super) pinned: BTreeSet<PathBuf>,
    pub(super) attached: BTreeSet<String>,
    pub(super) directories: BTreeSet<String>,
    pub(super) containers: BTreeMap<String, i32>,
}
