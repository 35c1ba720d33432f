//! Files put on a node and taken back. Each is remembered before it is written, with what was there before; it is taken
//! back only as long as it holds what we wrote.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::error::{NodeError, OnFile};
use super::memory::{Memory, Written};
use crate::sys::fs::{sync_parent, write_atomic};
use crate::sys::step::step;

/// A hash as hexadecimal digits.
pub(super) fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// What became of a file that was to be taken back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is gone, or is again what it was before.
    Back,
    /// Somebody has changed it since, so it stays.
    Changed,
}

/// Puts a file; `true`: it was not there, or not so.
pub(super) fn put(memory: &mut Memory, path: &str, content: &[u8]) -> Result<bool, NodeError> {
    let at = memory.place.at(path);
    let sum = sum(content);
    let there = look(&at)?;
    match memory.record.files.iter_mut().find(|file| file.path == path) {
        Some(file) => {
            file.sums.retain(|known| *known != sum);
            file.sums.insert(0, sum);
            file.sums.truncate(2);
        }
        None => {
            let before = keep(memory, path, there.as_deref())?;
            let mode = if there.is_some() { mode_of(&at)? } else { 0o644 };
            memory.record.files.push(Written {
                path: path.to_owned(),
                sums: vec![sum],
                before,
                mode,
            });
        }
    }
    directories(memory, path)?;
    memory.save()?;
    step("node.file.remember");
    if there.as_deref() == Some(content) {
        return Ok(false);
    }
    write_atomic(&at, content, 0o644).on("write", &at)?;
    step("node.file.write");
    Ok(true)
}

/// Takes a file back. One that was never put is fine.
pub(super) fn take_back(memory: &mut Memory, path: &str) -> Result<Taken, NodeError> {
    let Some(index) = memory.record.files.iter().position(|file| file.path == path) else {
        return Ok(Taken::Back);
    };
    let file = memory.record.files[index].clone();
    let at = memory.place.at(path);
    let copy = file.before.as_ref().map(|name| memory.copies().join(name));
    let taken = match look(&at)? {
        Some(content) if !file.sums.contains(&sum(&content)) => {
            let was = copy.as_deref().map(look).transpose()?.flatten();
            // Somebody's, unless a call before this one has put it back already.
            if was.as_ref() == Some(&content) {
                Taken::Back
            } else {
                Taken::Changed
            }
        }
        there => {
            match &copy {
                Some(copy) => {
                    let content = fs::read(copy).on("read", copy)?;
                    write_atomic(&at, &content, file.mode).on("write", &at)?;
                }
                None if there.is_some() => {
                    fs::remove_file(&at).on("remove", &at)?;
                    sync_parent(&at).on("sync the directory of", &at)?;
                }
                None => {}
            }
            Taken::Back
        }
    };
    step("node.file.back");
    memory.record.files.remove(index);
    memory.save()?;
    step("node.file.forget");
    if let Some(copy) = copy {
        let _ = fs::remove_file(copy);
    }
    Ok(taken)
}

/// Makes the directories that `path` needs, those that were missing remembered first.
pub(super) fn directories(memory: &mut Memory, path: &str) -> Result<(), NodeError> {
    let mut missing: Vec<&Path> = Path::new(path)
        .ancestors()
        .skip(1)
        .take_while(|dir| !memory.place.at(dir).exists())
        .collect();
    missing.reverse();
    let Some(innermost) = missing.last() else {
        return Ok(());
    };
    for directory in &missing {
        let directory = directory.display().to_string();
        if !memory.record.directories.contains(&directory) {
            memory.record.directories.push(directory);
        }
    }
    memory.save()?;
    step("node.directory.remember");
    let at = memory.place.at(innermost);
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o755).create(&at).on("make", &at)?;
    step("node.directory.make");
    Ok(())
}

/// The content of a file, if it is there.
pub(super) fn look(path: &Path) -> Result<Option<Vec<u8>>, NodeError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).on("read", path),
    }
}

/// Copies what is there before the first of ours, and names the copy.
fn keep(memory: &Memory, path: &str, there: Option<&[u8]>) -> Result<Option<String>, NodeError> {
    let Some(content) = there else { return Ok(None) };
    let copies = memory.copies();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&copies)
        .on("make", &copies)?;
    let name = path.trim_start_matches('/').replace('/', "-");
    let copy = copies.join(&name);
    write_atomic(&copy, content, 0o600).on("write", &copy)?;
    Ok(Some(name))
}

fn mode_of(path: &Path) -> Result<u32, NodeError> {
    let metadata = fs::metadata(path).on("look at", path)?;
    Ok(metadata.permissions().mode() & 0o7777)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::node::place::Place;

    const PATH: &str = "/etc/some/file";

    fn memory(root: &Path) -> Memory {
        Memory::take(&Place::new(root)).unwrap()
    }

    fn at(root: &Path) -> std::path::PathBuf {
        root.join("etc/some/file")
    }

    #[test]
    fn a_file_that_was_not_there_goes_again() {
        let root = tempfile::tempdir().unwrap();
        let mut memory = memory(root.path());

        assert!(put(&mut memory, PATH, b"one").unwrap());
        assert!(!put(&mut memory, PATH, b"one").unwrap());
        assert!(put(&mut memory, PATH, b"two").unwrap());

        assert_eq!(fs::read(at(root.path())).unwrap(), b"two");
        assert_eq!(take_back(&mut memory, PATH).unwrap(), Taken::Back);
        assert!(!at(root.path()).exists());
        assert_eq!(memory.record.directories, ["/etc", "/etc/some"]);
    }

    #[test]
    fn what_was_there_comes_back_with_its_mode_however_often_it_was_replaced() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc/some")).unwrap();
        fs::write(at(root.path()), "theirs").unwrap();
        fs::set_permissions(at(root.path()), fs::Permissions::from_mode(0o640)).unwrap();
        let mut memory = memory(root.path());

        put(&mut memory, PATH, b"one").unwrap();
        put(&mut memory, PATH, b"two").unwrap();

        assert_eq!(take_back(&mut memory, PATH).unwrap(), Taken::Back);
        assert_eq!(fs::read(at(root.path())).unwrap(), b"theirs");
        assert_eq!(mode_of(&at(root.path())).unwrap(), 0o640);
        assert!(memory.record.files.is_empty() && memory.record.directories.is_empty());
    }

    #[test]
    fn what_somebody_has_changed_since_stays() {
        let root = tempfile::tempdir().unwrap();
        let mut memory = memory(root.path());

        put(&mut memory, PATH, b"one").unwrap();
        fs::write(at(root.path()), "edited").unwrap();

        assert_eq!(take_back(&mut memory, PATH).unwrap(), Taken::Changed);
        assert_eq!(fs::read(at(root.path())).unwrap(), b"edited");
    }

    #[test]
    fn what_was_remembered_is_there_for_the_next_process() {
        let root = tempfile::tempdir().unwrap();
        let mut first = memory(root.path());
        put(&mut first, PATH, b"one").unwrap();
        let record = first.record.clone();
        drop(first);

        assert_eq!(memory(root.path()).record, record);
    }
}
