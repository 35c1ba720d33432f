//! Attachments on disk: what `DEL` needs to undo an `ADD` after a restart, and with the configuration changed or gone.
//!
//! An entry is written, durably, before the first plugin runs, so that no address a plugin reserved is ever unaccounted
//! for. What is learnt later, as the result, is appended: a line of JSON each time, the last whole one counts. Such a
//! line is not synced: a killed process loses none, and after a power cut the first line says enough for a `DEL`. One
//! file for each network, container and interface, `<container>:<network>:<interface>.json` (no name has a colon). The
//! directory must survive a reboot: what plugins reserve on disk does.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::cni::{Attachment, NetworkConf};
use crate::sys::step;

/// The format of an entry; a later one is refused rather than misread.
const FORMAT: u32 = 1;

/// What is known of one attachment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) format: u32,
    pub(super) attachment: Attachment,
    pub(super) network: String,
    pub(super) netns: PathBuf,
    /// `CNI_ARGS`, joined.
    pub(super) args: String,
    pub(super) capabilities: Map<String, Value>,
    /// The file `conf` was read from, for messages.
    pub(super) source: PathBuf,
    pub(super) conf: Value,
    /// How many plugins may have run, counted from the first.
    pub(super) begun: usize,
    /// The result so far; of the whole list once `complete`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<Value>,
    #[serde(default)]
    pub(super) complete: bool,
    /// An `ADD` that failed by itself: nothing of it goes on.
    #[serde(default)]
    pub(super) ended: bool,
    /// Of an `ADD` that was cut short: until then, in seconds of the clock, a `DEL` does not end the matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) settles_at: Option<u64>,
}

impl Entry {
    /// Returns the entry of an attachment of which any plugin of `conf` may have run.
    pub(super) fn begin(conf: &NetworkConf, attachment: Attachment, netns: PathBuf) -> Self {
        Self {
            format: FORMAT,
            attachment,
            network: conf.name().to_owned(),
            netns,
            args: String::new(),
            capabilities: Map::new(),
            source: conf.source().to_owned(),
            conf: conf.raw().clone(),
            begun: conf.plugins().len(),
            result: None,
            complete: false,
            ended: false,
            settles_at: None,
        }
    }
}

/// The ending of a file that is being written.
const UNFINISHED: &str = ".new";

/// The directory of the entries.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    dir: PathBuf,
}

/// An entry's file, told by its name alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) attachment: Attachment,
    pub(super) network: String,
    pub(super) path: PathBuf,
}

impl Cache {
    /// Opens the directory, making it where it is missing.
    pub(super) fn open(dir: PathBuf) -> Result<Self, CacheError> {
        fs::create_dir_all(&dir).map_err(|source| CacheError::Directory {
            path: dir.clone(),
            source,
        })?;
        // What a crash has cut off half-written is nobody's.
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry
                .file_name()
                .as_encoded_bytes()
                .ends_with(UNFINISHED.as_bytes())
            {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Self { dir })
    }

    /// The directory as it is, for a look: it is not made.
    pub(super) fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Writes an entry: the first one of an attachment durably, a later one beside it.
    pub(super) fn store(&self, entry: &Entry) -> Result<(), CacheError> {
        let path = self.path(&entry.attachment, &entry.network);
        let mut line = serde_json::to_vec(entry).expect("an entry's maps have string keys");
        line.push(b'\n');
        let written = match OpenOptions::new().read(true).append(true).open(&path) {
            Ok(file) => append(&file, &line),
            Err(error) if error.kind() == io::ErrorKind::NotFound => write_durably(&self.dir, &path, &line),
            Err(error) => Err(error),
        };
        written.map_err(|source| CacheError::Write { path, source })
    }

    /// Removes an entry; one that is gone already is removed.
    pub(super) fn remove(&self, named: &Named) -> Result<(), CacheError> {
        step("network.forget");
        match fs::remove_file(&named.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(CacheError::Write {
                path: named.path.clone(),
                source: error,
            }),
            // Not synced: an entry that comes back after a power cut is deleted again, which harms nothing.
            _ => Ok(()),
        }
    }

    /// Reads an entry.
    pub(super) fn read(&self, named: &Named) -> Result<Entry, CacheError> {
        let path = || named.path.clone();
        let text = fs::read(&named.path).map_err(|source| CacheError::Read { path: path(), source })?;
        let entry = last(&text).map_err(|source| CacheError::Damaged { path: path(), source })?;
        if entry.format != FORMAT {
            return Err(CacheError::Format {
                path: path(),
                format: entry.format,
            });
        }
        Ok(entry)
    }

    /// Lists every entry.
    pub(super) fn list(&self) -> Result<Vec<Named>, CacheError> {
        self.list_those(|_| true)
    }

    /// Lists the entries of one attachment: one, unless its network was renamed between two attempts.
    pub(super) fn find(&self, attachment: &Attachment) -> Result<Vec<Named>, CacheError> {
        let mut found = self.list_those(|name| {
            name.strip_prefix(attachment.id().as_bytes())
                .is_some_and(|rest| rest.starts_with(b":"))
        })?;
        found.retain(|named| named.attachment == *attachment);
        Ok(found)
    }

    /// Lists the entries whose files have a name that `wanted` takes.
    fn list_those(&self, wanted: impl Fn(&[u8]) -> bool) -> Result<Vec<Named>, CacheError> {
        let failed = |source| CacheError::Directory {
            path: self.dir.clone(),
            source,
        };
        let mut found = Vec::new();
        for file in fs::read_dir(&self.dir).map_err(failed)? {
            let file = file.map_err(failed)?;
            if wanted(file.file_name().as_bytes()) {
                found.extend(name(file.path()));
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    fn path(&self, attachment: &Attachment, network: &str) -> PathBuf {
        self.dir.join(format!(
            "{}:{network}:{}.json",
            attachment.id(),
            attachment.ifname()
        ))
    }
}

/// Reads the name of an entry's file; other files, and those half written, have none.
pub(super) fn name(path: PathBuf) -> Option<Named> {
    if path.extension() != Some(OsStr::new("json")) {
        return None;
    }
    let stem = path.file_stem()?.to_str()?;
    let (id, rest) = stem.split_once(':')?;
    let (network, ifname) = rest.split_once(':')?;
    let attachment = Attachment::new(id, ifname).ok()?;
    Some(Named {
        attachment,
        network: network.to_owned(),
        path,
    })
}

/// Reads the last entry of a file that is whole; the error is that of the first one, when none is.
fn last(text: &[u8]) -> serde_json::Result<Entry> {
    let mut lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let first = serde_json::from_slice(lines.next().unwrap_or_default());
    let later = lines.rev().find_map(|line| serde_json::from_slice(line).ok());
    later.map_or(first, Ok)
}

/// Appends a line to a file whose last one may have been cut off. One that does not fit leaves the file as it was.
fn append(file: &File, line: &[u8]) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut end = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut end, length - 1)?;
    }
    let mut text = Vec::with_capacity(line.len() + 1);
    text.extend((end != [b'\n']).then_some(b'\n'));
    text.extend(line);
    step("network.append");
    let written = (&mut &*file).write_all(&text);
    if written.is_err() {
        // The first error is the one to tell.
        let _ = file.set_len(length);
    }
    written
}

/// Replaces `path` with `text`: a reader, or a restart after a power cut, sees the old file or the new one.
pub(super) fn write_durably(dir: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    let mut temporary = path.to_owned().into_os_string();
    temporary.push(UNFINISHED);
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(text)?;
        file.sync_all()?;
        step("network.write");
        fs::rename(&temporary, path)?;
        File::open(dir)?.sync_all()
    })();
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Why the entry of an attachment could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The directory cannot be made or listed.
    #[error("cannot list attachments in {path}", path = path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The entry cannot be written or removed.
    #[error("cannot record attachment in {path}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The entry cannot be read.
    #[error("cannot read attachment {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The entry's text is not one.
    #[error("attachment {path} is damaged", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where it stops making sense.
        source: serde_json::Error,
    },
    /// A later version of this runtime wrote it.
    #[error("attachment {path} has format {format}, which is not known", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
}

#[cfg(test)]
mod tests;
