//! Writes the content of regular files, and lists each with a hash of it.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{Mode, OFlags, futimens, openat};
use xxhash_rust::xxh3::Xxh3;

use super::UnpackError;
use super::archive::{Archive, Entry};
use super::attributes::{both, dress};
use super::sparse::Chunk;
use super::write::{BLOCK, Writer};

impl Writer<'_> {
    /// Writes a file of `size` bytes, of which the archive has all or, of a sparse one, `chunks`.
    pub(super) fn file<R: Read>(
        &mut self,
        path: &[u8],
        entry: &Entry,
        (size, chunks): (u64, Option<&[Chunk]>),
        archive: &mut Archive<R>,
    ) -> Result<(), UnpackError> {
        self.left = self.left.checked_sub(size).ok_or(UnpackError::TooLarge {
            limit: self.request.limits.bytes,
            unit: "bytes",
        })?;
        let fail = |error| UnpackError::write(path, error);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened: OwnedFd = self
            .replace(path, |directory, name| {
                openat(directory, name, flags, Mode::RUSR | Mode::WUSR)
            })
            .map_err(fail)?;
        let file = File::from(opened);
        let (stored, hash) = match chunks {
            None => (size, self.dense(path, &file, size, archive)?),
            Some(chunks) => self.sparse(path, &file, size, chunks, archive)?,
        };
        dress(file.as_fd(), entry).map_err(fail)?;
        futimens(&file, &both(entry.mtime)).map_err(fail)?;
        self.facts.bytes += stored.next_multiple_of(BLOCK);
        self.list(path, size, hash)
    }

    fn dense<R: Read>(
        &mut self,
        path: &[u8],
        file: &File,
        size: u64,
        archive: &mut Archive<R>,
    ) -> Result<u64, UnpackError> {
        let mut hash = Xxh3::new();
        let mut left = size;
        while left > 0 {
            let count = self.fill(left, archive)?;
            hash.update(&self.buffer[..count]);
            (&mut &*file)
                .write_all(&self.buffer[..count])
                .map_err(|e| UnpackError::write(path, e))?;
            left -= count as u64;
        }
        Ok(hash.digest())
    }

    fn sparse<R: Read>(
        &mut self,
        path: &[u8],
        file: &File,
        size: u64,
        chunks: &[Chunk],
        archive: &mut Archive<R>,
    ) -> Result<(u64, u64), UnpackError> {
        let mut hash = Xxh3::new();
        let mut position = 0;
        let mut stored = 0;
        for chunk in chunks {
            hash_hole(&mut hash, chunk.offset - position);
            position = chunk.offset;
            let mut left = chunk.length;
            while left > 0 {
                let count = self.fill(left, archive)?;
                hash.update(&self.buffer[..count]);
                file.write_all_at(&self.buffer[..count], position)
                    .map_err(|e| UnpackError::write(path, e))?;
                position += count as u64;
                left -= count as u64;
            }
            stored += chunk.length.next_multiple_of(BLOCK);
        }
        hash_hole(&mut hash, size - position);
        file.set_len(size).map_err(|e| UnpackError::write(path, e))?;
        Ok((stored, hash.digest()))
    }

    /// Fills the buffer, so that small reads do not become small writes.
    fn fill<R: Read>(&mut self, left: u64, archive: &mut Archive<R>) -> Result<usize, UnpackError> {
        let wanted = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut filled = 0;
        while filled < wanted {
            match archive.read(&mut self.buffer[filled..wanted])? {
                0 => return Err(UnpackError::Malformed("archive ends within an entry".to_owned())),
                count => filled += count,
            }
        }
        Ok(filled)
    }

    fn list(&mut self, path: &[u8], size: u64, hash: u64) -> Result<(), UnpackError> {
        self.list_line(format!("{hash:016x} {size} ").into_bytes(), path)
            .map_err(|e| UnpackError::write(path, e))
    }

    /// Notes that what was listed at a path and below it is no more.
    pub(super) fn list_gone(&mut self, path: &[u8]) -> io::Result<()> {
        self.list_line(b"- - ".to_vec(), path)
    }

    fn list_line(&mut self, mut line: Vec<u8>, path: &[u8]) -> io::Result<()> {
        for byte in path {
            match byte {
                b'\n' => line.extend_from_slice(b"\\n"),
                b'\\' => line.extend_from_slice(b"\\\\"),
                other => line.push(*other),
            }
        }
        line.push(b'\n');
        self.files.write_all(&line)
    }
}

fn hash_hole(hash: &mut Xxh3, mut length: u64) {
    const ZEROS: &[u8] = &[0; 64 << 10];
    while length > 0 {
        let count = length.min(ZEROS.len() as u64);
        hash.update(&ZEROS[..count as usize]);
        length -= count;
    }
}
