//! Terminals.

use rustix::fs::{FileType, fstat};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Opens a terminal of the `/dev/pts` in sight and returns its master and its slave side, both close-on-exec.
///
/// A container may have put anything in place of `/dev/ptmx`: what is opened is checked, and the slave is opened
/// through the master instead of by a name.
pub fn open() -> io::Result<(OwnedFd, OwnedFd)> {
    let master: OwnedFd = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/ptmx")?
        .into();
    let stat = fstat(&master)?;
    let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice || device != (5, 2) {
        return Err(io::Error::from_raw_os_error(libc::ENOTTY));
    }
    unlockpt(&master)?;
    let slave = peer(&master)?;
    Ok((master, slave))
}

/// Opens the slave side of a master.
pub fn peer(master: impl AsFd) -> io::Result<OwnedFd> {
    Ok(ioctl_tiocgptpeer(
        master,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )?)
}

/// Makes a slave side the controlling terminal of the caller's (new) session.
pub fn make_controlling(slave: impl AsFd) -> io::Result<()> {
    Ok(rustix::process::ioctl_tiocsctty(slave)?)
}

/// Sets a terminal's size in characters, by either side.
pub fn set_size(terminal: impl AsFd, width: u16, height: u16) -> io::Result<()> {
    Ok(tcsetwinsize(
        terminal,
        Winsize {
            ws_col: width,
            ws_row: height,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
    )?)
}
