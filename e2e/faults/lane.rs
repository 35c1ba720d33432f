//! A lane: one daemon at a time in one place, restarted whenever it dies, and the board of its step points.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use coracle::cri::wire::v1::runtime_service_client::RuntimeServiceClient as OwnClient;
use coracle::sys::step::board::Board;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use serde_json::{Value, json};
use tokio::sync::{Mutex, RwLock};
use tonic::transport::Channel;

use crate::harness::api::Api;
use crate::harness::daemon::{Daemon, Place};
use crate::harness::node::node;
use crate::processes;

/// How long a call goes on trying while the daemon is away.
const PATIENCE: Duration = Duration::from_secs(60);

/// One daemon at a time, in one place.
pub(crate) struct Lane {
    pub(crate) board: Board,
    pub(crate) api: Api,
    /// Counts the daemons that there were.
    generation: AtomicU64,
    /// Absent while it is being replaced.
    daemon: RwLock<Option<Arc<Daemon>>>,
    replacing: Mutex<()>,
}

/// Has the network of all lanes limit the traffic of pods that ask for it: one plugin more that may be cut off.
fn shape_traffic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let file = node().cni_conf().join("10-e2e.conflist");
        let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let plugin = json!({"type": "bandwidth", "capabilities": {"bandwidth": true}});
        config["plugins"].as_array_mut().unwrap().push(plugin);
        fs::write(file, config.to_string()).unwrap();
    });
}

/// The clients of one daemon.
#[derive(Clone)]
pub(crate) struct Clients {
    pub(crate) runtime: RuntimeServiceClient<Channel>,
    pub(crate) images: ImageServiceClient<Channel>,
    /// By our own definition, for what `k8s_cri` does not know yet.
    pub(crate) own: OwnClient<Channel>,
    generation: u64,
}

impl Lane {
    /// A lane whose daemon has the standard images.
    pub(crate) async fn open(purpose: &str) -> Lane {
        let place = Place::new(purpose);
        shape_traffic();
        let board = Board::create(&place.steps()).unwrap();
        let api = Api::on(&place);
        Lane {
            board,
            api,
            generation: AtomicU64::new(1),
            daemon: RwLock::new(Some(Arc::new(Daemon::with_images_in(place).await))),
            replacing: Mutex::new(()),
        }
    }

    /// The daemon of the moment.
    pub(crate) async fn daemon(&self) -> Arc<Daemon> {
        let waited = async {
            loop {
                if let Some(daemon) = self.daemon.read().await.clone() {
                    return daemon;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waited)
            .await
            .expect("the daemon comes back")
    }

    pub(crate) async fn clients(&self) -> Clients {
        let daemon = self.daemon().await;
        Clients {
            runtime: daemon.runtime(),
            images: daemon.images(),
            own: daemon.own_runtime(),
            generation: self.generation.load(Ordering::SeqCst),
        }
    }

    /// Tells whether the daemon that these clients speak to is gone, or going.
    pub(crate) async fn lost(&self, clients: &Clients) -> bool {
        // The connection breaks a moment before the kernel has finished with the process.
        for _ in 0..100 {
            if self.generation.load(Ordering::SeqCst) != clients.generation {
                return true;
            }
            match &*self.daemon.read().await {
                Some(daemon) if !processes::is_dead(daemon.pid()) => {}
                _ => return true,
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    }

    /// Kills the daemon, lets go of whoever is held at a step, and starts the next daemon.
    pub(crate) async fn replace_daemon(&self) {
        self.replace_after(|_| {}).await;
    }

    /// As [`Lane::replace_daemon`], with something to be done while there is none.
    pub(crate) async fn replace_after(&self, between: impl FnOnce(&Place)) {
        let _one_at_a_time = self.replacing.lock().await;
        let old = self.daemon.write().await.take().expect("only this takes it");
        processes::slay(old.pid());
        while !processes::is_dead(old.pid()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.board.release();
        self.restart(old, between).await;
    }

    /// Starts a daemon in the place of a dead one.
    async fn restart(&self, old: Arc<Daemon>, between: impl FnOnce(&Place)) {
        let mut old = old;
        // Tests that look something up hold it for a moment.
        let old = loop {
            match Arc::try_unwrap(old) {
                Ok(daemon) => break daemon,
                Err(shared) => old = shared,
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        let place = old.kill().await;
        between(&place);
        let next = Daemon::start(place).await;
        self.generation.fetch_add(1, Ordering::SeqCst);
        *self.daemon.write().await = Some(Arc::new(next));
    }
}
