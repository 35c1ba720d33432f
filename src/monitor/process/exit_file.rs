//! The record of a container's end, for which room is taken before there is a container: on a full disk an end is told all
//! the same. A record that can be written nowhere is kept, and tried again when somebody asks.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::monitor::client::EXIT_RECORD;
use crate::monitor::protocol::ExitRecord;
use crate::sys::fs;

/// Name of the file that becomes the record.
const RESERVED: &str = "exit.reserved";
/// What is reserved: a block, filled, so that writing over it takes none.
const ROOM: usize = 4096;
/// What is kept of a reason that does not fit there: a path may be as long as the room.
const REASON: usize = 512;

/// The file of one container's exit record.
#[derive(Debug)]
pub(super) struct ExitFile {
    dir: PathBuf,
    /// What could not be written yet.
    unwritten: Option<ExitRecord>,
}

impl ExitFile {
    /// Takes the room for a record in `dir`.
    pub(super) fn reserve(dir: &Path) -> io::Result<ExitFile> {
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(dir.join(RESERVED))?;
        file.write_all(&[b' '; ROOM])?;
        Ok(ExitFile {
            dir: dir.to_owned(),
            unwritten: None,
        })
    }

    /// Puts the record in its place, whole and durable.
    pub(super) fn write(&mut self, record: &ExitRecord) {
        let written = self
            .write_reserved(record)
            .or_else(|_| self.write_anew(record))
            .or_else(|_| self.write_reserved(&shortened(record)));
        self.unwritten = written.err().map(|_| record.clone());
    }

    /// Tries again what could not be written.
    pub(super) fn retry(&mut self) {
        if let Some(record) = self.unwritten.take() {
            self.write(&record);
        }
    }

    fn write_reserved(&self, record: &ExitRecord) -> io::Result<()> {
        let mut text = serde_json::to_vec(record)?;
        if text.len() > ROOM {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        // White space after a value is none of its.
        text.resize(ROOM, b' ');
        let (reserved, place) = (self.dir.join(RESERVED), self.dir.join(EXIT_RECORD));
        let mut file = File::options().write(true).open(&reserved)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&reserved, &place)?;
        fs::sync_parent(&place)
    }

    fn write_anew(&self, record: &ExitRecord) -> io::Result<()> {
        let text = serde_json::to_vec(record)?;
        fs::write_atomic(&self.dir.join(EXIT_RECORD), &text, 0o600)?;
        let _ = std::fs::remove_file(self.dir.join(RESERVED));
        Ok(())
    }
}

fn shortened(record: &ExitRecord) -> ExitRecord {
    let cut = |reason: &String| reason.chars().take(REASON).chain("…".chars()).collect();
    ExitRecord {
        reason: record.reason.as_ref().map(cut),
        ..record.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::client::read_exit_record;

    fn record(reason: Option<String>) -> ExitRecord {
        ExitRecord {
            version: 1,
            code: 42,
            reason,
            ..ExitRecord::default()
        }
    }

    #[test]
    fn a_record_takes_the_place_of_its_reserve() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = ExitFile::reserve(dir.path()).unwrap();

        file.write(&record(None));

        assert_eq!(read_exit_record(dir.path()).unwrap(), Some(record(None)));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_record_that_is_longer_than_the_reserve_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = ExitFile::reserve(dir.path()).unwrap();
        let long = record(Some("x".repeat(2 * ROOM)));

        file.write(&long);

        assert_eq!(read_exit_record(dir.path()).unwrap(), Some(long));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_record_that_cannot_be_written_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = ExitFile::reserve(dir.path()).unwrap();
        std::fs::remove_file(dir.path().join(RESERVED)).unwrap();
        std::fs::create_dir(dir.path().join(EXIT_RECORD)).unwrap();

        file.write(&record(None));
        std::fs::remove_dir(dir.path().join(EXIT_RECORD)).unwrap();
        file.retry();

        assert_eq!(read_exit_record(dir.path()).unwrap(), Some(record(None)));
    }
}
