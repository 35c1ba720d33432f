//! Owners, modes, extended attributes and times of what a layer makes.

use std::os::fd::BorrowedFd;

use rustix::fs::{Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, fchmod, fchown, fsetxattr};
use rustix::io::Errno;

use super::archive::Entry;

/// Sets owner, mode and attributes.
pub(super) fn dress(fd: BorrowedFd<'_>, entry: &Entry) -> rustix::io::Result<()> {
    let (uid, gid) = owner(entry);
    fchown(fd, Some(uid), Some(gid))?;
    fchmod(fd, Mode::from_raw_mode(entry.mode))?;
    for (name, value) in entry.xattrs.iter().filter(|(name, _)| is_kept(name)) {
        tolerate(name, fsetxattr(fd, &name[..], value, XattrFlags::empty()))?;
    }
    Ok(())
}

/// Attributes an image may set. Overlay's own would turn files of other layers, or of the host, into this layer's;
/// labels of security modules are the host's business.
pub(super) fn is_kept(name: &[u8]) -> bool {
    let overlay = name.starts_with(b"user.overlay.");
    name == b"security.capability"
        || (name.starts_with(b"user.") && !overlay)
        || name.starts_with(b"system.posix_acl_")
}

/// A file system may lack attributes and lists of access rights; without capabilities a program would not work.
pub(super) fn tolerate(name: &[u8], result: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match result {
        Err(Errno::NOTSUP | Errno::PERM) if name != b"security.capability" => Ok(()),
        other => other,
    }
}

/// The owner of an entry.
pub(super) fn owner(entry: &Entry) -> (Uid, Gid) {
    (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid))
}

/// The same time of access and modification.
pub(super) fn both(time: Timespec) -> Timestamps {
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
