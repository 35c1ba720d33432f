//! Mounts, by the old interface where it does and the descriptor one where trees travel between processes.

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, open, openat2};
use rustix::mount as rx;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

pub use overlay::overlay;
mod overlay;

/// Binds a file or directory onto another.
pub fn bind(source: &Path, target: &Path) -> io::Result<()> {
    Ok(rx::mount_bind(source, target)?)
}

/// Binds a directory onto another, with what is mounted below.
pub fn bind_tree(source: &Path, target: &Path) -> io::Result<()> {
    Ok(rx::mount_bind_recursive(source, target)?)
}

/// Mounts a tmpfs, such as `size=1m,mode=0711`.
pub fn tmpfs(target: &Path, options: &str) -> io::Result<()> {
    let options = std::ffi::CString::new(options).map_err(io::Error::other)?;
    let flags = rx::MountFlags::NOSUID | rx::MountFlags::NODEV | rx::MountFlags::NOEXEC;
    Ok(rx::mount("tmpfs", target, "tmpfs", flags, options.as_c_str())?)
}

/// A new file system of a kind, mounted nowhere.
pub fn detached(kind: &str) -> io::Result<OwnedFd> {
    let context = rx::fsopen(kind, rx::FsOpenFlags::FSOPEN_CLOEXEC)?;
    rx::fsconfig_create(&context)?;
    Ok(rx::fsmount(
        &context,
        rx::FsMountFlags::FSMOUNT_CLOEXEC,
        rx::MountAttrFlags::empty(),
    )?)
}

/// Cuts every mount of this namespace off from others: no mount or unmount travels in either direction.
pub fn make_all_private() -> io::Result<()> {
    use rx::MountPropagationFlags as Flags;
    Ok(rx::mount_change("/", Flags::PRIVATE | Flags::REC)?)
}

/// Unmounts now in name, and for good when the last user has gone.
pub fn detach(target: &Path) -> io::Result<()> {
    Ok(rx::unmount(
        target,
        rx::UnmountFlags::DETACH | rx::UnmountFlags::NOFOLLOW,
    )?)
}

/// As [`detach`]; where nothing is mounted (any more) there is nothing to do.
pub fn detach_if_mounted(target: &Path) -> io::Result<()> {
    match detach(target) {
        // EINVAL: not a mount point.
        Err(error) if !matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => Err(error),
        _ => Ok(()),
    }
}

/// Detaches what is mounted at a path and below it, the last mounted first.
pub fn detach_below(path: &Path) -> io::Result<()> {
    let points = points()?;
    let inside = points.iter().rev().filter(|point| point.starts_with(path));
    inside.into_iter().try_for_each(|point| detach_if_mounted(point))
}

/// As [`detach_if_mounted`], in the mount namespace of another process. On a thread of its own, which goes there.
pub fn detach_in(pid: i32, target: &Path) -> io::Result<()> {
    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/mnt"))?;
    let target = target.to_owned();
    let there = move || {
        // A thread that shares its working directory with others may not change its mount namespace.
        super::namespace::leave(super::namespace::Kinds::CLONE_FS)?;
        super::namespace::enter_one(&namespace)?;
        detach_if_mounted(&target)
    };
    let done = std::thread::Builder::new().spawn(there)?.join();
    done.unwrap_or_else(|_| Err(io::Error::other("the thread ended badly")))
}

/// Makes `new_root` (a mount point) the root of this mount namespace and detaches the old one.
pub fn pivot_into(new_root: &Path) -> io::Result<()> {
    rustix::process::chdir(new_root)?;
    // pivot_root(2): with both "." the old root ends up stacked upon the new one, and no directory is needed for it.
    rustix::process::pivot_root(".", ".")?;
    rx::unmount(".", rx::UnmountFlags::DETACH)?;
    Ok(rustix::process::chdir("/")?)
}

/// Returns a detached copy of the mount tree at `path` (with what is mounted below): a descriptor that can be sent to
/// a process in another mount namespace. `path` may be a file; a symlink is followed.
pub fn clone_tree(path: &Path) -> io::Result<OwnedFd> {
    use rx::OpenTreeFlags as Flags;
    let flags = Flags::OPEN_TREE_CLONE | Flags::OPEN_TREE_CLOEXEC | Flags::AT_RECURSIVE;
    Ok(rx::open_tree(CWD, path, flags)?)
}

/// As [`clone_tree`], without what is mounted below.
pub fn clone_mount(path: &Path) -> io::Result<OwnedFd> {
    use rx::OpenTreeFlags as Flags;
    Ok(rx::open_tree(
        CWD,
        path,
        Flags::OPEN_TREE_CLONE | Flags::OPEN_TREE_CLOEXEC,
    )?)
}

/// As [`clone_tree`] of what `path` leads to beneath `root`, which no link in it can leave. Without what is mounted below.
pub fn clone_beneath(root: &Path, path: &Path) -> io::Result<OwnedFd> {
    use rx::OpenTreeFlags as Flags;
    let root = open(
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let found = openat2(
        &root,
        Path::new(".").join(path.strip_prefix("/").unwrap_or(path)),
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )?;
    let flags = Flags::OPEN_TREE_CLONE | Flags::OPEN_TREE_CLOEXEC | Flags::AT_EMPTY_PATH;
    Ok(rx::open_tree(found, c"", flags)?)
}

/// Attaches a detached tree.
pub fn attach(tree: impl AsFd, target: &Path) -> io::Result<()> {
    Ok(rx::move_mount(
        tree,
        c"",
        CWD,
        target,
        rx::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?)
}

/// Attributes to change on a detached tree.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes<'a> {
    /// Makes it read-only.
    pub read_only: bool,
    /// No program, device or change of user comes of it: `nosuid`, `nodev`, `noexec`.
    pub inert: bool,
    /// `MS_PRIVATE`, `MS_SLAVE` or `MS_SHARED`; 0 leaves it.
    pub propagation: u64,
    /// Maps ids by this user namespace.
    pub idmap: Option<&'a OwnedFd>,
    /// On every mount of the tree, not the top one only.
    pub recursive: bool,
}

/// Changes attributes of the mount that `tree` is. Since 5.12; neither `rustix` nor `nix` has it.
pub fn set_attributes(tree: impl AsFd, wanted: Attributes<'_>) -> io::Result<()> {
    // struct mount_attr: attr_set, attr_clr, propagation, userns_fd.
    let mut attr = [0u64; 4];
    if wanted.read_only {
        attr[0] |= libc::MOUNT_ATTR_RDONLY;
    }
    if wanted.inert {
        attr[0] |= libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    }
    attr[2] = wanted.propagation;
    if let Some(user_namespace) = wanted.idmap {
        attr[0] |= libc::MOUNT_ATTR_IDMAP;
        attr[3] = user_namespace.as_raw_fd() as u64;
    }
    let recursive = if wanted.recursive {
        AtFlags::from_bits_retain(libc::AT_RECURSIVE as u32)
    } else {
        AtFlags::empty()
    };
    let flags = (recursive | AtFlags::EMPTY_PATH).bits();
    let fd = tree.as_fd().as_raw_fd();
    // SAFETY: the path is a C string, `attr` has the layout of the given size, both outlive the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd,
            c"".as_ptr(),
            flags,
            attr.as_ptr(),
            size_of_val(&attr),
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Shows the owners of a detached tree's files, with what is mounted below, as a user namespace knows them.
pub fn idmap(tree: impl AsFd, user_namespace: &OwnedFd) -> io::Result<()> {
    let attributes = Attributes {
        idmap: Some(user_namespace),
        recursive: true,
        ..Attributes::default()
    };
    set_attributes(tree, attributes)
}

/// Returns every mount point of this namespace, in the order of mounting.
pub fn points() -> io::Result<Vec<PathBuf>> {
    points_of("self")
}

/// Returns every mount point of a process's namespace, as `/proc` names the process, in the order of mounting.
pub fn points_of(pid: &str) -> io::Result<Vec<PathBuf>> {
    Ok(table(pid)?.into_iter().map(|mounted| mounted.point).collect())
}

/// One line of a mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// What of the file system is there: of nsfs, the namespace's name.
    pub root: String,
    /// Where, as the process sees it.
    pub point: PathBuf,
    /// Of which file system.
    pub kind: String,
}

/// Returns the mounts that a process sees, as `/proc` names the process, in the order of mounting.
pub fn table(pid: &str) -> io::Result<Vec<Mounted>> {
    let table = std::fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
    Ok(table.lines().filter_map(mounted).collect())
}

/// proc(5): fields four and five are root and mount point, with blanks and the like in octal; the file system comes after
/// a field that is `-`.
fn mounted(line: &str) -> Option<Mounted> {
    let mut fields = line.split(' ').skip(3);
    Some(Mounted {
        root: unescape(fields.next()?),
        point: unescape(fields.next()?).into(),
        kind: fields.skip_while(|field| *field != "-").nth(1)?.to_owned(),
    })
}

/// Returns where namespaces of a kind, as `/proc/PID/ns` names it, are pinned in this mount namespace.
pub fn pinned(kind: &str) -> io::Result<Vec<PathBuf>> {
    let name = format!("{kind}:[");
    let all = table("self")?.into_iter();
    let pins = all.filter(|mounted| mounted.root.starts_with(&name));
    Ok(pins.map(|mounted| mounted.point).collect())
}

fn unescape(field: &str) -> String {
    let mut bytes = vec![];
    let mut rest = field.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let octal = (first == b'\\').then(|| tail.get(..3)).flatten();
        match octal
            .and_then(|d| std::str::from_utf8(d).ok())
            .and_then(|d| u8::from_str_radix(d, 8).ok())
        {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_blanks_are_unescaped() {
        assert_eq!(unescape(r"/a\040b\134c"), r"/a b\c");
        assert_eq!(unescape(r"/a\04"), r"/a\04");
    }

    #[test]
    fn the_root_is_a_mount_point() {
        assert!(points().unwrap().contains(&PathBuf::from("/")));
    }
}
