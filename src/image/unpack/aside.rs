//! Inflates a layer in a thread of its own: the writing of a large one need not wait for it.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::Counted;
use super::decode::inflate;

const PART: usize = 128 << 10;
/// Parts that wait to be written: about a megabyte.
const PARTS_AHEAD: usize = 8;

/// Plain bytes, and how many packed ones were taken until their end.
struct Part {
    bytes: Vec<u8>,
    packed: u64,
}

/// Calls `work` with a reader of the plain bytes. `count` says how many packed ones have been taken for what was read.
///
/// Returns when both have ended: if `work` leaves bytes unread, once the source gives its next ones or fails.
pub(super) fn aside<T>(
    packed: impl BufRead + Send,
    count: &Cell<u64>,
    work: impl FnOnce(Inflated<'_>) -> T,
) -> io::Result<T> {
    let (full, parts) = sync_channel(PARTS_AHEAD);
    // One is being read and one being filled.
    let (spent, empty) = sync_channel(PARTS_AHEAD + 2);
    thread::scope(|scope| {
        thread::Builder::new()
            .name("inflate".to_owned())
            .spawn_scoped(scope, move || feed(packed, &full, &empty))?;
        Ok(work(Inflated {
            parts,
            spent,
            part: None,
            at: 0,
            count,
        }))
    })
}

/// Ends with the layer, its first error, or the reader.
fn feed(packed: impl BufRead, full: &SyncSender<io::Result<Part>>, empty: &Receiver<Vec<u8>>) {
    let count = Cell::new(0);
    let counted = Counted {
        inner: packed,
        count: &count,
    };
    let mut inflated = match inflate(counted) {
        Ok(inflated) => inflated,
        // Nobody listens when the reader is gone: then it has an error of its own.
        Err(error) => return drop(full.send(Err(error))),
    };
    loop {
        let mut bytes = empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(PART));
        bytes.clear();
        let end = inflated.by_ref().take(PART as u64).read_to_end(&mut bytes);
        let packed = count.get();
        // What came before an error is read before it.
        if full.send(Ok(Part { bytes, packed })).is_err() {
            return;
        }
        match end {
            Ok(PART) => {}
            Ok(_) => return,
            Err(error) => return drop(full.send(Err(error))),
        }
    }
}

/// The plain bytes.
pub(super) struct Inflated<'a> {
    parts: Receiver<io::Result<Part>>,
    spent: SyncSender<Vec<u8>>,
    part: Option<Part>,
    at: usize,
    count: &'a Cell<u64>,
}

impl Read for Inflated<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(part) = self.part.as_ref().filter(|part| self.at < part.bytes.len()) {
                let count = buffer.len().min(part.bytes.len() - self.at);
                buffer[..count].copy_from_slice(&part.bytes[self.at..self.at + count]);
                self.at += count;
                return Ok(count);
            }
            if let Some(part) = self.part.take() {
                // The other side may have ended.
                let _ = self.spent.try_send(part.bytes);
            }
            let Ok(part) = self.parts.recv() else { return Ok(0) };
            let part = part?;
            self.count.set(part.packed);
            self.at = 0;
            self.part = Some(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads all of some packed bytes.
    fn read(packed: impl BufRead + Send) -> (Vec<u8>, Option<io::ErrorKind>, u64) {
        let (count, mut plain) = (Cell::new(0), Vec::new());
        let end = aside(packed, &count, |mut inflated| inflated.read_to_end(&mut plain)).unwrap();
        (plain, end.err().map(|error| error.kind()), count.get())
    }

    #[test]
    fn all_bytes_come_in_their_order() {
        let content: Vec<u8> = (0_u32..(3 << 18)).flat_map(u32::to_le_bytes).collect();
        let packed = zstd::encode_all(&content[..], 1).unwrap();

        let (plain, end, count) = read(&packed[..]);

        assert!(plain == content);
        assert_eq!((end, count), (None, packed.len() as u64));
        assert_eq!(read(&b""[..]), (vec![], None, 0));
    }

    #[test]
    fn what_came_before_an_error_is_read_before_it() {
        let content = vec![7; 5 * PART];
        let packed = zstd::encode_all(&content[..], 1).unwrap();
        let garbage = [&packed[..], b"garbage"].concat();

        let (plain, end, _) = read(&garbage[..]);

        assert_eq!(plain.len(), content.len());
        assert!(end.is_some());
    }

    #[test]
    fn who_reads_no_further_is_not_waited_for() {
        let content = vec![7; 4 * PARTS_AHEAD * PART];

        let first = aside(&content[..], &Cell::new(0), |mut inflated| {
            let mut byte = [0];
            inflated.read_exact(&mut byte).map(|()| byte[0])
        });

        assert_eq!(first.unwrap().unwrap(), 7);
    }
}
