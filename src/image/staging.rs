//! Directories for unfinished work, and for what is on its way out.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, openat, renameat_with, unlinkat};
use rustix::io::Errno;
use tokio_util::task::TaskTracker;

use super::live::Hold;
use crate::model::is_shortage;
use crate::sys::step;

/// Directories nested deeper are moved up before they are removed: a container may nest them without end, and a level
/// costs a descriptor and a frame.
const MAX_DEPTH: usize = 64;

/// A directory for unfinished work. Dropping it removes it in the background.
#[derive(Debug)]
pub(super) struct Staging {
    tasks: TaskTracker,
    /// There until it is dropped.
    hold: Option<Hold>,
}

impl Staging {
    /// Takes charge of the directory whose name is held. `tasks` owns the removal.
    pub(super) fn new(hold: Hold, tasks: TaskTracker) -> Staging {
        let hold = Some(hold);
        Staging { tasks, hold }
    }

    pub(super) fn path(&self) -> &Path {
        self.hold.as_ref().map_or(Path::new(""), Hold::path)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let Some(hold) = self.hold.take() else {
            return;
        };
        let sweep = move || sweep(hold);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(self.tasks.spawn_blocking_on(sweep, &runtime)),
            Err(_) => sweep(),
        }
    }
}

/// Removes what is held, and, if that succeeds, what could not be removed before for want of descriptors or memory.
fn sweep(hold: Hold) {
    step("image.sweep");
    let live = hold.live().clone();
    let mut todo = vec![hold];
    let mut others_taken = false;
    while let Some(hold) = todo.pop() {
        let path = hold.path().display();
        match remove_tree(hold.path()) {
            Err(error) if is_shortage(&error) => {
                tracing::warn!(%path, %error, "cannot remove leftover, the next removal tries again");
                hold.wait();
                todo.drain(..).for_each(Hold::wait);
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%path, %error, "cannot remove leftover, next start tries again");
            }
            _ if !others_taken => {
                others_taken = true;
                todo.extend(live.take_waiting());
            }
            _ => {}
        }
    }
}

/// Removes something with all below it, however deep. Follows no symbolic link.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = File::open(parent)?;
    let name = name.as_encoded_bytes().to_vec();
    let mut removal = Removal {
        top: parent.as_fd(),
        prefix: name.clone(),
        moved: 0,
        todo: vec![name],
    };
    while let Some(name) = removal.todo.pop() {
        removal.remove(parent.as_fd(), &name, 0)?;
    }
    Ok(())
}

struct Removal<'a> {
    /// Where deep directories are moved to.
    top: BorrowedFd<'a>,
    prefix: Vec<u8>,
    moved: u64,
    todo: Vec<Vec<u8>>,
}

impl Removal<'_> {
    fn remove(&mut self, directory: BorrowedFd<'_>, name: &[u8], depth: usize) -> io::Result<()> {
        match unlinkat(directory, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => {}
            other => return Ok(other?),
        }
        if depth > MAX_DEPTH {
            let up = self.move_up(directory, name)?;
            self.todo.push(up);
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let below = openat(directory, name, flags, Mode::empty())?;
        for entry in Dir::read_from(&below)? {
            let entry = entry?;
            let inner = entry.file_name().to_bytes();
            if inner == b"." || inner == b".." {
                continue;
            }
            if matches!(entry.file_type(), FileType::Directory | FileType::Unknown) {
                self.remove(below.as_fd(), inner, depth + 1)?;
            } else {
                unlinkat(&below, inner, AtFlags::empty())?;
            }
        }
        unlinkat(directory, name, AtFlags::REMOVEDIR)?;
        Ok(())
    }
}

impl Removal<'_> {
    /// Moves a directory to the top, under a name that nothing has: a removal that a crash cut short has left some.
    fn move_up(&mut self, directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            let mut up = self.prefix.clone();
            up.extend_from_slice(format!("-deep-{}", self.moved).as_bytes());
            self.moved += 1;
            match renameat_with(directory, name, self.top, &up[..], RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(up),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Makes a directory of mode 0700 with its parents; one that exists gets the mode.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_of_any_depth_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("deep");
        fs::create_dir(&deep).unwrap();
        let mut here = File::open(&deep).unwrap();
        // As a removal that a crash cut short leaves it.
        fs::create_dir_all(dir.path().join("deep-deep-0/full")).unwrap();
        for _ in 0..10_000 {
            rustix::fs::mkdirat(&here, "d", Mode::RWXU).unwrap();
            drop(openat(&here, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap());
            here = openat(&here, "d", OFlags::RDONLY, Mode::empty()).unwrap().into();
        }
        drop(here);

        remove_tree(&deep).unwrap();

        let left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(left, ["deep-deep-0"]);
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("tree/sub")).unwrap();
        fs::write(dir.path().join("kept"), "x").unwrap();
        std::os::unix::fs::symlink("../kept", dir.path().join("tree/link")).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("tree/sub/root")).unwrap();

        remove_tree(&dir.path().join("tree")).unwrap();

        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
