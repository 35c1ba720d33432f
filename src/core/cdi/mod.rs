//! The devices that are described on this machine: which files there are, what each says, and which of two wins.
//!
//! Descriptions are read at the start, when a directory changes, and before a container gets a device: whoever writes
//! one and asks for its device at once finds it. A file that has not changed is not parsed again.

mod edits;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustix::fs::OFlags;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::model::audit::{Class, Finding, Thing};
use crate::model::{Error, Result, UserNamespace};
use crate::spec::cdi::{self, Document, Edits, Format};
use crate::sys::watch::DirWatch;

pub(super) use edits::Brought;
use edits::distrust;

/// Longest description. Those of machines with many devices have some hundred kilobytes.
const LONGEST: u64 = 8 << 20;

/// The described devices. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Described(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dirs: Vec<PathBuf>,
    view: ArcSwap<View>,
    /// Held while files are read: each change is told once.
    reading: Mutex<()>,
}

/// What was read last: the directories in their order, the last one first in rank.
#[derive(Debug, Default)]
struct View {
    dirs: Vec<Dir>,
}

#[derive(Debug)]
struct Dir {
    path: PathBuf,
    /// Why it cannot be listed; one that is missing is empty.
    error: Option<String>,
    files: BTreeMap<PathBuf, Said>,
}

/// A file as it was when it was read.
#[derive(Clone, Debug)]
struct Said {
    stamp: Stamp,
    document: std::result::Result<Arc<Document>, String>,
}

/// Changes whenever a file is written or replaced.
type Stamp = (u64, u64, u64, i64, i64, i64, i64);

/// A device, and the file that has it.
#[derive(Clone, Debug)]
struct Device<'a> {
    file: &'a Path,
    document: &'a Document,
    edits: &'a Edits,
}

impl Described {
    /// Reads what is there.
    pub(super) fn new(dirs: Vec<PathBuf>) -> Described {
        let described = Described(Arc::new(Inner {
            dirs,
            view: ArcSwap::default(),
            reading: Mutex::new(()),
        }));
        described.read();
        described
    }

    /// Reads anew what has changed, and tells in the log what has become wrong or right. Blocks.
    fn read(&self) -> Arc<View> {
        let _one = self.0.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.0.view.load_full();
        let now = Arc::new(View::read(&self.0.dirs, &before));
        let (was, is) = (before.problems(), now.problems());
        for (thing, problem) in is
            .iter()
            .filter(|(thing, problem)| was.get(*thing) != Some(problem))
        {
            tracing::warn!(%thing, problem, "a description of devices cannot be used");
        }
        for thing in was.keys().filter(|thing| !is.contains_key(*thing)) {
            tracing::info!(%thing, "a description of devices is no longer in the way");
        }
        self.0.view.store(Arc::clone(&now));
        now
    }

    /// Reads whenever a directory changes, until told to end. Containers do not depend on it: what they ask for is
    /// read when they ask.
    pub(super) async fn follow(self, closing: CancellationToken) {
        let mut watch = DirWatch::new(self.0.dirs.clone());
        loop {
            let changed = tokio::select! {
                () = closing.cancelled() => return,
                changed = watch.changed() => changed,
            };
            if let Err(error) = changed {
                tracing::warn!(%error, "descriptions of devices cannot be watched");
            }
            let described = self.clone();
            let _ = tokio::task::spawn_blocking(move || described.read()).await;
        }
    }

    /// Looks up all that these devices bring into a container. Blocks; changes nothing.
    ///
    /// # Errors
    /// `InvalidArgument`, naming the device; `Unimplemented`: it asks for what is not done.
    pub(super) fn find(&self, names: &[String], user: Option<&UserNamespace>) -> Result<Brought> {
        if names.is_empty() {
            return Ok(Brought::default());
        }
        let view = self.read();
        let devices = view.devices(names)?;
        let mut brought = Brought::default();
        let mut files = BTreeSet::new();
        for (name, device) in devices {
            if files.insert(device.file) {
                brought.add(name, &device.document.edits, user)?;
            }
            brought.add(name, device.edits, user)?;
        }
        Ok(brought)
    }

    /// Directories, devices and what is wrong, as JSON text for a person. From memory.
    pub(super) fn info(&self) -> Value {
        let view = self.0.view.load();
        json!({
            "directories": self.0.dirs,
            "devices": view.names(),
            "problems": view.problems(),
        })
    }
}

/// What is wrong with descriptions of devices, for an audit. Blocks.
pub fn audit(dirs: &[PathBuf]) -> Vec<Finding> {
    let view = View::read(dirs, &View::default());
    let finding = |(thing, problem): (String, String)| {
        let thing = match thing.starts_with('/') {
            true => Thing::Path(thing.into()),
            false => Thing::Id(thing),
        };
        Finding::for_a_person(
            Class::Device,
            thing,
            format!("a description of devices that can be used; this one {problem}"),
        )
    };
    view.problems().into_iter().map(finding).collect()
}

impl View {
    fn read(dirs: &[PathBuf], before: &View) -> View {
        let one = |path: &PathBuf| {
            let known = before
                .dirs
                .iter()
                .find(|dir| dir.path == *path)
                .map(|dir| &dir.files);
            match files(path, known) {
                Ok(files) => Dir {
                    path: path.clone(),
                    error: None,
                    files,
                },
                Err(error) => Dir {
                    path: path.clone(),
                    error: Some(error),
                    files: BTreeMap::new(),
                },
            }
        };
        View {
            dirs: dirs.iter().map(one).collect(),
        }
    }

    /// All these devices, or all that is wrong with their names, and with the files that may have them.
    fn devices<'a>(&self, names: &'a [String]) -> Result<Vec<(&'a str, Device<'_>)>> {
        let (mut found, mut wrong) = (vec![], vec![]);
        for name in names {
            match self.device(name) {
                Ok(device) => found.push((name.as_str(), device)),
                Err(problem) => wrong.push(format!("CDI device {name:?} {problem}")),
            }
        }
        if wrong.is_empty() {
            return Ok(found);
        }
        let problems = self.problems().into_iter();
        let of_files = problems.filter(|(thing, _)| thing.starts_with('/'));
        wrong.extend(of_files.map(|(path, problem)| format!("{path} {problem}")));
        Err(Error::invalid(wrong.join("; ")))
    }

    /// The device of this name in the last directory that has one, or why there is none, as the end of a sentence.
    fn device(&self, name: &str) -> std::result::Result<Device<'_>, String> {
        let (kind, device) = cdi::qualified(name).ok_or("is not named vendor/class=name")?;
        for dir in self.dirs.iter().rev() {
            match dir.having(kind, device).as_slice() {
                [] => {}
                [one] => return Ok(one.clone()),
                several => return Err(conflict(several)),
            }
        }
        Err("is in no description".to_owned())
    }

    /// Files and directories that cannot be read, and devices that cannot be told apart, each with the end of a
    /// sentence.
    fn problems(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for dir in &self.dirs {
            let at = |path: &Path| path.to_string_lossy().into_owned();
            found.extend(dir.error.clone().map(|error| (at(&dir.path), error)));
            for (path, read) in &dir.files {
                found.extend(
                    read.document
                        .as_ref()
                        .err()
                        .map(|error| (at(path), error.clone())),
                );
            }
        }
        for name in self.names() {
            let (kind, device) = name.split_once('=').unwrap_or_default();
            let first = self.dirs.iter().rev().map(|dir| dir.having(kind, device));
            if let Some(several) = first.into_iter().find(|having| !having.is_empty())
                && several.len() > 1
            {
                found.insert(name.clone(), conflict(&several));
            }
        }
        found
    }

    /// The full names of all devices.
    fn names(&self) -> BTreeSet<String> {
        let documents = self.dirs.iter().flat_map(Dir::documents);
        documents
            .flat_map(|(_, document)| {
                let names = document.devices.keys();
                names.map(|name| format!("{}={name}", document.kind))
            })
            .collect()
    }
}

impl Dir {
    fn documents(&self) -> impl Iterator<Item = (&Path, &Document)> {
        let read = self.files.iter();
        read.filter_map(|(path, read)| Some((path.as_path(), read.document.as_deref().ok()?)))
    }

    /// The devices of a name: more than one, when files contradict each other.
    fn having(&self, kind: &str, device: &str) -> Vec<Device<'_>> {
        let of_kind = self.documents().filter(|(_, document)| document.kind == kind);
        of_kind
            .filter_map(|(file, document)| {
                Some(Device {
                    file,
                    document,
                    edits: document.devices.get(device)?,
                })
            })
            .collect()
    }
}

fn conflict(several: &[Device<'_>]) -> String {
    let files: Vec<String> = several.iter().map(|d| d.file.display().to_string()).collect();
    format!("is in more than one description: {}", files.join(", "))
}

/// The descriptions of a directory, or why it has none that can be used. What has not changed since it was read is
/// taken over.
fn files(
    dir: &Path,
    known: Option<&BTreeMap<PathBuf, Said>>,
) -> std::result::Result<BTreeMap<PathBuf, Said>, String> {
    let unread = |error: io::Error| format!("cannot be read: {error}");
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries.map_err(unread)?,
    };
    if let Some(why) = distrust(&std::fs::metadata(dir).map_err(unread)?) {
        return Err(why);
    }
    let mut found = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(unread)?.path();
        let format = match path.extension().and_then(|kind| kind.to_str()) {
            Some("json") => Format::Json,
            Some("yaml") => Format::Yaml,
            _ => continue,
        };
        let read = match std::fs::metadata(&path) {
            // Gone between the listing and the look.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => Said {
                stamp: Stamp::default(),
                document: Err(format!("cannot be read: {error}")),
            },
            Ok(meta) => {
                let stamp = stamp(&meta);
                match known.and_then(|known| known.get(&path)) {
                    Some(read) if read.stamp == stamp => read.clone(),
                    _ => Said {
                        stamp,
                        document: document(&path, format).map(Arc::new),
                    },
                }
            }
        };
        found.insert(path, read);
    }
    Ok(found)
}

fn stamp(meta: &Metadata) -> Stamp {
    (
        meta.dev(),
        meta.ino(),
        meta.len(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec(),
    )
}

fn document(path: &Path, format: Format) -> std::result::Result<Document, String> {
    let unread = |error: io::Error| format!("cannot be read: {error}");
    // What is no file may wait for ever to be opened.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let open = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = open.map_err(unread)?;
    // Of what is open: behind a link there may be another file by now.
    let meta = file.metadata().map_err(unread)?;
    if !meta.is_file() {
        return Err("is not a file".to_owned());
    }
    if let Some(why) = distrust(&meta) {
        return Err(why);
    }
    let mut text = String::new();
    file.take(LONGEST + 1).read_to_string(&mut text).map_err(unread)?;
    if text.len() as u64 > LONGEST {
        return Err(format!("is longer than {LONGEST} bytes"));
    }
    cdi::parse(format, &text).map_err(|error| format!("is malformed: {error}"))
}
