//! Our own executable in a form that nobody can write to, not even a container that gets hold of `/proc/PID/exe` (the class
//! of CVE-2019-5736).

use super::mount;
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, memfd_create, openat};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::fs::MetadataExt;

/// Returns the running executable, to be run again: by a mount of its own, or as a copy where that cannot be (a kernel before
/// 5.12, a file that was replaced since it was started).
pub fn protected_self() -> io::Result<OwnedFd> {
    read_only_self().or_else(|_| sealed_self())
}

/// Returns the file itself, whose pages are shared by all that run from it, by a read-only mount of its directory. The mount
/// is in no namespace, and dissolved before the file is run: what is left of it nobody can make writable, bind or remount.
fn read_only_self() -> io::Result<OwnedFd> {
    let path = fs::read_link("/proc/self/exe")?;
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let tree = mount::clone_mount(directory)?;
    let attributes = mount::Attributes {
        read_only: true,
        ..mount::Attributes::default()
    };
    mount::set_attributes(&tree, attributes)?;
    let file = openat(
        &tree,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let (found, own) = (rustix::fs::fstat(&file)?, fs::metadata("/proc/self/exe")?);
    if (found.st_dev, found.st_ino) != (own.st_dev(), own.st_ino()) {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(file)
}

/// Returns a copy in memory. Every process run from it maps the same pages.
fn sealed_self() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // MFD_EXEC exists since 6.3 and is the default elsewhere; where `vm.memfd_noexec` asks for it, it is needed.
    let memfd =
        memfd_create(c"coracle", flags | MemfdFlags::EXEC).or_else(|_| memfd_create(c"coracle", flags))?;
    let mut copy = File::from(memfd);
    io::copy(&mut File::open("/proc/self/exe")?, &mut copy)?;
    seal(&copy)?;
    Ok(copy.into())
}

/// Takes the right to change a file from everybody. On a busy machine a page may still be in other hands, those of a processor
/// that has just written it: the kernel waits for it, 150 ms each time it is asked.
fn seal(file: &File) -> io::Result<()> {
    const TRIES: usize = 20;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    let mut outcome = Ok(());
    for _ in 0..TRIES {
        outcome = fcntl_add_seals(file, seals);
        if outcome != Err(Errno::BUSY) {
            break;
        }
    }
    Ok(outcome?)
}

/// Returns an anonymous file, close-on-exec.
pub fn anonymous_file() -> io::Result<File> {
    Ok(memfd_create(c"coracle", MemfdFlags::CLOEXEC)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::FileExt;
    use std::process::{Child, Command, Stdio};

    /// Runs this test program from `image`, until it is killed.
    fn run(image: &OwnedFd) -> Child {
        Command::new(format!("/proc/self/fd/{}", image.as_raw_fd()))
            .args(["--exact", "sys::image::tests::waits_to_be_killed", "--ignored"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    #[test]
    #[ignore = "a program for the others"]
    fn waits_to_be_killed() {
        let _ = io::stdin().read_line(&mut String::new());
    }

    fn cannot_be_written(mut child: Child) {
        let path = format!("/proc/{}/exe", child.id());
        // What a container may hold for later, when the program has ended and is no longer busy.
        let kept = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let now = File::options().write(true).open(&path);
        child.kill().unwrap();
        child.wait().unwrap();
        let later = File::options()
            .write(true)
            .open(format!("/proc/self/fd/{}", kept.as_raw_fd()))
            .and_then(|file| file.write_at(b"x", 0));
        assert!(now.is_err());
        assert!(later.is_err());
    }

    #[test]
    fn a_program_run_by_its_mount_cannot_be_written() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: needs root");
        }
        let image = read_only_self().unwrap();
        let child = run(&image);
        let path = format!("/proc/{}/exe", child.id());
        let (found, own) = (
            fs::metadata(&path).unwrap(),
            fs::metadata("/proc/self/exe").unwrap(),
        );
        assert_eq!((found.st_dev(), found.st_ino()), (own.st_dev(), own.st_ino()));
        // The mount is nobody's: it can be neither cloned nor changed.
        assert!(mount::clone_mount(path.as_ref()).is_err());
        let changed = mount::set_attributes(
            &image,
            mount::Attributes {
                propagation: libc::MS_PRIVATE,
                ..mount::Attributes::default()
            },
        );
        assert_eq!(changed.unwrap_err().raw_os_error(), Some(libc::EINVAL));
        cannot_be_written(child);
    }

    #[test]
    fn a_program_run_from_its_copy_cannot_be_written() {
        cannot_be_written(run(&sealed_self().unwrap()));
    }
}
