//! What a record's bytes are wrapped in: enough to tell whether they are whole, whose they are, and which of two is the
//! later one, even when all that is left of the store is its raw bytes.
//!
//! ```text
//! magic, 8   when, 8   lengths of table, key and payload, 4 each   table   key   payload   xxh3 of all before, 16
//! ```
//!
//! A record of the time before envelopes is its payload alone, which begins with none of the magic's bytes.

use xxhash_rust::xxh3::xxh3_128;

use crate::sys::clock::now;

const MAGIC: &[u8; 8] = b"\x01record1";
const HEADER: usize = 28;
const SUM: usize = 16;

/// A whole envelope.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Envelope<'a> {
    /// Nanoseconds since the epoch.
    pub(super) when: u64,
    pub(super) table: &'a str,
    pub(super) key: &'a str,
    pub(super) payload: &'a [u8],
}

/// Wraps a record.
pub(super) fn seal(table: &str, key: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + table.len() + key.len() + payload.len() + SUM);
    bytes.extend(MAGIC);
    bytes.extend(now().to_le_bytes());
    for part in [table.as_bytes(), key.as_bytes(), payload] {
        bytes.extend((part.len() as u32).to_le_bytes());
    }
    for part in [table.as_bytes(), key.as_bytes(), payload] {
        bytes.extend(part);
    }
    bytes.extend(xxh3_128(&bytes).to_le_bytes());
    bytes
}

/// The payload of a record, if it is what was written under this key. One without an envelope is taken as it is.
pub(super) fn open<'a>(table: &str, key: &str, bytes: &'a [u8]) -> Option<&'a [u8]> {
    if bytes.first() != MAGIC.first() {
        return Some(bytes);
    }
    let (envelope, length) = read(bytes)?;
    let own = envelope.table == table && envelope.key == key && length == bytes.len();
    own.then_some(envelope.payload)
}

/// Every whole envelope in raw bytes.
pub(super) fn carve(bytes: &[u8]) -> impl Iterator<Item = Envelope<'_>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = bytes.get(from..)?;
            let found = rest.windows(MAGIC.len()).position(|window| window == MAGIC)?;
            from += found;
            match read(&bytes[from..]) {
                Some((envelope, length)) => {
                    from += length;
                    return Some(envelope);
                }
                None => from += 1,
            }
        }
    })
}

/// The envelope that bytes begin with, and its length.
fn read(bytes: &[u8]) -> Option<(Envelope<'_>, usize)> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let when = u64::from_le_bytes(rest.get(..8)?.try_into().ok()?);
    let number = |at: usize| Some(u32::from_le_bytes(rest.get(at..at + 4)?.try_into().ok()?) as usize);
    let (table, key, payload) = (number(8)?, number(12)?, number(16)?);
    let end = HEADER
        .checked_add(table)?
        .checked_add(key)?
        .checked_add(payload)?;
    let sum = bytes.get(end..end.checked_add(SUM)?)?;
    if xxh3_128(&bytes[..end]).to_le_bytes() != sum {
        return None;
    }
    let (table_end, key_end) = (HEADER + table, HEADER + table + key);
    let envelope = Envelope {
        when,
        table: str::from_utf8(&bytes[HEADER..table_end]).ok()?,
        key: str::from_utf8(&bytes[table_end..key_end]).ok()?,
        payload: &bytes[key_end..end],
    };
    Some((envelope, end + SUM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_opened_and_only_under_its_own_name() {
        let bytes = seal("boats", "a", b"{}");

        assert_eq!(open("boats", "a", &bytes), Some(&b"{}"[..]));
        assert_eq!(open("boats", "b", &bytes), None);
        assert_eq!(open("ships", "a", &bytes), None);
        assert_eq!(open("boats", "a", b"{\"old\":1}"), Some(&b"{\"old\":1}"[..]));
    }

    #[test]
    fn no_flipped_bit_passes() {
        let good = seal("boats", "a", br#"{"oars":2}"#);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);

            // A first byte that is not the magic's leaves text that is no record of old either.
            let opened = open("boats", "a", &bad);

            assert!(opened.is_none_or(|payload| payload == bad), "bit {bit}");
            assert!(
                serde_json::from_slice::<serde_json::Value>(opened.unwrap_or_default()).is_err(),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn records_are_found_in_raw_bytes() {
        let raw = [
            b"\x01rec".to_vec(),
            seal("t", "a", b"1"),
            vec![0; 9],
            seal("t", "b", b"2"),
            b"\x01record1".to_vec(),
        ]
        .concat();

        let found: Vec<_> = carve(&raw)
            .map(|envelope| (envelope.key.to_owned(), envelope.payload.to_vec()))
            .collect();

        assert_eq!(
            found,
            [("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())]
        );
    }
}
