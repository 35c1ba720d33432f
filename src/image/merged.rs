//! An image's layers seen as one tree without mounting them, by overlayfs' own rules (kernel documentation,
//! "overlayfs", "whiteouts and opaque directories").
//!
//! Every step is one component beneath a directory that is already open: symbolic links are resolved here, beneath the
//! image's root.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};
use rustix::io::Errno;

use super::unpack::{is_opaque, is_whiteout};

/// As the kernel's own limit.
const MAX_LINKS: usize = 40;
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A directory of the tree: the directories that make it up, topmost first. Never empty.
#[derive(Clone, Debug)]
pub(super) struct Directory(Rc<Vec<OwnedFd>>);

/// What has a name.
#[derive(Debug)]
pub(super) enum Found {
    Directory(Directory),
    /// Anything else, in the directory of one layer.
    Other(Leaf),
}

/// A file, link or node in the directory of one layer.
#[derive(Debug)]
pub(super) struct Leaf {
    directory: Directory,
    layer: usize,
    name: Vec<u8>,
    pub stat: Stat,
}

impl Leaf {
    /// The directory that has it.
    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.0[self.layer].as_fd()
    }

    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Opens a regular file; never waits for a fifo's other end.
    pub(super) fn open(&self) -> io::Result<std::fs::File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(openat(self.directory(), &self.name[..], flags, Mode::empty())?.into())
    }

    /// Reads a symbolic link.
    pub(super) fn target(&self) -> io::Result<Vec<u8>> {
        Ok(readlinkat(self.directory(), &self.name[..], Vec::new())?.into_bytes())
    }
}

impl Directory {
    /// Opens the root of a stack of layers, topmost first.
    pub(super) fn root<'a>(layers: impl IntoIterator<Item = &'a Path>) -> io::Result<Directory> {
        let roots: Result<Vec<_>, _> = layers
            .into_iter()
            .map(|path| openat(CWD, path, DIRECTORY, Mode::empty()))
            .collect();
        let roots = roots?;
        if roots.is_empty() {
            return Err(io::Error::other("image has no layers"));
        }
        Ok(Directory(Rc::new(roots)))
    }

    /// The directory whose owner and mode are seen.
    pub(super) fn top(&self) -> BorrowedFd<'_> {
        self.0[0].as_fd()
    }

    /// Finds one name, following nothing.
    pub(super) fn entry(&self, name: &[u8]) -> io::Result<Option<Found>> {
        let mut below = Vec::new();
        for (layer, directory) in self.0.iter().enumerate() {
            let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let opened = openat(directory, name, DIRECTORY, Mode::empty())?;
                let last = is_opaque(opened.as_fd());
                below.push(opened);
                if last {
                    break;
                }
            } else if below.is_empty() && !is_whiteout(&stat) {
                let name = name.to_vec();
                let directory = self.clone();
                return Ok(Some(Found::Other(Leaf {
                    directory,
                    layer,
                    name,
                    stat,
                })));
            } else {
                break;
            }
        }
        Ok((!below.is_empty()).then(|| Found::Directory(Directory(Rc::new(below)))))
    }

    /// Finds a path without following any link.
    pub(super) fn literal(&self, path: &[u8]) -> io::Result<Option<Found>> {
        let mut found = Found::Directory(self.clone());
        for name in path.split(|b| *b == b'/').filter(|n| !n.is_empty()) {
            let Found::Directory(directory) = found else {
                return Ok(None);
            };
            match directory.entry(name)? {
                Some(next) => found = next,
                None => return Ok(None),
            }
        }
        Ok(Some(found))
    }

    /// Finds a path, following links; `self` must be the root.
    pub(super) fn resolve(&self, path: &[u8]) -> io::Result<Option<Found>> {
        let mut stack = vec![self.clone()];
        let mut todo: VecDeque<Vec<u8>> = components(path);
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == b".." {
                if stack.len() > 1 {
                    stack.pop();
                }
                continue;
            }
            let here = stack.last().expect("the root stays");
            match here.entry(&name)? {
                None => return Ok(None),
                Some(Found::Directory(next)) => stack.push(next),
                Some(Found::Other(leaf)) if leaf.kind() == FileType::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    let target = leaf.target()?;
                    if target.starts_with(b"/") {
                        stack.truncate(1);
                    }
                    let mut steps = components(&target);
                    steps.append(&mut todo);
                    todo = steps;
                }
                Some(other) if todo.is_empty() => return Ok(Some(other)),
                Some(_) => return Ok(None),
            }
        }
        Ok(stack.pop().map(Found::Directory))
    }

    /// The names in it, sorted.
    pub(super) fn names(&self) -> io::Result<BTreeSet<Vec<u8>>> {
        let mut names = BTreeSet::new();
        for directory in self.0.iter() {
            for entry in Dir::read_from(directory)? {
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                if name != b"." && name != b".." {
                    names.insert(name.to_vec());
                }
            }
        }
        Ok(names)
    }
}

fn components(path: &[u8]) -> VecDeque<Vec<u8>> {
    path.split(|b| *b == b'/')
        .filter(|c| !c.is_empty() && *c != b".")
        .map(<[u8]>::to_vec)
        .collect()
}
