//! Makes the files of a layer, whiteouts turned into what overlayfs understands.
//!
//! The order for each file is: exclusive creation, data, owner, mode (a change of owner clears setuid), attributes
//! (a change of owner clears capabilities), times. Directories get their times last.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Read, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dev, FileType, Mode, OFlags, XattrFlags, chmodat, chownat, fchmod, linkat, lsetxattr, makedev,
    mkdirat, mknodat, openat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::archive::{Archive, Entry, EntryKind};
use super::attributes::{both, dress, is_kept, owner, tolerate};
use super::times::DirectoryTimes;
use super::tree::{Made, Tree, is_whiteout, make_opaque, make_whiteout, normalise, remove_all, split};
use super::{LayerFacts, Pending, Request, RootAttributes, UnpackError, content, file_list};
use crate::sys::planted;

/// Prefix of the names that hide (OCI image spec, layer, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
/// Hides all siblings below (the same, "Opaque Whiteout").
const OPAQUE_WHITEOUT: &[u8] = b".wh..wh..opq";
/// Names of aufs' own bookkeeping.
const BOOKKEEPING: &[u8] = b".wh..wh.";
/// Space is taken in blocks of this size.
pub(super) const BLOCK: u64 = 4096;
const BUFFER: usize = 128 << 10;
/// Most bytes of names that are kept in memory until the layer's end. Long names pack well.
const MAX_REMEMBERED: usize = 256 << 20;

/// Writes one layer.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    pub(super) request: Request<'a>,
    tree: Tree,
    pub(super) files: BufWriter<File>,
    pub(super) facts: LayerFacts,
    implied: BTreeSet<Vec<u8>>,
    links: Vec<(Vec<u8>, Vec<u8>)>,
    directory_times: DirectoryTimes,
    pub(super) buffer: Vec<u8>,
    /// Bytes that files may still have.
    pub(super) left: u64,
    entries: u64,
    /// Bytes of names that are kept to the end.
    remembered: usize,
}

impl<'a> Writer<'a> {
    /// Prepares the staging directory.
    pub(super) fn create(request: Request<'a>) -> Result<Writer<'a>, UnpackError> {
        let root = content(request.staging);
        let fail = |error| UnpackError::write(b"/", error);
        std::fs::create_dir(&root).map_err(fail)?;
        let tree = Tree::open(&root).map_err(fail)?;
        fchmod(tree.root(), Mode::from_raw_mode(0o755)).map_err(|e| fail(e.into()))?;
        let files = File::create(file_list(request.staging)).map_err(fail)?;
        Ok(Writer {
            request,
            tree,
            files: BufWriter::new(files),
            facts: LayerFacts {
                bytes: BLOCK,
                inodes: 1,
                ..LayerFacts::default()
            },
            implied: BTreeSet::new(),
            links: Vec::new(),
            directory_times: DirectoryTimes::default(),
            buffer: vec![0; BUFFER],
            left: request.limits.bytes,
            entries: 0,
            remembered: 0,
        })
    }

    /// Writes every entry of an archive.
    pub(super) fn write_all<R: Read>(&mut self, archive: &mut Archive<R>) -> Result<(), UnpackError> {
        while let Some(entry) = archive.next()? {
            self.entries += 1;
            if self.entries > self.request.limits.entries && !planted("entry-limit") {
                return Err(UnpackError::TooLarge {
                    limit: self.request.limits.entries,
                    unit: "entries (images.max_layer_entries)",
                });
            }
            self.write(entry, archive)?;
            if self.remembered > MAX_REMEMBERED {
                return Err(UnpackError::TooLarge {
                    limit: MAX_REMEMBERED as u64,
                    unit: "bytes in the names of directories and links",
                });
            }
        }
        Ok(())
    }

    /// Sets directories' times and tells what was written.
    pub(super) fn finish(mut self) -> Result<(LayerFacts, Pending), UnpackError> {
        std::mem::take(&mut self.directory_times).set(&mut self.tree)?;
        // What a layer below is to give replaces what an entry of this one made.
        let links = std::mem::take(&mut self.links);
        for (path, _) in &links {
            self.list_gone(path).map_err(|e| UnpackError::write(path, e))?;
        }
        self.facts.listed = true;
        self.files.flush().map_err(|e| UnpackError::write(b"/", e))?;
        let pending = Pending {
            directories: self.implied.into_iter().collect(),
            links,
        };
        Ok((self.facts, pending))
    }

    fn write<R: Read>(&mut self, entry: Entry, archive: &mut Archive<R>) -> Result<(), UnpackError> {
        let path = normalise(&entry.path, self.request.limits.depth)?;
        if path.is_empty() {
            return self.root(&entry);
        }
        let (parent, name) = split(&path);
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return self.whiteout(&path, parent, name, hidden);
        }
        // Only this module makes whiteouts.
        if entry.kind == (EntryKind::Character { major: 0, minor: 0 }) {
            return Ok(());
        }
        let result = match &entry.kind {
            EntryKind::File { size, chunks } => {
                return self.file(&path, &entry, (*size, chunks.as_deref()), archive);
            }
            EntryKind::Hardlink(target) => return self.hardlink(&path, target),
            EntryKind::Directory => self.directory(&path, &entry),
            EntryKind::Symlink(target) => self.symlink(&path, target, &entry),
            EntryKind::Character { major, minor } => {
                self.node(&path, FileType::CharacterDevice, makedev(*major, *minor), &entry)
            }
            EntryKind::Block { major, minor } => {
                self.node(&path, FileType::BlockDevice, makedev(*major, *minor), &entry)
            }
            EntryKind::Fifo => self.node(&path, FileType::Fifo, 0, &entry),
        };
        result.map_err(|e| UnpackError::write(&path, e))
    }

    fn root(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        if entry.kind != EntryKind::Directory {
            return Err(UnpackError::refused(
                &entry.path,
                "the root can only be a directory",
            ));
        }
        self.facts.root = Some(RootAttributes {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
        });
        dress(self.tree.root(), entry)
            .and_then(|()| self.remember_time(&[], entry))
            .map_err(|e| UnpackError::write(b"/", e))
    }

    fn whiteout(
        &mut self,
        path: &[u8],
        parent: &[u8],
        name: &[u8],
        hidden: &[u8],
    ) -> Result<(), UnpackError> {
        let opaque = name == OPAQUE_WHITEOUT;
        if !opaque && name.starts_with(BOOKKEEPING) {
            return Ok(());
        }
        if !opaque && matches!(hidden, b"" | b"." | b"..") {
            return Err(UnpackError::refused(path, "it hides no name"));
        }
        if self.request.bottom {
            self.facts.bottom_only = true;
            return Ok(());
        }
        self.facts.whiteouts = true;
        if opaque && parent.is_empty() {
            self.facts.root_opaque = true;
            return Ok(());
        }
        let result = if opaque {
            self.parent(parent).and_then(make_opaque)
        } else {
            self.hide(parent, hidden)
        };
        result.map_err(|e| UnpackError::write(path, e))
    }

    /// Hides a name below; an entry that this layer has stays (a directory without what it had below).
    fn hide(&mut self, parent: &[u8], name: &[u8]) -> rustix::io::Result<()> {
        let directory = self.parent(parent)?;
        match make_whiteout(directory, name) {
            Ok(()) => {
                self.facts.inodes += 1;
                Ok(())
            }
            Err(Errno::EXIST) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                match openat(directory, name, flags, Mode::empty()) {
                    Ok(existing) => make_opaque(existing.as_fd()),
                    Err(Errno::NOTDIR | Errno::LOOP) => Ok(()),
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Opens the directory that an entry goes to; missing ones are made, to be described by a later entry or by a layer
    /// below.
    fn parent(&mut self, path: &[u8]) -> rustix::io::Result<BorrowedFd<'_>> {
        let mut made = Made { directories: vec![] };
        self.tree.make_directories(path, &mut made)?;
        for directory in made.directories {
            let fd = self.tree.directory(&directory)?;
            fchmod(fd, Mode::from_raw_mode(0o755))?;
            self.facts.inodes += 1;
            self.facts.bytes += BLOCK;
            self.remembered += directory.len();
            self.implied.insert(directory);
        }
        self.tree.directory(path)
    }

    /// Makes an entry by `make`, after removing what has its name.
    pub(super) fn replace<T>(
        &mut self,
        path: &[u8],
        mut make: impl FnMut(BorrowedFd<'_>, &[u8]) -> rustix::io::Result<T>,
    ) -> rustix::io::Result<T> {
        let (parent, name) = split(path);
        let made = make(self.parent(parent)?, name);
        let made = match made {
            Err(Errno::EXIST) => {
                self.remove(path)?;
                make(self.parent(parent)?, name)?
            }
            other => other?,
        };
        self.facts.inodes += 1;
        Ok(made)
    }

    fn remove(&mut self, path: &[u8]) -> rustix::io::Result<()> {
        let (parent, name) = split(path);
        let freed = remove_all(self.tree.directory(parent)?, name)
            .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
        self.facts.bytes = self.facts.bytes.saturating_sub(freed.bytes);
        self.facts.inodes = self.facts.inodes.saturating_sub(freed.inodes);
        self.tree.forget();
        self.implied.retain(|known| !below(known, path));
        self.list_gone(path).map_err(|_| Errno::IO)?;
        self.links.retain(|(known, _)| known != path);
        Ok(())
    }

    fn directory(&mut self, path: &[u8], entry: &Entry) -> rustix::io::Result<()> {
        let (parent, name) = split(path);
        let parent = self.parent(parent)?;
        let mut hides = false;
        let made = match mkdirat(parent, name, Mode::RWXU) {
            Err(Errno::EXIST) => {
                let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
                hides = is_whiteout(&stat);
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    false
                } else {
                    self.remove(path)?;
                    mkdirat(self.parent(split(path).0)?, name, Mode::RWXU)?;
                    true
                }
            }
            other => other.map(|()| true)?,
        };
        if made {
            self.facts.inodes += 1;
            self.facts.bytes += BLOCK;
        }
        self.implied.remove(path);
        let directory = self.own_directory(path)?;
        dress(directory.as_fd(), entry)?;
        if hides {
            make_opaque(directory.as_fd())?;
        }
        self.remember_time(path, entry)
    }

    fn remember_time(&mut self, path: &[u8], entry: &Entry) -> rustix::io::Result<()> {
        self.remembered += self.directory_times.remember(&mut self.tree, path, entry.mtime)?;
        Ok(())
    }

    fn own_directory(&mut self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let (parent, name) = split(path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(self.tree.directory(parent)?, name, flags, Mode::empty())
    }

    fn symlink(&mut self, path: &[u8], target: &[u8], entry: &Entry) -> rustix::io::Result<()> {
        self.replace(path, |directory, name| symlinkat(target, directory, name))?;
        self.dress_unopened(path, entry)
    }

    fn node(&mut self, path: &[u8], kind: FileType, device: Dev, entry: &Entry) -> rustix::io::Result<()> {
        let mode = Mode::from_raw_mode(entry.mode);
        self.replace(path, |directory, name| {
            mknodat(directory, name, kind, Mode::empty(), device)
        })?;
        self.dress_unopened(path, entry)?;
        let (parent, name) = split(path);
        // Not a symbolic link: it was made above, in a directory that nobody else reaches.
        chmodat(self.tree.directory(parent)?, name, mode, AtFlags::empty())
    }

    /// Sets owner, attributes and times of what is not to be opened.
    fn dress_unopened(&mut self, path: &[u8], entry: &Entry) -> rustix::io::Result<()> {
        use std::os::fd::AsRawFd as _;

        let (parent, name) = split(path);
        let directory = self.tree.directory(parent)?;
        let (uid, gid) = owner(entry);
        chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        for (attribute, value) in entry.xattrs.iter().filter(|(name, _)| is_kept(name)) {
            let mut by_fd = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
            by_fd.extend_from_slice(name);
            tolerate(
                attribute,
                lsetxattr(&by_fd[..], &attribute[..], value, XattrFlags::empty()),
            )?;
        }
        utimensat(directory, name, &both(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
    }

    fn hardlink(&mut self, path: &[u8], target: &[u8]) -> Result<(), UnpackError> {
        let target = normalise(target, self.request.limits.depth)?;
        if target.is_empty() || target == path {
            return Err(UnpackError::refused(
                path,
                "it is a hard link to itself or to the root",
            ));
        }
        let fail = |error| UnpackError::write(path, error);
        let (target_parent, target_name) = split(&target);
        let found = match self.tree.open_beneath(
            target_parent_or_root(target_parent),
            OFlags::PATH | OFlags::DIRECTORY,
        ) {
            Ok(directory) => match statat(&directory, target_name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if is_whiteout(&stat) => None,
                Ok(stat) => Some((directory, stat)),
                Err(Errno::NOENT) => None,
                Err(error) => return Err(fail(error)),
            },
            Err(Errno::NOENT | Errno::NOTDIR) => None,
            Err(error) => return Err(fail(error)),
        };
        let Some((directory, stat)) = found else {
            self.parent(split(path).0).map_err(fail)?;
            self.links.retain(|(known, _)| known != path);
            self.remembered += path.len() + target.len();
            self.links.push((path.to_vec(), target));
            return Ok(());
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory || below(&target, path) {
            return Err(UnpackError::refused(path, "it is a hard link to a directory"));
        }
        self.replace(path, |parent, name| {
            linkat(&directory, target_name, parent, name, AtFlags::empty())
        })
        .map_err(fail)?;
        self.facts.inodes -= 1;
        Ok(())
    }
}

fn target_parent_or_root(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"." } else { path }
}

/// Tells whether a path is another or lies below it.
fn below(path: &[u8], other: &[u8]) -> bool {
    path.strip_prefix(other)
        .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}
