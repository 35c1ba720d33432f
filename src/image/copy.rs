//! Copies out of the tree of an image: owner, mode, attributes and times kept.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat,
    fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat, futimens, mkdirat, mknodat, openat, symlinkat,
    utimensat,
};
use rustix::io::Errno;

use super::merged::{Directory, Found, Leaf};

/// Deeper trees are refused: a level costs descriptors.
const MAX_DEPTH: usize = 256;

/// Copies everything in a directory into one that is empty. Hard links become files of their own.
pub(super) fn copy_content(from: &Directory, to: BorrowedFd<'_>, depth: usize) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(Errno::NAMETOOLONG.into());
    }
    for name in from.names()? {
        match from.entry(&name)? {
            None => {}
            Some(Found::Other(leaf)) => copy_leaf(&leaf, to, &name)?,
            Some(Found::Directory(directory)) => {
                mkdirat(to, &name[..], Mode::RWXU)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made = openat(to, &name[..], flags, Mode::empty())?;
                copy_content(&directory, made.as_fd(), depth + 1)?;
                copy_attributes(directory.top(), made.as_fd())?;
            }
        }
    }
    Ok(())
}

/// Copies a file, link or node.
pub(super) fn copy_leaf(leaf: &Leaf, to: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match leaf.kind() {
        FileType::RegularFile => {
            let mut source = leaf.open()?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut target = std::fs::File::from(openat(to, name, flags, Mode::RUSR | Mode::WUSR)?);
            io::copy(&mut source, &mut target)?;
            return copy_attributes(source.as_fd(), target.as_fd());
        }
        FileType::Symlink => symlinkat(&leaf.target()?[..], to, name)?,
        kind => mknodat(to, name, kind, Mode::empty(), leaf.stat.st_rdev)?,
    }
    let (uid, gid) = owner(&leaf.stat);
    chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if leaf.kind() != FileType::Symlink {
        chmodat(
            to,
            name,
            Mode::from_raw_mode(leaf.stat.st_mode & 0o7777),
            AtFlags::empty(),
        )?;
    }
    utimensat(to, name, &times(&leaf.stat), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

/// Gives a file or directory the owner, mode, attributes and times of another.
pub(super) fn copy_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let stat = fstat(from)?;
    let (uid, gid) = owner(&stat);
    fchown(to, Some(uid), Some(gid))?;
    fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    for name in attributes(from)? {
        let mut value = vec![0; 64 << 10];
        let length = match fgetxattr(from, &name[..], &mut value[..]) {
            Ok(length) => length,
            Err(Errno::NODATA) => continue,
            Err(error) => return Err(error.into()),
        };
        match fsetxattr(to, &name[..], &value[..length], XattrFlags::empty()) {
            Err(Errno::NOTSUP) => {}
            other => other?,
        }
    }
    futimens(to, &times(&stat))?;
    Ok(())
}

/// The attributes worth keeping. Overlay's own mean nothing outside of their layer.
fn attributes(file: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let mut list = vec![0; 64 << 10];
    let length = match flistxattr(file, &mut list[..]) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => 0,
        Err(error) => return Err(error.into()),
    };
    let kept = |name: &&[u8]| {
        name.starts_with(b"user.")
            || *name == b"security.capability"
            || name.starts_with(b"system.posix_acl_")
    };
    let names = list[..length].split(|b| *b == 0).filter(kept);
    Ok(names.map(<[u8]>::to_vec).collect())
}

fn owner(stat: &Stat) -> (Uid, Gid) {
    (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid))
}

fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: stat.st_atime,
            tv_nsec: stat.st_atime_nsec as i64,
        },
        last_modification: Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: stat.st_mtime_nsec as i64,
        },
    }
}
