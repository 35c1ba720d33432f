//! The entries that archives are made of: few names, which meet one another.

use tar::{EntryType, Header};

/// Names that meet one another: below, through links, upwards, whiteouts of each other.
const NAMES: [&str; 32] = [
    "a",
    "b",
    "c",
    "l",
    "a/a",
    "a/b",
    "a/l",
    "b/a",
    "l/a",
    "l/b",
    "l/l",
    "a/b/c",
    "l/b/c",
    "./a/",
    "/b",
    "a//b",
    ".",
    "../a",
    "a/../b",
    "a/..",
    ".wh.a",
    ".wh.b",
    ".wh.l",
    "a/.wh.b",
    "l/.wh.a",
    "a/.wh.a",
    ".wh..wh..opq",
    "a/.wh..wh..opq",
    "l/.wh..wh..opq",
    ".wh.",
    ".wh...",
    ".wh..wh.plnk",
];
/// What links lead to.
const TARGETS: [&str; 16] = [
    "a",
    "b",
    "c",
    "l",
    "a/b",
    "l/a",
    ".",
    "..",
    "/",
    "/a",
    "../victim",
    "../../victim",
    "/../../victim",
    "a/l",
    "missing",
    "/a/../b",
];
/// When the first entry says that its file changed; each further one, a second later.
pub(super) const FIRST_TIME: u64 = 1000;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    File,
    Directory,
    Symlink,
    Hardlink,
    Fifo,
    Whiteout,
}

/// What three bytes say.
pub(super) fn decode(operation: &[u8]) -> (Kind, &'static str, &'static str) {
    let kind = match operation[0] % 8 {
        0 | 1 => Kind::File,
        2 | 3 => Kind::Directory,
        4 => Kind::Symlink,
        5 => Kind::Hardlink,
        6 => Kind::Fifo,
        _ => Kind::Whiteout,
    };
    let name = NAMES[usize::from(operation[1]) % NAMES.len()];
    let target = TARGETS[usize::from(operation[2]) % TARGETS.len()];
    (kind, name, target)
}

/// Appends an entry to an archive.
pub(super) fn push(archive: &mut Vec<u8>, kind: Kind, name: &str, target: &str, number: u8) {
    let content: &[u8] = if kind == Kind::File { &[number] } else { b"" };
    let mut header = Header::new_gnu();
    let (kind, link) = match kind {
        Kind::File => (EntryType::Regular, ""),
        Kind::Directory => (EntryType::Directory, ""),
        Kind::Symlink => (EntryType::Symlink, target),
        Kind::Hardlink => (EntryType::Link, target),
        Kind::Fifo => (EntryType::Fifo, ""),
        Kind::Whiteout => (EntryType::Char, ""),
    };
    header.set_entry_type(kind);
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(FIRST_TIME + u64::from(number));
    header.set_size(content.len() as u64);
    header.set_cksum();
    archive.extend_from_slice(header.as_bytes());
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(512), 0);
}
