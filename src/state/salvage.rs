//! Opening a store whose file may be damaged.
//!
//! The database beneath panics on damaged pages, when it reads them and when it changes what lies beside them. So the
//! whole file is checked and read once, under a guard, before anything is written. A file that does not pass is kept
//! under a name with the date; what can be read of it, by the tree from either end and else by its raw bytes, goes into
//! a new one. After a panic its raw bytes are all that is read of it, by the process that begins anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::mem::ManuallyDrop;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use redb::{Database, DatabaseError, ReadableDatabase, StorageError, TableDefinition, TableHandle};

use super::envelope::{carve, open as unseal, seal};
use super::room::{self, Room};
use super::{QUARANTINE, StateError};
use crate::sys::clock::rfc_3339;
use crate::sys::fs::sync_parent;
use crate::sys::panics::{Note, guarded};

/// Between the name of the store and the date, in the name of a file that was set aside.
const MARK: &str = ".damaged-";

/// Raw records by their keys.
pub(super) type Table = BTreeMap<String, Vec<u8>>;
/// Tables by their names.
pub(super) type Tables = BTreeMap<String, Table>;

/// A database that is whole.
pub(super) struct Whole {
    pub(super) database: Database,
    pub(super) room: Arc<Room>,
    /// The files that were ever set aside and are still there.
    pub(super) damaged: Vec<PathBuf>,
    /// All that is in it.
    pub(super) tables: Tables,
}

/// What was read of a file.
#[derive(Debug, Default)]
struct Read {
    tables: Tables,
    /// Tables of which something may be missing.
    partial: BTreeSet<String>,
    /// The list of tables itself could not be read.
    blind: bool,
}

impl Read {
    /// Nothing was read.
    fn blind() -> Read {
        Read {
            blind: true,
            ..Read::default()
        }
    }
}

/// What looking at a whole file came to.
enum Looked {
    Whole(Database, Arc<Room>, Tables),
    /// Why, and what was read.
    Damaged(String, Read),
}

/// Opens the database at `path`.
pub(super) fn open(path: &Path) -> Result<Whole, StateError> {
    let note = note(path);
    if let Some(trouble) = panicked(&note) {
        return replace(path, Read::blind(), &trouble);
    }
    match guarded(note, || look(path)) {
        Ok(Ok(Looked::Whole(database, room, tables))) => Ok(Whole {
            database,
            room,
            damaged: set_aside(path),
            tables,
        }),
        Ok(Ok(Looked::Damaged(trouble, read))) => replace(path, read, &trouble),
        Ok(Err(error)) => Err(error),
        Err(panic) => replace(path, Read::blind(), &panic),
    }
}

/// Where it is noted that looking at a file was a panic. What it is about is the file's number: the one in its place after
/// that has another.
fn note(path: &Path) -> Note {
    let number = fs::metadata(path).map_or(0, |file| file.ino());
    Note {
        path: path.with_extension("redb.panic"),
        about: number.to_string(),
    }
}

/// The panic that looking at this file was when an earlier process did.
fn panicked(note: &Note) -> Option<String> {
    let text = fs::read_to_string(&note.path).ok()?;
    let (about, panic) = text.split_once('\n')?;
    (about == note.about).then(|| panic.to_owned())
}

fn look(path: &Path) -> Result<Looked, StateError> {
    let failed = |source: redb::Error| StateError::Open {
        path: path.to_owned(),
        source,
    };
    let (database, room) = match room::open(path) {
        Ok(opened) => opened,
        Err(DatabaseError::DatabaseAlreadyOpen) => return Err(StateError::InUse(path.to_owned())),
        Err(error) if !is_damage(&error) => return Err(failed(error.into())),
        Err(error) => return Ok(Looked::Damaged(error.to_string(), Read::blind())),
    };
    // A damaged database must not write when it is closed. Its descriptor stays, on a file that nobody opens again.
    let mut database = ManuallyDrop::new(database);
    let checked = match database.check_integrity() {
        Err(DatabaseError::Storage(StorageError::Io(error))) if !is_garbage(&error) => {
            drop(ManuallyDrop::into_inner(database));
            return Err(failed(StorageError::Io(error).into()));
        }
        checked => checked,
    };
    let mut read = read(&database);
    let trouble = match checked {
        Ok(true) if read.partial.is_empty() && !read.blind => {
            let database = ManuallyDrop::into_inner(database);
            return Ok(Looked::Whole(database, room, read.tables));
        }
        Ok(true) => return Ok(Looked::Damaged("a table cannot be read".to_owned(), read)),
        Ok(false) => "checksums do not match".to_owned(),
        Err(error) => error.to_string(),
    };
    // It may have gone back to an earlier state.
    read.blind = true;
    Ok(Looked::Damaged(trouble, read))
}

fn is_damage(error: &DatabaseError) -> bool {
    match error {
        DatabaseError::Storage(StorageError::Io(error)) => is_garbage(error),
        DatabaseError::Storage(StorageError::Corrupted(_)) | DatabaseError::UpgradeRequired(_) => true,
        _ => false,
    }
}

fn is_garbage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    )
}

/// Reads every table, from its beginning and, where that does not get through, from its end.
fn read(database: &Database) -> Read {
    let mut found = Read::default();
    let names = || -> Result<Vec<String>, redb::Error> {
        let read = database.begin_read()?;
        let tables = read.list_tables()?;
        Ok(tables.map(|table| table.name().to_owned()).collect())
    };
    let Ok(names) = names() else {
        return Read::blind();
    };
    for name in names {
        let mut records = Table::new();
        if walk(database, &name, &mut records, false).is_err() {
            let _ = walk(database, &name, &mut records, true);
            found.partial.insert(name.clone());
        }
        found.tables.insert(name, records);
    }
    found
}

/// Gathers a table's records as far as it can be read.
fn walk(database: &Database, name: &str, records: &mut Table, backwards: bool) -> Result<(), redb::Error> {
    let table = database
        .begin_read()?
        .open_table(TableDefinition::<&str, &[u8]>::new(name))?;
    let mut entries = redb::ReadableTable::iter(&table)?;
    while let Some(entry) = if backwards {
        entries.next_back()
    } else {
        entries.next()
    } {
        let (key, value) = entry?;
        records.insert(key.value().to_owned(), value.value().to_owned());
    }
    Ok(())
}

/// Puts a new file with what was read in the place of a damaged one, which is kept.
fn replace(path: &Path, mut read: Read, trouble: &str) -> Result<Whole, StateError> {
    let failed = |error: io::Error| StateError::Open {
        path: path.to_owned(),
        source: redb::Error::Io(error),
    };
    let raw = fs::read(path).map_err(failed)?;
    complete(&mut read, &raw);
    drop(raw);
    let beside = path.with_extension("redb.new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let (database, room) = write(&beside, &read).map_err(|source| StateError::Open {
        path: beside.clone(),
        source,
    })?;
    let aside = name_aside(path);
    // A second name first: at no instant is there no store.
    fs::hard_link(path, &aside).map_err(failed)?;
    fs::rename(&beside, path)
        .and_then(|()| sync_parent(path))
        .map_err(failed)?;
    // Of a file that is not there any more.
    let _ = fs::remove_file(note(path).path);
    let records: usize = read.tables.values().map(BTreeMap::len).sum();
    tracing::error!(
        trouble,
        kept = %aside.display(),
        records,
        "record store is damaged: it is kept, and what can be read of it goes on in a new one"
    );
    Ok(Whole {
        database,
        room,
        damaged: set_aside(path),
        tables: read.tables,
    })
}

/// Adds the records that only the raw bytes still have, the latest of each. One that had been removed may come back with
/// them: its owner finds nothing of it and says so.
fn complete(read: &mut Read, raw: &[u8]) {
    if !read.blind && read.partial.is_empty() {
        return;
    }
    let mut latest: BTreeMap<(&str, &str), (u64, &[u8])> = BTreeMap::new();
    for envelope in carve(raw) {
        let wanted = read.blind || read.partial.contains(envelope.table);
        let known = latest.entry((envelope.table, envelope.key)).or_insert((0, &[]));
        if wanted && envelope.when >= known.0 {
            *known = (envelope.when, envelope.payload);
        }
    }
    for ((table, key), (when, payload)) in latest {
        let present = read.tables.entry(table.to_owned()).or_default();
        let whole = present
            .get(key)
            .is_some_and(|bytes| unseal(table, key, bytes).is_some());
        if when > 0 && !whole {
            present.insert(key.to_owned(), seal(table, key, payload));
        }
    }
}

fn write(path: &Path, read: &Read) -> Result<(Database, Arc<Room>), redb::Error> {
    let (database, room) = room::open(path)?;
    let write = database.begin_write()?;
    for (name, records) in &read.tables {
        let mut table = write.open_table(TableDefinition::<&str, &[u8]>::new(name))?;
        for (key, bytes) in records {
            table.insert(key.as_str(), bytes.as_slice())?;
        }
    }
    write.open_table(QUARANTINE)?;
    write.commit()?;
    Ok((database, room))
}

/// A name that no file has: the store's, with the time.
fn name_aside(path: &Path) -> PathBuf {
    let mut time = SystemTime::now();
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(format!("{MARK}{}", rfc_3339(time)));
        if !Path::new(&name).exists() {
            return name.into();
        }
        time += Duration::from_nanos(1);
    }
}

/// The damaged files beside a store.
fn set_aside(path: &Path) -> Vec<PathBuf> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return vec![];
    };
    let prefix = format!("{}{MARK}", name.to_string_lossy());
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
    let mut paths: Vec<PathBuf> = names.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
