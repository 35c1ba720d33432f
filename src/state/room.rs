//! Room for the store: the file system's, taken before it is needed.
//!
//! The database beneath asks for a longer file in the middle of a transaction, and after any failed write it takes no more
//! until it is opened again. So blocks are allocated when the file grows, not when they are written, and as many again
//! are held beyond its end. With that reserve what was begun can be finished on a full disk: ends and removals change what
//! is there, and only what is new is refused. File systems that cannot allocate ahead have to do without.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, Builder, Database, DatabaseError, StorageBackend, StorageError};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// The smallest reserve.
const LEAST: u64 = 1 << 20;

/// Bytes of the file that the database keeps in memory. It is read once, at the start; the kernel has what a change needs.
const CACHE: usize = 1 << 20;

/// The file of a database and its reserve.
#[derive(Debug)]
pub(super) struct Room {
    inner: FileBackend,
    file: File,
    /// The reserve is held.
    held: AtomicBool,
}

/// Opens or makes a database whose file has a reserve, if there is room for one.
pub(super) fn open(path: &Path) -> Result<(Database, Arc<Room>), DatabaseError> {
    let failed = |error| DatabaseError::Storage(StorageError::Io(error));
    let open = || {
        let mut options = File::options();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        Ok((file.try_clone()?, file))
    };
    let (file, own) = open().map_err(failed)?;
    let room = Arc::new(Room {
        inner: FileBackend::new(own)?,
        file,
        held: AtomicBool::new(false),
    });
    let database = Builder::new()
        .set_cache_size(CACHE)
        .create_with_backend(Backend(Arc::clone(&room)))?;
    Ok((database, room))
}

impl Room {
    /// Takes the reserve, unless it is held: as much as the file has, which is what the database asks for next.
    ///
    /// # Errors
    /// Why it cannot be had, in the file system's words.
    pub(super) fn reserve(&self) -> io::Result<()> {
        if self.held.load(Ordering::Acquire) {
            return Ok(());
        }
        let length = self.inner.len()?;
        self.allocate(FallocateFlags::KEEP_SIZE, length, length.max(LEAST))?;
        self.held.store(true, Ordering::Release);
        Ok(())
    }

    fn allocate(&self, flags: FallocateFlags, from: u64, length: u64) -> io::Result<()> {
        loop {
            match fallocate(&self.file, flags, from, length) {
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
                other => return Ok(other?),
            }
        }
    }
}

/// What the database is given.
#[derive(Debug)]
struct Backend(Arc<Room>);

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.inner.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let before = self.0.inner.len()?;
        // Either way what lies beyond the end is not what it was.
        self.0.held.store(false, Ordering::Release);
        if length > before {
            self.0
                .allocate(FallocateFlags::empty(), before, length - before)?;
        }
        match self.0.inner.len()? == length {
            true => Ok(()),
            false => self.0.inner.set_len(length),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.inner.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.query_lock_range(start, end)
    }
}
