//! An in-memory implementation of the model's traits, for tests of what is built on them and for examples.
//!
//! It runs nothing: a started container runs until it is stopped, or told to exit with [`Fake::exit`]; a command
//! echoes itself, and an attached caller hears what it says. States, repeats and errors are as the traits document them.

mod events;
mod images;
mod stats;
mod streams;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::attach::AttachRequest;
use super::config::ContainerConfig;
use super::container::{
    Container, ContainerFilter, ContainerState, ContainerStatus, ContainerStatusRequest,
    ContainerStatusResponse, ContainerUser, CreateContainerRequest, CreateContainerResponse,
    ListContainersRequest, ListContainersResponse, RemoveContainerRequest, ReopenContainerLogRequest,
    StartContainerRequest, StopContainerRequest, UpdateContainerResourcesRequest,
};
use super::error::{Error, Kind, Result};
use super::events::{Change, Observer};
use super::exec::{ExecRequest, ExecResponse};
use super::image::Image;
use super::runtime::{
    RUNTIME_READY, RuntimeCondition, StatusRequest, StatusResponse, VersionRequest, VersionResponse,
};
use super::service::RuntimeService;

/// Containers and images that exist in memory only.
#[derive(Debug, Default)]
pub struct Fake {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    containers: BTreeMap<String, Entry>,
    images: BTreeMap<String, Image>,
    /// What a registry would have: pulled by name.
    registry: BTreeMap<String, Image>,
    failures: BTreeMap<&'static str, Kind>,
    observer: Option<Arc<dyn Observer>>,
    made: u64,
    clock: i64,
}

#[derive(Debug)]
struct Entry {
    config: ContainerConfig,
    status: ContainerStatus,
}

impl Fake {
    /// Makes a fake without containers, which can pull the named images.
    pub fn with_images<'a>(names: impl IntoIterator<Item = &'a str>) -> Fake {
        let fake = Fake::default();
        for name in names {
            fake.publish(name);
        }
        fake
    }

    /// Adds an image that can be pulled.
    pub fn publish(&self, name: &str) {
        let mut state = self.lock();
        let number = state.registry.len() + 1;
        let image = Image {
            id: format!("sha256:{number:064x}"),
            repo_tags: vec![name.to_owned()],
            size: 1000,
            ..Image::default()
        };
        state.registry.insert(name.to_owned(), image);
    }

    /// Lets a call fail from now on, by its name as in `stop_container`; `None` lets it work again.
    pub fn fail(&self, call: &'static str, kind: Option<Kind>) {
        match kind {
            Some(kind) => self.lock().failures.insert(call, kind),
            None => self.lock().failures.remove(call),
        };
    }

    /// Ends a running container with an exit code.
    pub fn exit(&self, id: &str, code: i32) {
        let mut state = self.lock();
        if state.containers.contains_key(id) {
            state.end(id, code);
        }
    }

    /// The configuration a container was made with.
    pub fn config(&self, id: &str) -> Option<ContainerConfig> {
        self.lock().containers.get(id).map(|entry| entry.config.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic happens under this lock")
    }

    /// Enters a call, unless it is told to fail.
    fn enter(&self, call: &'static str) -> Result<MutexGuard<'_, State>> {
        let state = self.lock();
        match state.failures.get(call) {
            Some(kind) => Err(Error::new(*kind, format!("{call} fails as told"))),
            None => Ok(state),
        }
    }
}

impl State {
    fn tick(&mut self) -> i64 {
        self.clock += 1;
        self.clock
    }

    /// The full id that an id, or the unique beginning of one, stands for.
    fn resolve(&self, id: &str) -> Result<Option<String>> {
        if id.is_empty() {
            return Err(Error::invalid("container_id is empty"));
        }
        if self.containers.contains_key(id) {
            return Ok(Some(id.to_owned()));
        }
        let mut matches = self.containers.keys().filter(|known| known.starts_with(id));
        match (matches.next(), matches.next()) {
            (Some(_), Some(_)) => Err(Error::invalid(format!("container_id {id} begins several ids"))),
            (only, _) => Ok(only.cloned()),
        }
    }

    fn get(&mut self, id: &str) -> Result<&mut Entry> {
        let unknown = || Error::not_found(format!("no container {id}"));
        let id = self.resolve(id)?.ok_or_else(unknown)?;
        Ok(self
            .containers
            .get_mut(&id)
            .expect("the id was resolved under the same lock"))
    }

    fn image(&self, name: &str) -> Option<&Image> {
        let named = |image: &&Image| image.id == name || image.repo_tags.iter().any(|tag| tag == name);
        self.images.values().find(named)
    }
}

impl Entry {
    fn matches(&self, filter: &ContainerFilter) -> bool {
        let has = |own: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>| {
            wanted.iter().all(|(key, value)| own.get(key) == Some(value))
        };
        filter.state.is_none_or(|value| value.state == self.status.state)
            && has(&self.status.labels, &filter.label_selector)
            && has(&self.status.tags, &filter.tag_selector)
    }

    fn item(&self) -> Container {
        let status = self.status.clone();
        Container {
            id: status.id,
            metadata: status.metadata,
            image: status.image,
            image_ref: status.image_ref,
            state: status.state,
            created_at: status.created_at,
            labels: status.labels,
            image_id: status.image_id,
            annotations: status.annotations,
            tags: status.tags,
        }
    }
}

impl RuntimeService for Fake {
    async fn version(&self, request: VersionRequest) -> Result<VersionResponse> {
        drop(self.enter("version")?);
        Ok(VersionResponse {
            version: request.version,
            runtime_name: "fake".to_owned(),
            runtime_version: "0.1.0".to_owned(),
            runtime_api_version: "v1".to_owned(),
        })
    }

    async fn create_container(&self, request: CreateContainerRequest) -> Result<CreateContainerResponse> {
        let mut state = self.enter("create_container")?;
        let config = request
            .config
            .ok_or_else(|| Error::invalid("config is missing"))?;
        let named = config.image.clone().unwrap_or_default();
        let unknown = || Error::not_found(format!("no image {}", named.image));
        let image_id = state.image(&named.image).ok_or_else(unknown)?.id.clone();
        state.made += 1;
        let id = match request.container_id.is_empty() {
            true => format!("{:064x}", state.made),
            false => request.container_id,
        };
        if state.containers.contains_key(&id) {
            return Err(Error::new(Kind::AlreadyExists, format!("container {id} exists")));
        }
        let created_at = state.tick();
        let status = status(&id, &config, image_id, created_at);
        state.containers.insert(id.clone(), Entry { config, status });
        state.tell(&id, Change::Created);
        Ok(CreateContainerResponse { container_id: id })
    }

    async fn start_container(&self, request: StartContainerRequest) -> Result<()> {
        let mut state = self.enter("start_container")?;
        let (now, pid) = (state.tick(), 1000 + u32::try_from(state.made).unwrap_or_default());
        let entry = state.get(&request.container_id)?;
        if entry.status.state != ContainerState::Created {
            return Err(Error::precondition(format!(
                "container {} is not created",
                entry.status.id
            )));
        }
        entry.status.state = ContainerState::Running;
        entry.status.started_at = now;
        entry.status.pid = Some(pid);
        let id = entry.status.id.clone();
        state.tell(&id, Change::Started);
        Ok(())
    }

    async fn stop_container(&self, request: StopContainerRequest) -> Result<()> {
        let mut state = self.enter("stop_container")?;
        if let Some(id) = state.resolve(&request.container_id)? {
            let code = if request.timeout > 0 { 143 } else { 137 };
            state.end(&id, code);
        }
        Ok(())
    }

    async fn remove_container(&self, request: RemoveContainerRequest) -> Result<()> {
        let mut state = self.enter("remove_container")?;
        if let Some(id) = state.resolve(&request.container_id)? {
            state.remove(&id);
        }
        Ok(())
    }

    async fn list_containers(&self, request: ListContainersRequest) -> Result<ListContainersResponse> {
        let state = self.enter("list_containers")?;
        let containers = state.matching(&request.filter.unwrap_or_default());
        Ok(ListContainersResponse {
            containers: containers.into_iter().map(Entry::item).collect(),
        })
    }

    async fn container_status(&self, request: ContainerStatusRequest) -> Result<ContainerStatusResponse> {
        let mut state = self.enter("container_status")?;
        let status = state.get(&request.container_id)?.status.clone();
        let info = match request.verbose {
            true => [("info".to_owned(), "{}".to_owned())].into(),
            false => BTreeMap::new(),
        };
        Ok(ContainerStatusResponse {
            status: Some(status),
            info,
        })
    }

    async fn exec_sync(&self, request: ExecRequest) -> Result<ExecResponse> {
        self.run_command(request).await
    }

    async fn attach(&self, request: AttachRequest) -> Result<()> {
        self.join_in(request).await
    }

    async fn status(&self, _: StatusRequest) -> Result<StatusResponse> {
        drop(self.enter("status")?);
        Ok(StatusResponse {
            conditions: vec![RuntimeCondition {
                kind: RUNTIME_READY.to_owned(),
                status: true,
                ..RuntimeCondition::default()
            }],
            info: BTreeMap::new(),
        })
    }

    async fn update_container_resources(&self, request: UpdateContainerResourcesRequest) -> Result<()> {
        let mut state = self.enter("update_container_resources")?;
        let entry = state.get(&request.container_id)?;
        if matches!(
            entry.status.state,
            ContainerState::Exited | ContainerState::Unknown
        ) {
            return Err(Error::precondition(format!(
                "container {} has ended",
                entry.status.id
            )));
        }
        entry.status.resources = request.linux.or(entry.status.resources.take());
        Ok(())
    }

    async fn reopen_container_log(&self, request: ReopenContainerLogRequest) -> Result<()> {
        let mut state = self.enter("reopen_container_log")?;
        match state.get(&request.container_id)?.status.state {
            ContainerState::Running => Ok(()),
            _ => Err(Error::precondition("the container does not run")),
        }
    }
}

impl State {
    fn matching(&self, filter: &ContainerFilter) -> Vec<&Entry> {
        let chosen = match filter.id.as_str() {
            "" => None,
            id => match self.resolve(id) {
                Ok(Some(id)) => Some(id),
                _ => return vec![],
            },
        };
        let chosen = |entry: &&Entry| chosen.as_ref().is_none_or(|id| *id == entry.status.id);
        let entries = self.containers.values().filter(chosen);
        entries.filter(|entry| entry.matches(filter)).collect()
    }
}

fn status(id: &str, config: &ContainerConfig, image_id: String, created_at: i64) -> ContainerStatus {
    let log_path = match config.log_path.is_empty() {
        true => String::new(),
        false => format!("{}/{}", config.log_directory, config.log_path),
    };
    ContainerStatus {
        id: id.to_owned(),
        metadata: config.metadata.clone(),
        created_at,
        image: config.image.clone(),
        image_ref: image_id.clone(),
        image_id,
        labels: config.labels.clone(),
        mounts: config.mounts.clone(),
        log_path,
        annotations: config.annotations.clone(),
        tags: config.tags.clone(),
        user: Some(ContainerUser::default()),
        resources: config.linux.as_ref().and_then(|linux| linux.resources.clone()),
        tty: config.tty,
        stdin: config.stdin,
        stop_signal: match config.stop_signal.is_empty() {
            true => "SIGTERM".to_owned(),
            false => config.stop_signal.clone(),
        },
        ..ContainerStatus::default()
    }
}
