//! Labels of trees of files. A container may change the tree meanwhile: nothing outside of it gets a label, whatever links
//! there are or come to be.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, XattrFlags, getxattr, lgetxattr, lsetxattr, open, openat, setxattr,
    statat,
};
use rustix::io::Errno;

const ATTRIBUTE: &str = "security.selinux";
/// Deeper trees are refused: a level costs a descriptor.
const MAX_DEPTH: usize = 256;
/// The kernel's limit for a label is a page.
const LONGEST: usize = 4096;

/// Gives a file, or a directory with all below, this label. What has it is not written to; file systems without labels are
/// left as they are.
///
/// # Errors
/// The first that is not one of a file that has just gone.
pub fn relabel(path: &Path, label: &str) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = open(path, flags, Mode::empty())?;
    // What the descriptor is open on, whatever has its name by now.
    let own = format!("/proc/self/fd/{}", top.as_raw_fd());
    let known = |old: &mut [u8]| getxattr(&own, ATTRIBUTE, old);
    set(known, label, |value| {
        setxattr(&own, ATTRIBUTE, value, XattrFlags::empty())
    })?;
    match directory(top.as_fd(), c".")? {
        Some(directory) => below(&directory, label, 0),
        None => Ok(()),
    }
}

fn below(directory: &OwnedFd, label: &str, depth: usize) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(Errno::NAMETOOLONG.into());
    }
    for name in names(directory)? {
        // The directory by its descriptor, its entry by name and not through it if it is a link.
        let entry = [
            format!("/proc/self/fd/{}/", directory.as_raw_fd()).as_bytes(),
            name.to_bytes(),
        ]
        .concat();
        let known = |old: &mut [u8]| lgetxattr(&entry[..], ATTRIBUTE, old);
        set(known, label, |value| {
            lsetxattr(&entry[..], ATTRIBUTE, value, XattrFlags::empty())
        })?;
        let found = statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW);
        if found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode).is_dir())
            && let Some(inner) = self::directory(directory.as_fd(), &name)?
        {
            below(&inner, label, depth + 1)?;
        }
    }
    Ok(())
}

/// Opens a directory; none if it is not one (any more).
fn directory(at: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(at, name, flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        opened => Ok(Some(opened?)),
    }
}

/// Everything in a directory, read before anything is done with it.
fn names(directory: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = vec![];
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}

fn set(
    known: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    label: &str,
    set: impl Fn(&[u8]) -> rustix::io::Result<()>,
) -> io::Result<()> {
    // The kernel's own form ends with a NUL.
    let value = [label.as_bytes(), b"\0"].concat();
    let mut old = [0; LONGEST];
    if known(&mut old).is_ok_and(|length| old[..length] == value) {
        return Ok(());
    }
    match set(&value) {
        Err(Errno::NOENT | Errno::NOTSUP) => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    const LABEL: &str = "system_u:object_r:container_file_t:s0:c1,c2";

    /// The label of a file itself; without SELinux the kernel stores what it is given.
    fn label(path: &Path) -> Option<String> {
        let mut value = [0; LONGEST];
        let length = lgetxattr(path, ATTRIBUTE, &mut value[..]).ok()?;
        Some(
            String::from_utf8_lossy(&value[..length])
                .trim_end_matches('\0')
                .to_owned(),
        )
    }

    #[test]
    fn a_tree_is_labelled_as_a_whole_and_nothing_beyond_it() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, outside) = (dir.path().join("tree"), dir.path().join("outside"));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir(&outside).unwrap();
        for file in [tree.join("a/b/c"), outside.join("file")] {
            fs::write(file, "").unwrap();
        }
        symlink(&outside, tree.join("link")).unwrap();
        symlink("../outside/file", tree.join("a/file")).unwrap();

        relabel(&tree, LABEL).unwrap();

        for inside in ["", "a", "a/b", "a/b/c", "link", "a/file"] {
            assert_eq!(label(&tree.join(inside)).as_deref(), Some(LABEL), "{inside}");
        }
        assert_eq!((label(&outside), label(&outside.join("file"))), (None, None));
    }

    #[test]
    fn a_file_gets_a_label_and_another_one_later() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        fs::write(&file, "").unwrap();

        for wanted in ["u:r:t:s0:c1,c2", "u:r:t:s0:c3,c4", "u:r:t:s0:c3,c4"] {
            relabel(&file, wanted).unwrap();
            assert_eq!(label(&file).as_deref(), Some(wanted));
        }
        assert_eq!(label(dir.path()), None);
    }

    #[test]
    fn a_link_in_the_place_of_the_tree_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("real/inner")).unwrap();
        symlink("real", dir.path().join("link")).unwrap();

        relabel(&dir.path().join("link"), LABEL).unwrap();

        assert_eq!(label(&dir.path().join("real")), None);
        assert_eq!(label(&dir.path().join("real/inner")), None);
    }

    #[test]
    fn a_tree_that_is_too_deep_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let deep = (0..MAX_DEPTH + 2).fold(dir.path().to_owned(), |path, _| path.join("d"));
        fs::create_dir_all(&deep).unwrap();

        let error = relabel(dir.path(), LABEL).unwrap_err();

        assert_eq!(error.raw_os_error(), Some(libc::ENAMETOOLONG));
    }
}
