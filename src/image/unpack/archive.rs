//! Reads a tar archive entry by entry, in one normal form whatever dialect wrote it.
//!
//! Fields are decoded by the `tar` crate; extension headers are gathered here, so that one rule holds for all: pax wins
//! over GNU, both win over the header, and of several the last.

use std::io::{self, Read};

use rustix::fs::Timespec;
use tar::{EntryType, Header};

use super::UnpackError;
use super::pax::Pax;
use super::sparse::{self, Chunk};

const BLOCK: u64 = 512;
/// Longest extension header that is read.
const MAX_EXTENSION: u64 = 1 << 20;
/// Longest chain of blocks that describe one sparse file.
const MAX_SPARSE_BLOCKS: usize = 1 << 14;

/// One entry, its extensions applied.
#[derive(Debug)]
pub(super) struct Entry {
    pub path: Vec<u8>,
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Timespec,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What an entry makes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    /// A file of `size` bytes; the content follows, in `chunks` when it is sparse.
    File {
        size: u64,
        chunks: Option<Vec<Chunk>>,
    },
    Directory,
    Symlink(Vec<u8>),
    Hardlink(Vec<u8>),
    Character {
        major: u32,
        minor: u32,
    },
    Block {
        major: u32,
        minor: u32,
    },
    Fifo,
}

/// A tar archive that is being read.
#[derive(Debug)]
pub(super) struct Archive<R> {
    reader: R,
    /// Bytes of the present entry's content not yet read.
    content: u64,
    /// Bytes that fill up its last block.
    padding: u64,
}

/// The extension headers before an entry.
#[derive(Default)]
struct Extensions {
    pax: Pax,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

fn malformed(what: impl Into<String>) -> UnpackError {
    UnpackError::Malformed(what.into())
}

impl<R: Read> Archive<R> {
    pub(super) fn new(reader: R) -> Archive<R> {
        Archive {
            reader,
            content: 0,
            padding: 0,
        }
    }

    /// Goes to the next entry, past what is left of the present one. None at the end of the archive.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, UnpackError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_content()?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = number(&header.as_old().size, header.entry_size(), "size")?;
            match header.entry_type() {
                EntryType::XHeader => {
                    let records = self.extension(size)?;
                    extensions.pax.add(&records)?;
                }
                // As Go's reader does: what made the digests of nearly all images ignores global headers.
                EntryType::XGlobalHeader => drop(self.extension(size)?),
                EntryType::GNULongName => extensions.long_name = Some(self.long_text(size)?),
                EntryType::GNULongLink => extensions.long_link = Some(self.long_text(size)?),
                other if other.as_byte() == b'V' => self.begin_content(size)?,
                _ => return self.entry(&header, size, extensions).map(Some),
            }
        }
    }

    /// Reads content of the present entry.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, UnpackError> {
        let wanted = buffer
            .len()
            .min(usize::try_from(self.content).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        loop {
            match self.reader.read(&mut buffer[..wanted]) {
                Ok(0) => return Err(malformed("archive ends within an entry")),
                Ok(count) => {
                    self.content -= count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(UnpackError::Read(error)),
            }
        }
    }

    fn begin_content(&mut self, size: u64) -> Result<(), UnpackError> {
        // Keeps every sum below in range.
        if size > i64::MAX as u64 {
            return Err(malformed("header has a bad size"));
        }
        self.content = size;
        self.padding = size.next_multiple_of(BLOCK) - size;
        Ok(())
    }

    fn skip_content(&mut self) -> Result<(), UnpackError> {
        let skip = self.content + self.padding;
        let skipped =
            io::copy(&mut (&mut self.reader).take(skip), &mut io::sink()).map_err(UnpackError::Read)?;
        // Some writers leave out the padding of the very last entry.
        if skipped < self.content {
            return Err(malformed("archive ends within an entry"));
        }
        (self.content, self.padding) = (0, 0);
        Ok(())
    }

    /// Reads a header; none at the end marker or the end of the bytes.
    fn header(&mut self) -> Result<Option<Header>, UnpackError> {
        let mut header = Header::new_old();
        if !self.block(header.as_mut_bytes())? {
            return Ok(None);
        }
        if header.as_bytes().iter().all(|b| *b == 0) {
            let mut second = [0; BLOCK as usize];
            return match self.block(&mut second)? && second.iter().any(|b| *b != 0) {
                true => Err(malformed("archive goes on after its end marker")),
                false => Ok(None),
            };
        }
        check_sum(&header)?;
        Ok(Some(header))
    }

    /// Fills a block; false at the end of the bytes.
    fn block(&mut self, block: &mut [u8; BLOCK as usize]) -> Result<bool, UnpackError> {
        let mut filled = 0;
        while filled < block.len() {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(malformed("archive ends within a header")),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(UnpackError::Read(error)),
            }
        }
        Ok(true)
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, UnpackError> {
        if size > MAX_EXTENSION {
            return Err(UnpackError::TooLarge {
                limit: MAX_EXTENSION,
                unit: "bytes of one extended header",
            });
        }
        self.begin_content(size)?;
        let mut bytes = vec![0; size as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            filled += self.read(&mut bytes[filled..])?;
        }
        Ok(bytes)
    }

    fn long_text(&mut self, size: u64) -> Result<Vec<u8>, UnpackError> {
        let mut text = self.extension(size)?;
        if let Some(end) = text.iter().position(|b| *b == 0) {
            text.truncate(end);
        }
        Ok(text)
    }

    fn entry(&mut self, header: &Header, size: u64, extensions: Extensions) -> Result<Entry, UnpackError> {
        let Extensions {
            mut pax,
            long_name,
            long_link,
        } = extensions;
        let path = (pax.sparse.name.take())
            .or(pax.path.take())
            .or(long_name)
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let link = (pax.link.take())
            .or(long_link)
            .or_else(|| header.link_name_bytes().map(|l| l.into_owned()))
            .unwrap_or_default();
        let size = pax.size.unwrap_or(size);
        let kind = self.kind(header, &path, link, size, &pax)?;
        let old = header.as_old();
        let id = |pax: Option<u64>, field: &[u8], parsed: io::Result<u64>, what| {
            let id = match pax {
                Some(id) => id,
                None => number(field, parsed, what)?,
            };
            // -1 would mean "leave it" to chown.
            match u32::try_from(id) {
                Ok(id) if id != u32::MAX => Ok(id),
                _ => Err(malformed(format!("{what} {id} is out of range"))),
            }
        };
        Ok(Entry {
            kind,
            mode: number(&old.mode, header.mode(), "mode")? & 0o7777,
            uid: id(pax.uid, &old.uid, header.uid(), "user")?,
            gid: id(pax.gid, &old.gid, header.gid(), "group")?,
            mtime: pax.mtime.unwrap_or_else(|| Timespec {
                tv_sec: header.mtime().ok().and_then(|t| t.try_into().ok()).unwrap_or(0),
                tv_nsec: 0,
            }),
            xattrs: pax.xattrs,
            path,
        })
    }

    fn kind(
        &mut self,
        header: &Header,
        path: &[u8],
        link: Vec<u8>,
        size: u64,
        pax: &Pax,
    ) -> Result<EntryKind, UnpackError> {
        Ok(match header.entry_type() {
            EntryType::Directory => EntryKind::Directory,
            EntryType::Symlink => EntryKind::Symlink(link),
            EntryType::Link => EntryKind::Hardlink(link),
            EntryType::Fifo => EntryKind::Fifo,
            EntryType::Char => {
                let (major, minor) = device_numbers(header)?;
                EntryKind::Character { major, minor }
            }
            EntryType::Block => {
                let (major, minor) = device_numbers(header)?;
                EntryKind::Block { major, minor }
            }
            EntryType::GNUSparse => self.gnu_sparse(header, size)?,
            EntryType::Regular | EntryType::Continuous => {
                self.begin_content(size)?;
                // Archives older than POSIX have no other way to say directory.
                if path.ends_with(b"/") {
                    EntryKind::Directory
                } else {
                    self.pax_sparse(pax, size)?
                }
            }
            other => {
                return Err(malformed(format!(
                    "entry type {:?} is not known",
                    char::from(other.as_byte())
                )));
            }
        })
    }

    fn gnu_sparse(&mut self, header: &Header, stored: u64) -> Result<EntryKind, UnpackError> {
        let gnu = header
            .as_gnu()
            .ok_or_else(|| malformed("sparse file has no GNU header"))?;
        let size = gnu.real_size().map_err(|_| malformed("header has a bad size"))?;
        let mut chunks = Vec::new();
        sparse::add_gnu(&mut chunks, &gnu.sparse)?;
        let mut extended = gnu.is_extended();
        let mut blocks = 0;
        while extended {
            blocks += 1;
            let mut more = tar::GnuExtSparseHeader::new();
            if blocks > MAX_SPARSE_BLOCKS || !self.block(more.as_mut_bytes())? {
                return Err(malformed("sparse file has a broken map"));
            }
            sparse::add_gnu(&mut chunks, more.sparse())?;
            extended = more.is_extended();
        }
        self.begin_content(stored)?;
        sparse::validate(&chunks, size, stored)?;
        Ok(EntryKind::File {
            size,
            chunks: Some(chunks),
        })
    }

    fn pax_sparse(&mut self, pax: &Pax, stored: u64) -> Result<EntryKind, UnpackError> {
        let sparse = &pax.sparse;
        let (chunks, stored) = if sparse.major.is_some_and(|major| major > 0) {
            let (chunks, read) = sparse::read_map(&mut Content(self))?;
            (chunks, stored - read)
        } else if sparse.map.is_empty() {
            let kind = EntryKind::File {
                size: stored,
                chunks: None,
            };
            return Ok(kind);
        } else {
            (sparse::pair(&sparse.map)?, stored)
        };
        let size = sparse
            .real_size
            .ok_or_else(|| malformed("sparse file does not tell its size"))?;
        sparse::validate(&chunks, size, stored)?;
        Ok(EntryKind::File {
            size,
            chunks: Some(chunks),
        })
    }
}

/// The content of the present entry as a reader.
struct Content<'a, R>(&'a mut Archive<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(io::Error::other)
    }
}

fn device_numbers(header: &Header) -> Result<(u32, u32), UnpackError> {
    let (major, minor) = match (header.as_ustar(), header.as_gnu()) {
        (Some(ustar), _) => (&ustar.dev_major, &ustar.dev_minor),
        (None, Some(gnu)) => (&gnu.dev_major, &gnu.dev_minor),
        (None, None) => return Ok((0, 0)),
    };
    let some = |n: io::Result<Option<u32>>| n.map(Option::unwrap_or_default);
    Ok((
        number(major, some(header.device_major()), "device number")?,
        number(minor, some(header.device_minor()), "device number")?,
    ))
}

/// A blank field is zero.
fn number<T: Default>(field: &[u8], parsed: io::Result<T>, what: &str) -> Result<T, UnpackError> {
    if field.iter().all(|b| matches!(b, 0 | b' ')) {
        return Ok(T::default());
    }
    parsed.map_err(|_| malformed(format!("header has a bad {what}")))
}

/// Some old writers summed signed bytes.
fn check_sum(header: &Header) -> Result<(), UnpackError> {
    let expected = header
        .cksum()
        .map_err(|_| malformed("header has a bad checksum"))?;
    let bytes = header.as_bytes();
    let with_blanks = |i: usize| if (148..156).contains(&i) { b' ' } else { bytes[i] };
    let unsigned: u32 = (0..bytes.len()).map(|i| u32::from(with_blanks(i))).sum();
    let signed: i32 = (0..bytes.len())
        .map(|i| i32::from(with_blanks(i).cast_signed()))
        .sum();
    if expected == unsigned || i32::try_from(expected) == Ok(signed) {
        return Ok(());
    }
    Err(malformed("header has a wrong checksum"))
}
