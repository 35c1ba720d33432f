//! The database as it is open now. After a failed write it takes no more until it is opened again, which happens here,
//! with all the checks of the first time.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use redb::{Database, TableDefinition};
use tokio::sync::watch;

use super::room::Room;
use super::salvage::Tables;
use super::writer::Write;
use super::{StateError, salvage};
use crate::model::is_shortage;
use crate::sys::{planted, step};

/// Why nothing, or nothing new, can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What the file system says.
    pub text: String,
    /// There is no room, rather than something broken.
    pub full: bool,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Trouble {
    fn of(error: &redb::Error) -> Trouble {
        Trouble {
            text: error.to_string(),
            full: matches!(error, redb::Error::Io(error) if is_shortage(error)),
        }
    }

    fn of_opening(error: StateError) -> Trouble {
        match error {
            StateError::Open { source, .. } => Trouble::of(&source),
            other => Trouble {
                text: other.to_string(),
                full: false,
            },
        }
    }
}

/// One change's outcome.
pub(super) type Outcome = Result<(), Trouble>;

/// The store's file.
#[derive(Debug)]
pub(super) struct Base {
    path: PathBuf,
    opened: RwLock<Option<Opened>>,
    /// Damaged files that were set aside.
    damaged: Mutex<Vec<PathBuf>>,
    trouble: watch::Sender<Option<Trouble>>,
}

#[derive(Debug)]
struct Opened {
    database: Database,
    room: Arc<Room>,
}

impl Base {
    /// Opens the file. The second value is what is in it.
    pub(super) fn open(path: &Path) -> Result<(Base, Tables), StateError> {
        let salvage::Whole {
            database,
            room,
            damaged,
            tables,
        } = salvage::open(path)?;
        let base = Base {
            path: path.to_owned(),
            opened: RwLock::new(Some(Opened { database, room })),
            damaged: Mutex::new(damaged),
            trouble: watch::Sender::new(None),
        };
        // A full disk is no reason not to start.
        let _ = base.try_again();
        Ok((base, tables))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn damaged(&self) -> Vec<PathBuf> {
        let damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        damaged.clone()
    }

    pub(super) fn trouble(&self) -> watch::Receiver<Option<Trouble>> {
        self.trouble.subscribe()
    }

    /// Works on the database.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        match &*opened {
            Some(opened) => work(&opened.database),
            None => Err(redb::Error::PreviousIo),
        }
    }

    /// Writes all in one transaction, but what is new when there is no room. One outcome a write, in their order.
    pub(super) fn commit(&self, writes: &[&Write]) -> Vec<Outcome> {
        if let Err(trouble) = self.reopened() {
            self.tell(Some(trouble.clone()));
            return writes.iter().map(|_| Err(trouble.clone())).collect();
        }
        let room = self.reserved();
        match self.with(|database| transact(database, writes, &room)) {
            Ok(outcomes) => {
                self.tell(self.reserved().err());
                outcomes
            }
            Err(error) => {
                let trouble = Trouble::of(&error);
                self.forget();
                self.tell(Some(trouble.clone()));
                writes.iter().map(|_| Err(trouble.clone())).collect()
            }
        }
    }

    /// Looks whether the trouble is over.
    pub(super) fn try_again(&self) -> Outcome {
        let outcome = self.reopened().and_then(|()| self.reserved());
        self.tell(outcome.clone().err());
        outcome
    }

    fn reserved(&self) -> Outcome {
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        let reserved = opened.as_ref().map_or(Ok(()), |opened| opened.room.reserve());
        reserved.map_err(|error| Trouble::of(&redb::Error::Io(error)))
    }

    /// Opens the file again if a write has failed.
    fn reopened(&self) -> Outcome {
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        if opened.is_some() {
            return Ok(());
        }
        let salvage::Whole {
            database,
            room,
            damaged,
            ..
        } = salvage::open(&self.path).map_err(Trouble::of_opening)?;
        *opened = Some(Opened { database, room });
        *self.damaged.lock().unwrap_or_else(PoisonError::into_inner) = damaged;
        Ok(())
    }

    /// Closes the file after a failed write: nothing more can be done with it.
    pub(super) fn forget(&self) {
        *self.opened.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn tell(&self, trouble: Option<Trouble>) {
        self.trouble.send_if_modified(|known| {
            let changed = *known != trouble;
            if changed {
                match &trouble {
                    Some(trouble) => {
                        tracing::error!(path = %self.path.display(), %trouble, "the store cannot be written as it should be");
                    }
                    None => tracing::info!(path = %self.path.display(), "the store can be written again"),
                }
                *known = trouble;
            }
            changed
        });
    }
}

fn transact(database: &Database, writes: &[&Write], room: &Outcome) -> Result<Vec<Outcome>, redb::Error> {
    let transaction = database.begin_write()?;
    let mut outcomes = Vec::with_capacity(writes.len());
    for write in writes {
        let mut table = transaction.open_table(TableDefinition::<&str, &[u8]>::new(write.table))?;
        let key = write.key.as_str();
        match (&write.value, room) {
            (Some(_), Err(trouble)) if redb::ReadableTable::get(&table, key)?.is_none() => {
                outcomes.push(Err(trouble.clone()));
                continue;
            }
            (Some(value), _) => drop(table.insert(key, value.as_slice())?),
            (None, _) => drop(table.remove(key)?),
        }
        outcomes.push(Ok(()));
    }
    step("state.commit");
    if planted("commit") {
        return Ok(outcomes);
    }
    transaction.commit()?;
    step("state.committed");
    Ok(outcomes)
}
