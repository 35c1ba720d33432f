//! A directory tree that nothing gets out of: every path is resolved by the kernel beneath the tree's root.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, XattrFlags, fgetxattr, fsetxattr, makedev,
    mkdirat, mknodat, openat2, statat, unlinkat,
};
use rustix::io::Errno;

use super::UnpackError;
use crate::sys::planted;

/// The attribute by which overlayfs knows that a directory hides those below it.
pub(in crate::image) const OPAQUE: &str = "trusted.overlay.opaque";

/// Longest path of an entry.
const MAX_PATH: usize = 4096;
/// Directories nested deeper, by way of links, are not replaced: a level costs descriptors and a frame.
const MAX_REMOVED_DEPTH: usize = 200;
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A tree, by its root directory.
#[derive(Debug)]
pub(in crate::image) struct Tree {
    root: OwnedFd,
    /// The directory used last: archives go through a directory at a time.
    recent: Option<(Vec<u8>, OwnedFd)>,
}

/// What was done to find a directory.
#[derive(Debug)]
pub(super) struct Made {
    /// Directories that were missing, parents first.
    pub directories: Vec<Vec<u8>>,
}

impl Tree {
    /// Opens the tree below a directory of ours.
    pub(in crate::image) fn open(root: &Path) -> io::Result<Tree> {
        let root = rustix::fs::openat(CWD, root, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        Ok(Tree { root, recent: None })
    }

    pub(in crate::image) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens a directory; the empty path is the root. Symbolic links lead to targets beneath the root.
    pub(in crate::image) fn directory(&mut self, path: &[u8]) -> rustix::io::Result<BorrowedFd<'_>> {
        if path.is_empty() {
            return Ok(self.root.as_fd());
        }
        if !matches!(&self.recent, Some((known, _)) if known == path) {
            let opened = self.open_beneath(path, DIRECTORY)?;
            self.recent = Some((path.to_vec(), opened));
        }
        let (_, fd) = self.recent.as_ref().expect("set above");
        Ok(fd.as_fd())
    }

    /// Opens anything beneath the root.
    pub(in crate::image) fn open_beneath(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        if planted("links-outside") {
            resolve = ResolveFlags::empty();
        }
        loop {
            match openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                // The kernel could not rule out a concurrent rename elsewhere on the machine.
                Err(Errno::AGAIN | Errno::INTR) => {}
                done => return done,
            }
        }
    }

    /// Opens a directory and makes what is missing of its path.
    pub(super) fn make_directories(
        &mut self,
        path: &[u8],
        made: &mut Made,
    ) -> rustix::io::Result<BorrowedFd<'_>> {
        match self.directory(path).map(drop) {
            Err(Errno::NOENT) => {
                let (parent, name) = split(path);
                let directory = self.make_directories(parent, made)?;
                mkdirat(directory, name, Mode::RWXU)?;
                made.directories.push(path.to_vec());
            }
            other => other?,
        }
        self.directory(path)
    }

    /// Forgets what the cache knows: an entry was removed, perhaps on the way to it.
    pub(in crate::image) fn forget(&mut self) {
        self.recent = None;
    }
}

/// Splits off the last component. The path is in normal form.
pub(in crate::image) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// Brings a name of an archive into normal form: components joined by `/`, neither leading nor trailing. The root is
/// empty.
///
/// # Errors
/// A name with `..`, with a zero byte, too long, or with more components than `max_depth`.
pub(super) fn normalise(name: &[u8], max_depth: usize) -> Result<Vec<u8>, UnpackError> {
    if name.len() > MAX_PATH {
        return Err(UnpackError::refused(&name[..64], "its path is too long"));
    }
    if name.contains(&0) {
        return Err(UnpackError::refused(name, "its path has a zero byte"));
    }
    let mut path = Vec::with_capacity(name.len());
    let mut depth = 0;
    for component in name.split(|b| *b == b'/') {
        match component {
            b"" | b"." => continue,
            b".." if !planted("parent-directory") => {
                return Err(UnpackError::refused(name, "its path leads upwards"));
            }
            _ => {}
        }
        if depth > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(component);
        depth += 1;
    }
    if depth > max_depth {
        return Err(UnpackError::TooLarge {
            limit: max_depth as u64,
            unit: "names in a path (images.max_layer_depth)",
        });
    }
    Ok(path)
}

/// Tells whether it is a file by which overlayfs hides one below: a character device 0:0.
pub(in crate::image) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Makes a whiteout.
pub(super) fn make_whiteout(directory: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
    mknodat(
        directory,
        name,
        FileType::CharacterDevice,
        Mode::empty(),
        makedev(0, 0),
    )
}

/// Makes a directory hide what lies below it.
pub(super) fn make_opaque(directory: BorrowedFd<'_>) -> rustix::io::Result<()> {
    if planted("opaque") {
        return Ok(());
    }
    fsetxattr(directory, OPAQUE, b"y", XattrFlags::empty())
}

/// Tells whether a directory hides what lies below it.
pub(in crate::image) fn is_opaque(directory: BorrowedFd<'_>) -> bool {
    let mut value = [0; 4];
    matches!(fgetxattr(directory, OPAQUE, &mut value[..]), Ok(1) if value[0] == b'y')
}

/// What a removal gave back.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::image) struct Freed {
    pub bytes: u64,
    pub inodes: u64,
}

/// Removes an entry with all below it. Follows no symbolic link.
///
/// # Errors
/// `ENAMETOOLONG`: it is nested too deep. Part of it may be gone.
pub(in crate::image) fn remove_all(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<Freed> {
    remove_below(directory, name, 0)
}

fn remove_below(directory: BorrowedFd<'_>, name: &[u8], depth: usize) -> io::Result<Freed> {
    if depth > MAX_REMOVED_DEPTH {
        return Err(Errno::NAMETOOLONG.into());
    }
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mut freed = Freed::default();
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        unlinkat(directory, name, AtFlags::empty())?;
        if stat.st_nlink == 1 {
            freed.inodes = 1;
            freed.bytes = stat.st_blocks as u64 * 512;
        }
        return Ok(freed);
    }
    let flags = DIRECTORY | OFlags::NOFOLLOW;
    let below = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    for entry in Dir::read_from(&below)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            let inner = remove_below(below.as_fd(), name, depth + 1)?;
            freed.bytes += inner.bytes;
            freed.inodes += inner.inodes;
        }
    }
    unlinkat(directory, name, AtFlags::REMOVEDIR)?;
    freed.inodes += 1;
    freed.bytes += stat.st_blocks as u64 * 512;
    Ok(freed)
}
