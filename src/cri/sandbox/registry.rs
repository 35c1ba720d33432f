//! The sandboxes in memory: an immutable snapshot that readers take without a lock, replaced by writers.

use std::sync::{Arc, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use rpds::{HashTrieMapSync, RedBlackTreeMapSync};
use tokio::sync::{Mutex, RwLock};

use crate::model::{Error, Group, Result};

use super::record::{Key, Phase, Record};
use crate::sys::selinux::{Held, Selinux};
use crate::sys::traffic::Counters;

/// A sandbox as it was at one moment, and the locks that belong to it for its whole life.
#[derive(Clone, Debug)]
pub(in crate::cri) struct Sandbox {
    /// Its record.
    pub(in crate::cri) record: Arc<Record>,
    /// Held shared by who makes a container in it, alone by who stops it: no container comes into being unseen.
    pub(in crate::cri) gate: Arc<RwLock<()>>,
    /// Held by who replaces the record of a sandbox that is past its making.
    pub(super) writing: Arc<Mutex<()>>,
    /// What measuring it keeps.
    pub(in crate::cri) meter: Arc<Meter>,
    /// The record as it is listed.
    written: Arc<OnceLock<Bytes>>,
    /// Its SELinux level, which is free for others when it is gone.
    _level: Option<Held>,
}

impl Sandbox {
    /// What `write` makes of the record, kept with it. There is one caller, so it is always written the same way.
    pub(in crate::cri) fn written(&self, write: fn(&Record) -> Bytes) -> Bytes {
        self.written.get_or_init(|| write(&self.record)).clone()
    }

    /// Whether somebody replaces its record at this moment.
    pub(in crate::cri) fn is_being_written(&self) -> bool {
        self.writing.try_lock().is_err()
    }
}

/// What is kept of a sandbox between two measurements. Gone when it is not ready any more.
#[derive(Debug, Default)]
pub(in crate::cri) struct Meter {
    group: OnceLock<Arc<dyn Group>>,
    traffic: OnceLock<Counters>,
    last: std::sync::Mutex<Option<(i64, u64)>>,
}

impl Meter {
    /// The sandbox's own group, found the first time.
    pub(in crate::cri) fn group(&self, find: impl FnOnce() -> Arc<dyn Group>) -> Arc<dyn Group> {
        Arc::clone(self.group.get_or_init(find))
    }

    /// The counters of the sandbox's network, once they were kept.
    pub(in crate::cri) fn traffic(&self) -> Option<&Counters> {
        self.traffic.get()
    }

    /// Keeps the counters of the sandbox's network, unless somebody else has.
    pub(in crate::cri) fn keep_traffic(&self, counters: Counters) {
        let _ = self.traffic.set(counters);
    }

    /// Keeps a reading of processor time, when and nanoseconds used until then, and returns the one before.
    pub(in crate::cri) fn exchange(&self, reading: (i64, u64)) -> Option<(i64, u64)> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.replace(reading)
    }
}

/// All sandboxes.
#[derive(Debug, Default)]
pub(in crate::cri) struct Registry {
    snapshot: ArcSwap<Snapshot>,
    selinux: Selinux,
}

/// Persistent maps: a copy with a change shares the rest.
#[derive(Clone, Debug, Default)]
struct Snapshot {
    by_id: RedBlackTreeMapSync<String, Sandbox>,
    by_key: HashTrieMapSync<Key, String>,
}

impl Registry {
    /// An empty one, on a node with this SELinux.
    pub(in crate::cri) fn new(selinux: Selinux) -> Registry {
        Registry {
            snapshot: ArcSwap::default(),
            selinux,
        }
    }

    /// The node's SELinux.
    pub(super) fn selinux(&self) -> &Selinux {
        &self.selinux
    }

    /// Puts a record in the place of the one with its id, or adds it.
    pub(super) fn put(&self, record: Record) {
        let record = Arc::new(record);
        let level = self.selinux.hold(&record.config.selinux.level);
        self.snapshot.rcu(|old| {
            let mut new = Snapshot::clone(old);
            let old = new.by_id.get(&record.id);
            let entry = Sandbox {
                record: Arc::clone(&record),
                gate: old.map(|old| Arc::clone(&old.gate)).unwrap_or_default(),
                writing: old.map(|old| Arc::clone(&old.writing)).unwrap_or_default(),
                meter: old
                    .filter(|_| record.phase == Phase::Ready)
                    .map(|old| Arc::clone(&old.meter))
                    .unwrap_or_default(),
                written: Arc::default(),
                _level: level.clone(),
            };
            new.by_id.insert_mut(record.id.clone(), entry);
            new.by_key
                .insert_mut(record.config.key.clone(), record.id.clone());
            new
        });
    }

    /// Takes a sandbox out.
    pub(super) fn remove(&self, id: &str) {
        self.snapshot.rcu(|old| {
            let mut new = Snapshot::clone(old);
            if let Some(gone) = old.by_id.get(id) {
                let key = &gone.record.config.key;
                new.by_id.remove_mut(id);
                if new.by_key.get(key).is_some_and(|holder| holder == id) {
                    new.by_key.remove_mut(key);
                }
            }
            new
        });
    }

    /// The sandbox of an identity.
    pub(super) fn by_key(&self, key: &Key) -> Option<Sandbox> {
        let snapshot = self.snapshot.load();
        snapshot.by_id.get(snapshot.by_key.get(key)?).cloned()
    }

    /// The sandbox of an id, or of the unique beginning of one.
    ///
    /// # Errors
    /// `InvalidArgument`: several ids begin so.
    pub(in crate::cri) fn find(&self, id: &str) -> Result<Option<Sandbox>> {
        let snapshot = self.snapshot.load();
        if let Some(exact) = snapshot.by_id.get(id) {
            return Ok(Some(exact.clone()));
        }
        let mut matches = snapshot
            .by_id
            .range(id.to_owned()..)
            .take_while(|(known, _)| known.starts_with(id));
        let first = matches.next().map(|(_, sandbox)| sandbox.clone());
        if matches.next().is_some() {
            return Err(Error::invalid(format!(
                "pod_sandbox_id {id} is the beginning of several ids"
            )));
        }
        Ok(first)
    }

    /// Every sandbox, by id.
    pub(super) fn all(&self) -> Vec<Sandbox> {
        self.snapshot.load().by_id.values().cloned().collect()
    }
}
