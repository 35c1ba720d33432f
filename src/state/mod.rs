//! The embedded record store: what was intended, durable before the first side effect.
//!
//! A record is a serde value under a key in the table of its type. Owners load their table once at start and keep it
//! in memory; the store is written, never read, while the daemon runs. Writes of all callers are gathered: one
//! transaction, one sync of the disk, serves everyone who waits (see [`writer`]). What a record means is its owner's
//! business.

mod base;
mod envelope;
mod room;
mod salvage;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use redb::{ReadableDatabase, ReadableTable, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::{Error, Kind};
use crate::sys::planted;
use base::Base;
pub use base::Trouble;
use salvage::{Table, Tables};
use writer::{Write, Writer};

/// A value that is kept under a key.
pub trait Record: Serialize + DeserializeOwned + Send + 'static {
    /// Name of the table. A new incompatible shape gets a new name and reads the old one once.
    const TABLE: &'static str;
}

/// Where records that this version cannot read are kept, under `table/key`.
const QUARANTINE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("quarantine");

/// What went wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process has the store open.
    #[error("store {0} is in use by another process")]
    InUse(PathBuf),
    /// The store cannot be opened.
    #[error("cannot open store {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: redb::Error,
    },
    /// A record cannot be turned into bytes.
    #[error("cannot encode record {key} of {table}")]
    Encode {
        /// Its table.
        table: &'static str,
        /// Its key.
        key: String,
        /// Why.
        source: serde_json::Error,
    },
    /// Records cannot be read.
    #[error("cannot read table {table}")]
    Read {
        /// The table.
        table: &'static str,
        /// Why.
        source: redb::Error,
    },
    /// A transaction failed; nothing of it was written.
    #[error("cannot write to store {path}: {trouble}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        trouble: Trouble,
    },
    /// The store was closed while a caller waited.
    #[error("store is closed")]
    Closed,
}

impl StateError {
    /// What it means to a caller.
    pub fn kind(&self) -> Kind {
        match self {
            StateError::InUse(_) => Kind::FailedPrecondition,
            StateError::Closed => Kind::Unavailable,
            StateError::Write { trouble, .. } if trouble.full => Kind::ResourceExhausted,
            _ => Kind::Internal,
        }
    }
}

impl From<StateError> for Error {
    fn from(error: StateError) -> Error {
        Error::new(error.kind(), "record store").because(error)
    }
}

/// Every record of a type, as a look beside its owner finds them.
#[derive(Debug)]
pub struct Peek<T> {
    /// Those that can be read, by key.
    pub records: Vec<(String, T)>,
    /// Keys of those that cannot, in quarantine or on their way there. What they own is owned.
    pub unreadable: Vec<String>,
}

/// An open store. Clones share it; the last one to go closes it.
#[derive(Clone, Debug)]
pub struct Store {
    base: Arc<Base>,
    writer: Arc<Writer>,
    opened: Arc<Found>,
    quarantined: Arc<AtomicUsize>,
}

/// What the look through the whole file found when it was opened, until a table's owner takes or changes it: nothing is read
/// twice.
#[derive(Debug)]
struct Found(Mutex<Tables>);

impl Found {
    fn take(&self, table: &str) -> Option<Table> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(table)
    }

    fn forget(&self, table: &str) {
        drop(self.take(table));
    }
}

impl Store {
    /// Opens the store at `path`, and makes it first if need be. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StateError::InUse`] when another process has it open.
    pub fn open(path: &Path) -> Result<Store, StateError> {
        let (base, found) = Base::open(path)?;
        let base = Arc::new(base);
        let writer = Writer::new(Arc::clone(&base)).map_err(|error| StateError::Open {
            path: path.to_owned(),
            source: error.into(),
        })?;
        let store = Store {
            writer: Arc::new(writer),
            base,
            opened: Arc::new(Found(Mutex::new(found))),
            quarantined: Arc::default(),
        };
        let count = store.set_aside()?.len();
        store.opened.forget("quarantine");
        store.quarantined.store(count, Ordering::Relaxed);
        Ok(store)
    }

    /// Damaged files of the store that were set aside and are still there. From memory, unless there are any.
    pub fn damaged(&self) -> Vec<PathBuf> {
        let mut damaged = self.base.damaged();
        damaged.retain(|path| path.exists());
        damaged
    }

    /// Why nothing, or nothing new, can be written now. From memory: it is found out by writing, and looked after until it
    /// is over.
    pub fn trouble(&self) -> Option<Trouble> {
        self.base.trouble().borrow().clone()
    }

    /// Returns when there is no trouble.
    pub async fn untroubled(&self) {
        // The sender is in `self`, so it cannot be gone.
        let _ = self.base.trouble().wait_for(Option::is_none).await;
    }

    /// How many records are in quarantine. From memory.
    pub fn quarantined(&self) -> usize {
        self.quarantined.load(Ordering::Relaxed)
    }

    /// Reads every record of a type. One that cannot be parsed is moved to quarantine, with a log line; it never
    /// stops the caller, and is never deleted.
    ///
    /// # Errors
    /// [`StateError::Read`] when the disk, not a record, is at fault.
    pub fn load<T: Record>(&self) -> Result<Vec<(String, T)>, StateError> {
        Ok(self.take::<T>()?.records)
    }

    /// As [`Store::load`], and tells of what cannot be read, now and at earlier starts.
    ///
    /// # Errors
    /// [`StateError::Read`].
    pub fn take<T: Record>(&self) -> Result<Peek<T>, StateError> {
        let mut good = vec![];
        let mut bad = vec![];
        let found = match self.opened.take(T::TABLE) {
            Some(found) => found.into_iter().collect(),
            None => self.raw::<T>()?,
        };
        let mut unreadable = self.quarantine_of::<T>()?;
        for (key, bytes) in found {
            match decode::<T>(&key, &bytes) {
                Ok(record) => good.push((key, record)),
                Err(error) => {
                    tracing::error!(
                        table = T::TABLE,
                        key,
                        error,
                        "record cannot be read, moved to quarantine"
                    );
                    bad.push((key, bytes));
                }
            }
        }
        if !bad.is_empty() {
            // It stays where it is otherwise, and is met again at the next start.
            if let Err(error) = self.quarantine(T::TABLE, &bad) {
                tracing::error!(table = T::TABLE, %error, "records that cannot be read are not moved");
                self.base.forget();
            }
            self.quarantined.fetch_add(bad.len(), Ordering::Relaxed);
            unreadable.extend(bad.into_iter().map(|(key, _)| key));
        }
        Ok(Peek {
            records: good,
            unreadable,
        })
    }

    /// Reads every record of a type and moves none: a look beside the owner. Blocks.
    ///
    /// # Errors
    /// [`StateError::Read`] when the disk, not a record, is at fault.
    pub fn peek<T: Record>(&self) -> Result<Peek<T>, StateError> {
        let mut peek = Peek {
            records: vec![],
            unreadable: vec![],
        };
        for (key, bytes) in self.raw::<T>()? {
            match decode::<T>(&key, &bytes) {
                Ok(record) => peek.records.push((key, record)),
                Err(_) => peek.unreadable.push(key),
            }
        }
        // After the records: what an owner moves meanwhile is met in one of the two, or in both.
        peek.unreadable.extend(self.quarantine_of::<T>()?);
        Ok(peek)
    }

    /// Keys of a type's records in quarantine.
    fn quarantine_of<T: Record>(&self) -> Result<Vec<String>, StateError> {
        let aside = self.set_aside()?;
        let own = |name: &String| name.strip_prefix(T::TABLE)?.strip_prefix('/').map(str::to_owned);
        Ok(aside.iter().filter_map(own).collect())
    }

    /// The records in quarantine, as `table/key`. Blocks.
    ///
    /// # Errors
    /// [`StateError::Read`].
    pub fn set_aside(&self) -> Result<Vec<String>, StateError> {
        self.table(QUARANTINE)
            .map(|records| records.into_iter().map(|(name, _)| name).collect())
            .map_err(|source| StateError::Read {
                table: "quarantine",
                source,
            })
    }

    /// Writes a record. It is on disk when this returns.
    ///
    /// Cancel safety: the write happens or not, whole.
    ///
    /// # Errors
    /// [`StateError::Write`]: nothing was written.
    pub async fn put<T: Record>(&self, key: &str, record: &T) -> Result<(), StateError> {
        self.opened.forget(T::TABLE);
        let bytes = serde_json::to_vec(record).map_err(|source| StateError::Encode {
            table: T::TABLE,
            key: key.to_owned(),
            source,
        })?;
        self.writer
            .write(Write {
                table: T::TABLE,
                key: key.to_owned(),
                value: Some(envelope::seal(T::TABLE, key, &bytes)),
            })
            .await
    }

    /// Removes a record; an absent one is fine. It is gone from disk when this returns.
    ///
    /// Cancel safety: the removal happens or not.
    ///
    /// # Errors
    /// [`StateError::Write`]: nothing was removed.
    pub async fn remove<T: Record>(&self, key: &str) -> Result<(), StateError> {
        self.opened.forget(T::TABLE);
        self.writer
            .write(Write {
                table: T::TABLE,
                key: key.to_owned(),
                value: None,
            })
            .await
    }

    /// Takes no more writes, and returns when those under way are on disk.
    pub async fn close(&self) {
        self.writer.close().await;
    }

    fn raw<T: Record>(&self) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        self.table(TableDefinition::new(T::TABLE))
            .map_err(|source| StateError::Read {
                table: T::TABLE,
                source,
            })
    }

    fn table(
        &self,
        definition: TableDefinition<'_, &str, &[u8]>,
    ) -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
        self.base.with(|database| {
            let read = database.begin_read()?;
            let table = match read.open_table(definition) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(vec![]),
                Err(other) => return Err(other.into()),
            };
            let mut records = vec![];
            for entry in table.iter()? {
                let (key, value) = entry?;
                records.push((key.value().to_owned(), value.value().to_owned()));
            }
            Ok(records)
        })
    }

    fn quarantine(&self, from: &'static str, records: &[(String, Vec<u8>)]) -> Result<(), redb::Error> {
        self.base.with(|database| {
            let write = database.begin_write()?;
            {
                let mut table = write.open_table(TableDefinition::<&str, &[u8]>::new(from))?;
                let mut kept = write.open_table(QUARANTINE)?;
                for (key, bytes) in records {
                    if planted("quarantine") {
                        table.remove(key.as_str())?;
                        continue;
                    }
                    kept.insert(format!("{from}/{key}").as_str(), bytes.as_slice())?;
                    table.remove(key.as_str())?;
                }
            }
            Ok(write.commit()?)
        })
    }
}

/// Reads a record: whole, under its own key, and of this version's shape.
fn decode<T: Record>(key: &str, bytes: &[u8]) -> Result<T, String> {
    let payload = envelope::open(T::TABLE, key, bytes).ok_or("its checksum does not match")?;
    serde_json::from_slice(payload).map_err(|error| error.to_string())
}
