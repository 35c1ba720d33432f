//! The board: one page that a test and every process of the daemon under test share.
//!
//! The environment variable [`VARIABLE`] names its file. Each process maps it at its first step and hands it to its
//! forks, so a point is found wherever it is: behind other mounts, in other namespaces, without a descriptor open, after
//! the environment is gone. The test arms one point for one of its next passes; the process that makes this pass dies,
//! or says so and waits. Each point counts its passes, so that a test can tell which ones it has never reached.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::Duration;

use super::{POINTS, VARIABLE};

/// Room for this many points.
const MOST: usize = 256;
/// How often a held process looks whether it may go on.
const LOOK: Duration = Duration::from_millis(1);
/// A held process goes on by itself after this many looks: its test is gone.
const LOOKS: u32 = 60_000;
const NONE: u32 = u32::MAX;

/// What becomes of the process that reaches the armed point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It dies at once, as by SIGKILL.
    Die,
    /// It waits for [`Board::release`].
    Hold,
}

/// What is in the page.
#[repr(C)]
struct Page {
    /// Index of the armed point, or [`NONE`].
    armed: AtomicU32,
    /// Passes until it is the armed one's turn.
    left: AtomicU32,
    hold: AtomicU32,
    released: AtomicU32,
    /// The process that was hit, as it sees itself; 0: none yet.
    hit: AtomicI32,
    passes: [AtomicU32; MOST],
}

/// The test's side.
#[derive(Clone, Copy)]
pub struct Board {
    page: &'static Page,
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board").field("hit", &self.hit()).finish()
    }
}

impl Board {
    /// Makes the file, empty, and maps it.
    ///
    /// # Errors
    /// It cannot be made or mapped.
    pub fn create(path: &Path) -> io::Result<Board> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        file.set_len(size_of::<Page>() as u64)?;
        let board = Board { page: map(&file)? };
        board.disarm();
        Ok(board)
    }

    /// Arms a point for its `pass`-th pass from now on; the first is 1. Whatever was armed before is not any more.
    ///
    /// # Panics
    /// There is no such point.
    pub fn arm(&self, point: &str, pass: u32, action: Action) {
        let index = index(point).unwrap_or_else(|| panic!("no step point {point}"));
        self.disarm();
        self.page.hit.store(0, Ordering::SeqCst);
        self.page.released.store(0, Ordering::SeqCst);
        self.page
            .hold
            .store((action == Action::Hold).into(), Ordering::SeqCst);
        self.page.left.store(pass, Ordering::SeqCst);
        self.page.armed.store(index, Ordering::SeqCst);
    }

    /// Disarms, and lets go whoever is held.
    pub fn disarm(&self) {
        self.page.armed.store(NONE, Ordering::SeqCst);
        self.release();
    }

    /// The process that has died or is held, as it sees its own number; `None`: nobody has come by.
    pub fn hit(&self) -> Option<i32> {
        Some(self.page.hit.load(Ordering::SeqCst)).filter(|pid| *pid != 0)
    }

    /// Lets the held process go on.
    pub fn release(&self) {
        self.page.released.store(1, Ordering::SeqCst);
    }

    /// How often each point was passed since the board was made.
    pub fn passes(&self) -> Vec<(&'static str, u32)> {
        let counts = self.page.passes.iter().map(|count| count.load(Ordering::SeqCst));
        POINTS.iter().copied().zip(counts).collect()
    }
}

/// The page of this process; none when no test is looking.
fn page() -> Option<&'static Page> {
    static PAGE: OnceLock<Option<&'static Page>> = OnceLock::new();
    *PAGE.get_or_init(|| {
        let path = std::env::var_os(VARIABLE)?;
        let file = File::options().read(true).write(true).open(path).ok()?;
        map(&file).ok()
    })
}

fn map(file: &File) -> io::Result<&'static Page> {
    if file.metadata()?.len() < size_of::<Page>() as u64 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let (read_write, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    // SAFETY: a new mapping of a file that is long enough, never unmapped; any bytes are a valid page of atomics.
    let page = unsafe {
        let at = libc::mmap(
            std::ptr::null_mut(),
            size_of::<Page>(),
            read_write,
            shared,
            file.as_raw_fd(),
            0,
        );
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        &*at.cast::<Page>()
    };
    Ok(page)
}

fn index(point: &str) -> Option<u32> {
    let at = POINTS.iter().position(|known| *known == point)?;
    u32::try_from(at).ok()
}

pub(super) fn step(name: &'static str) {
    let Some(page) = page() else { return };
    let Some(index) = index(name) else { return };
    page.passes[index as usize].fetch_add(1, Ordering::SeqCst);
    if page.armed.load(Ordering::SeqCst) != index || page.left.fetch_sub(1, Ordering::SeqCst) != 1 {
        return;
    }
    page.armed.store(NONE, Ordering::SeqCst);
    let own = rustix::process::getpid();
    let hold = page.hold.load(Ordering::SeqCst) == 1;
    page.hit.store(own.as_raw_nonzero().get(), Ordering::SeqCst);
    if !hold {
        let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
        // The first process of a PID namespace cannot kill itself.
        crate::sys::fork::exit_now(137);
    }
    for _ in 0..LOOKS {
        if page.released.load(Ordering::SeqCst) == 1 {
            return;
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_room() {
        assert!(POINTS.len() <= MOST);
    }

    #[test]
    fn a_point_is_hit_at_the_armed_pass_and_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let board = Board::create(file.path()).unwrap();
        let (first, other) = (POINTS[0], POINTS[1]);

        board.arm(first, 2, Action::Hold);

        let left = || (board.page.left.load(Ordering::SeqCst), board.hit());
        assert_eq!(left(), (2, None));
        assert_ne!(index(first), index(other));
        assert_eq!(board.page.armed.load(Ordering::SeqCst), index(first).unwrap());
        board.disarm();
        assert_eq!(board.page.armed.load(Ordering::SeqCst), NONE);
    }
}
