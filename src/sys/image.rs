//! Our own executable as a sealed file in memory.

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

/// Returns a copy of the running executable that nobody can write to, not even a container that gets hold of
/// `/proc/PID/exe` (the class of CVE-2019-5736). Every process run from it maps the same pages.
pub fn sealed_self() -> io::Result<OwnedFd> {
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
