//! Small disks, and what fills them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::statvfs;

use crate::harness::node::{node, shell};

/// A file system of its own, mounted in the node.
pub(crate) struct Disk {
    pub(crate) path: PathBuf,
}

impl Disk {
    /// An ext4 of `size` (as truncate(1) has it) at `path`, made with further options of mke2fs.
    pub(crate) fn ext4(path: &Path, size: &str, options: &str) -> Disk {
        let image = node().directory.join(format!("small-{}.img", node().number()));
        fs::create_dir_all(path).unwrap();
        shell(&format!(
            "truncate -s {size} {image} && mke2fs -q -t ext4 -m 0 {options} {image} && mount -o loop,noatime {image} {path}",
            image = image.display(),
            path = path.display(),
        ));
        Disk {
            path: path.to_owned(),
        }
    }

    /// A tmpfs at `path`, with options of mount(8).
    pub(crate) fn tmpfs(path: &Path, options: &str) -> Disk {
        fs::create_dir_all(path).unwrap();
        shell(&format!(
            "mount -t tmpfs -o mode=711,{options} small {}",
            path.display()
        ));
        Disk {
            path: path.to_owned(),
        }
    }

    /// Takes all room but `left` KiB.
    pub(crate) fn fill(&self, left: u64) {
        let ballast = File::create(self.ballast()).unwrap();
        let mut length = 0;
        // Other writers take and give back while this goes on: down to what cannot be had.
        loop {
            let now = statvfs(&self.path).unwrap();
            let free = now.blocks_available() * now.fragment_size() / 1024;
            let Some(more) = free.checked_sub(left).filter(|more| *more >= 4) else {
                break;
            };
            let more = i64::try_from(more / 4 * 4 * 1024).unwrap();
            match fallocate(&ballast, FallocateFlags::empty(), length, more) {
                Ok(()) => length += more,
                Err(_) if left == 0 => {
                    // The file system keeps some for itself.
                    let mut step = more;
                    while step > 4096 {
                        step /= 2;
                        if fallocate(&ballast, FallocateFlags::empty(), length, step).is_ok() {
                            length += step;
                        }
                    }
                    break;
                }
                Err(_) => break,
            }
        }
    }

    /// Takes all inodes but `left`.
    pub(crate) fn take_inodes(&self, left: u64) {
        fs::create_dir_all(self.ballast()).unwrap();
        for n in 0.. {
            if statvfs(&self.path).unwrap().files_available() <= left {
                break;
            }
            if File::create(self.ballast().join(n.to_string())).is_err() {
                break;
            }
        }
    }

    /// Gives back what was taken.
    pub(crate) fn free(&self) {
        let _ = fs::remove_dir_all(self.ballast());
        let _ = fs::remove_file(self.ballast());
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }
}
