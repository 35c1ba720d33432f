//! Networks of several directories of configurations: the main one, and further ones that callers name by their
//! directory. They share plugins, records and the gate; each has a view and a keeper of its own.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::cni::{
    AddRequest, AddResult, Attachment, DelRequest, Keeper, Network, NetworkError, Settings, Stray,
};

/// The handle to all networks of a node; clones share it.
#[derive(Clone, Debug)]
pub struct Networks {
    main: Network,
    further: Arc<Mutex<Further>>,
}

/// The networks beside the main one by their directories, and the tasks that keep all of them current.
#[derive(Debug)]
struct Further {
    main: Option<Keeper>,
    open: BTreeMap<PathBuf, (Network, Keeper)>,
}

impl Networks {
    /// Opens the networks of `settings`, the further directories among them.
    ///
    /// # Errors
    ///
    /// As [`Network::open`].
    pub async fn open(settings: Settings) -> Result<Self, NetworkError> {
        let dirs = settings.further_conf_dirs.clone();
        let (main, keeper) = Network::open(settings).await?;
        let networks = Self {
            main,
            further: Arc::new(Mutex::new(Further {
                main: Some(keeper),
                open: BTreeMap::new(),
            })),
        };
        networks.have(&dirs);
        Ok(networks)
    }

    /// Has exactly these directories beside the main one: opens what is new, lets go of what is not named. What was attached
    /// by a network that goes is detached all the same, by its record.
    pub fn have(&self, dirs: &BTreeSet<PathBuf>) {
        let mut further = self.lock();
        if further.main.is_none() {
            return;
        }
        further.open.retain(|dir, _| dirs.contains(dir));
        for dir in dirs {
            if dir != self.main.conf_dir() && !further.open.contains_key(dir) {
                further.open.insert(dir.clone(), self.main.beside(dir.clone()));
            }
        }
    }

    /// The network that is used where none is named.
    pub fn main(&self) -> &Network {
        &self.main
    }

    /// The network of a directory; of none the main one.
    ///
    /// # Errors
    ///
    /// [`NetworkError::NotConfigured`]: there is no such directory.
    pub fn of(&self, dir: Option<&Path>) -> Result<Network, NetworkError> {
        let Some(dir) = dir.filter(|dir| *dir != self.main.conf_dir()) else {
            return Ok(self.main.clone());
        };
        let further = self.lock();
        let found = further.open.get(dir).map(|(network, _)| network.clone());
        found.ok_or_else(|| NetworkError::NotConfigured {
            reason: format!("no network has its configurations in {}", dir.display()),
        })
    }

    /// The directories of all networks but the main one.
    pub fn further_dirs(&self) -> BTreeSet<PathBuf> {
        self.lock().open.keys().cloned().collect()
    }

    fn all(&self) -> Vec<Network> {
        let further = self.lock();
        let open = further.open.values().map(|(network, _)| network.clone());
        [self.main.clone()].into_iter().chain(open).collect()
    }

    /// As [`Network::add`], by the network of a directory.
    ///
    /// # Errors
    ///
    /// Those, and [`NetworkError::NotConfigured`] when there is no such directory.
    pub async fn add(&self, dir: Option<&Path>, request: &AddRequest) -> Result<AddResult, NetworkError> {
        self.of(dir)?.add(request).await
    }

    /// As [`Network::del`]: the record says by which network. Only where it cannot be read, each is asked whether it knows
    /// the network by name.
    ///
    /// # Errors
    ///
    /// As [`Network::del`].
    pub async fn del(&self, request: &DelRequest) -> Result<(), NetworkError> {
        let mut outcome = self.main.del(request).await;
        for network in self.all().iter().skip(1) {
            match outcome {
                Err(NetworkError::Cache(_)) => {}
                done => return done,
            }
            outcome = network.del(request).await;
        }
        outcome
    }

    /// As [`Network::gc`], for each network in turn.
    ///
    /// # Errors
    ///
    /// All that failed.
    pub async fn gc(&self, valid: impl Fn() -> HashSet<Attachment>) -> Result<(), NetworkError> {
        let mut errors = Vec::new();
        for network in self.all() {
            errors.extend(network.gc(&valid).await.err());
        }
        NetworkError::join(errors)
    }

    /// As [`Network::release`], by the network that has what is released.
    ///
    /// # Errors
    ///
    /// As [`Network::release`].
    pub async fn release(&self, stray: &Stray) -> Result<(), NetworkError> {
        let all = self.all();
        let owns = |network: &&Network| match stray {
            Stray::Address { network: name, .. } => network.conf().is_some_and(|conf| conf.name() == name),
            Stray::Attachment(_) | Stray::Link(_) => true,
        };
        let owner = all.iter().find(owns).unwrap_or(&self.main);
        owner.release(stray).await
    }

    /// Ends the tasks that keep the networks current, and returns when they have ended.
    pub async fn stop(&self) {
        let (main, open) = {
            let mut further = self.lock();
            (further.main.take(), std::mem::take(&mut further.open))
        };
        let keepers = main
            .into_iter()
            .chain(open.into_values().map(|(_, keeper)| keeper));
        for keeper in keepers {
            keeper.stop().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Further> {
        self.further.lock().expect("no panic happens under this lock")
    }
}
