//! One sum over what a layer's files are beside their content: kinds, owners, modes, times, links, devices, capabilities, and
//! the marks by which directories hide others. The root directory is left out: the store makes it.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, lgetxattr, openat, readlinkat, statat};
use rustix::io::Errno;
use xxhash_rust::xxh3::Xxh3;

use super::unpack::{Tree, is_opaque};

/// Directories nested deeper are not summed: a level costs a descriptor and a frame.
const MAX_DEPTH: usize = 400;
const ANY_EXECUTE: u32 = 0o111;

/// Sums up what lies below a directory. Blocks.
///
/// # Errors
/// Something cannot be read, or is nested too deep.
pub(super) fn attributes_sum(root: &Path) -> io::Result<u64> {
    let tree = Tree::open(root)?;
    let mut sum = Xxh3::new();
    add_directory(&mut sum, tree.root(), 0)?;
    Ok(sum.digest())
}

fn add_directory(sum: &mut Xxh3, directory: BorrowedFd<'_>, depth: usize) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(Errno::NAMETOOLONG.into());
    }
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort();
    for name in names {
        let stat = statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        add_entry(sum, name.as_bytes_with_nul(), &stat);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let below = openat(directory, &name, flags, Mode::empty())?;
                sum.update(&[is_opaque(below.as_fd()).into()]);
                add_directory(sum, below.as_fd(), depth + 1)?;
                // What follows is beside it, not in it.
                sum.update(b"/");
            }
            FileType::Symlink => {
                sum.update(readlinkat(directory, &name, Vec::new())?.as_bytes_with_nul());
            }
            FileType::RegularFile if stat.st_mode & ANY_EXECUTE != 0 => {
                let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
                path.extend_from_slice(name.as_bytes());
                let mut value = [0; 64];
                // A file system may have no attributes, and most programs have none.
                let length = lgetxattr(&path[..], "security.capability", &mut value[..]).unwrap_or(0);
                sum.update(&value[..length]);
            }
            _ => {}
        }
    }
    Ok(())
}

fn add_entry(sum: &mut Xxh3, name: &[u8], stat: &Stat) {
    sum.update(name);
    for number in [stat.st_mode, stat.st_uid, stat.st_gid] {
        sum.update(&number.to_le_bytes());
    }
    for number in [stat.st_rdev, stat.st_mtime as u64, stat.st_mtime_nsec] {
        sum.update(&number.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn whatever_changes_about_a_file_changes_the_sum() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("below")).unwrap();
        fs::write(at("below/file"), "content").unwrap();
        symlink("file", at("below/link")).unwrap();
        let sum = || attributes_sum(dir.path()).unwrap();
        let mut before = sum();
        assert_eq!(before, sum());

        let changes: [(&str, &dyn Fn()); 4] = [
            ("mode", &|| {
                fs::set_permissions(at("below/file"), fs::Permissions::from_mode(0o4755)).unwrap();
            }),
            ("time", &|| {
                let file = fs::File::options().write(true).open(at("below/file")).unwrap();
                file.set_modified(std::time::UNIX_EPOCH).unwrap();
            }),
            ("link", &|| {
                fs::remove_file(at("below/link")).unwrap();
                symlink("elsewhere", at("below/link")).unwrap();
            }),
            ("name", &|| fs::rename(at("below/file"), at("file")).unwrap()),
        ];
        for (what, change) in changes {
            change();
            let after = sum();
            assert_ne!(before, after, "{what}");
            before = after;
        }
    }
}
