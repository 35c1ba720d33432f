//! What is remembered of a node: all that was changed there, so that it can be undone, and nothing else is.
//!
//! One file, written before what it tells is done. Whoever changes a node holds the lock beside it.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{NodeError, OnFile};
use super::place::{MEMORY, Place};
use crate::sys::fs::write_atomic;

/// The form of the file that this version writes. One that it does not know is left alone.
const FORMAT: u32 = 1;

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Written {
    pub(super) path: String,
    /// Sums of what we wrote: of the present content, and of the one before while it is being replaced.
    pub(super) sums: Vec<String>,
    /// Name of the copy of what was there before.
    pub(super) before: Option<String>,
    /// Its mode.
    pub(super) mode: u32,
}

/// How far a kubelet is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Phase {
    /// It is being moved to Coracle.
    Switching,
    /// It uses Coracle.
    Switched,
    /// It is being moved back.
    Restoring,
}

/// A kubelet that was moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Switch {
    pub(super) phase: Phase,
    /// Its unit.
    pub(super) unit: String,
    /// Socket of the runtime that it used before.
    pub(super) old: PathBuf,
}

/// All that is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    format: u32,
    /// The version in use; none before the first installation is complete.
    pub(super) version: Option<String>,
    /// The one before, which is kept.
    pub(super) previous: Option<String>,
    /// The daemon's unit was enabled.
    pub(super) enabled: bool,
    /// The daemon has not been started since the version or a file of it changed.
    pub(super) stale: bool,
    pub(super) files: Vec<Written>,
    /// Directories that were made, outermost first.
    pub(super) directories: Vec<String>,
    pub(super) switch: Option<Switch>,
    /// Why the last switch was undone.
    pub(super) rolled_back: Option<String>,
    /// Why the last switch or restore failed, if it was not undone.
    pub(super) failed: Option<String>,
}

/// The record, and the right to change the node.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) place: Place,
    pub(super) record: Record,
    _lock: File,
}

impl Memory {
    /// Waits for the right to change the node, and reads what is remembered.
    pub(super) fn take(place: &Place) -> Result<Memory, NodeError> {
        let directory = place.at(MEMORY);
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .on("make", &directory)?;
        let path = directory.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .on("open", &path)?;
        lock.lock().on("lock", &path)?;
        Ok(Memory {
            record: read(place)?,
            place: place.clone(),
            _lock: lock,
        })
    }

    /// Writes the record.
    pub(super) fn save(&mut self) -> Result<(), NodeError> {
        self.record.format = FORMAT;
        let path = file(&self.place);
        // It has nothing that JSON cannot say.
        let text = serde_json::to_vec_pretty(&self.record).map_err(|source| NodeError::Memory {
            path: path.clone(),
            source,
        })?;
        write_atomic(&path, &text, 0o600).on("write", path)
    }

    /// Forgets all. The directory itself stays where it is a mount, as it is in a pod of the chart.
    pub(super) fn forget(self) -> Result<(), NodeError> {
        use io::ErrorKind::{ReadOnlyFilesystem, ResourceBusy};
        let directory = self.place.at(MEMORY);
        let is_mount = |error: &io::Error| matches!(error.kind(), ReadOnlyFilesystem | ResourceBusy);
        match fs::remove_dir_all(&directory) {
            Err(error) if is_mount(&error) && is_empty(&directory) => Ok(()),
            removed => removed.on("remove", &directory),
        }
    }

    /// Directory of the copies of what was replaced.
    pub(super) fn copies(&self) -> PathBuf {
        self.place.at(MEMORY).join("before")
    }
}

/// What is remembered, without the right to change anything.
pub(super) fn read(place: &Place) -> Result<Record, NodeError> {
    let path = file(place);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Record::default()),
        other => other.on("read", &path)?,
    };
    let record: Record = serde_json::from_slice(&text).map_err(|source| NodeError::Memory {
        path: path.clone(),
        source,
    })?;
    match record.format {
        FORMAT => Ok(record),
        format => Err(NodeError::Newer { path, format }),
    }
}

fn is_empty(directory: &Path) -> bool {
    crate::sys::fs::names(directory).is_ok_and(|names| names.is_empty())
}

fn file(place: &Place) -> PathBuf {
    place.at(MEMORY).join("state.json")
}
