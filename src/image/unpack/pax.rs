//! The extended headers of POSIX pax archives.

use rustix::fs::Timespec;

use super::UnpackError;

/// What a pax header overrides; the last record of a key wins, an empty value takes the override back.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<Timespec>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub sparse: PaxSparse,
}

/// The GNU records about sparse files, all three versions.
#[derive(Debug, Default)]
pub(super) struct PaxSparse {
    pub major: Option<u64>,
    pub name: Option<Vec<u8>>,
    pub real_size: Option<u64>,
    /// Alternately offset and length (versions 0.0 and 0.1).
    pub map: Vec<u64>,
}

impl Pax {
    /// Adds the records of one header: `length key=value\n`, the length counting itself and the newline.
    pub(super) fn add(&mut self, mut records: &[u8]) -> Result<(), UnpackError> {
        while !records.is_empty() {
            let (record, rest) = split_record(records)
                .ok_or_else(|| UnpackError::Malformed("extended header has a broken record".to_owned()))?;
            records = rest;
            let Some(equals) = record.iter().position(|b| *b == b'=') else {
                return Err(UnpackError::Malformed(
                    "extended header has a record without value".to_owned(),
                ));
            };
            self.set(&record[..equals], &record[equals + 1..])?;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), UnpackError> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            self.xattrs.retain(|(known, _)| known != name);
            self.xattrs.push((name.to_vec(), value.to_vec()));
            return Ok(());
        }
        match key {
            b"path" => self.path = text(value)?,
            b"linkpath" => self.link = text(value)?,
            b"size" => self.size = number(value)?,
            b"uid" => self.uid = number(value)?,
            b"gid" => self.gid = number(value)?,
            b"mtime" => self.mtime = time(value)?,
            b"GNU.sparse.major" => self.sparse.major = number(value)?,
            b"GNU.sparse.name" => self.sparse.name = text(value)?,
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => self.sparse.real_size = number(value)?,
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => self.sparse.map.extend(number(value)?),
            b"GNU.sparse.map" => {
                self.sparse.map.clear();
                for part in value.split(|b| *b == b',').filter(|p| !p.is_empty()) {
                    self.sparse.map.extend(number(part)?);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn split_record(records: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = records.iter().take(20).position(|b| *b == b' ')?;
    let length: usize = std::str::from_utf8(&records[..space]).ok()?.parse().ok()?;
    if length <= space + 1 || length > records.len() || records[length - 1] != b'\n' {
        return None;
    }
    Some((&records[space + 1..length - 1], &records[length..]))
}

fn text(value: &[u8]) -> Result<Option<Vec<u8>>, UnpackError> {
    if value.contains(&0) {
        return Err(UnpackError::Malformed(
            "extended header has a name with a zero byte".to_owned(),
        ));
    }
    Ok((!value.is_empty()).then(|| value.to_vec()))
}

fn number(value: &[u8]) -> Result<Option<u64>, UnpackError> {
    if value.is_empty() {
        return Ok(None);
    }
    let parsed = value
        .iter()
        .all(u8::is_ascii_digit)
        .then(|| std::str::from_utf8(value).ok()?.parse().ok())
        .flatten();
    match parsed {
        Some(number) => Ok(Some(number)),
        None => Err(UnpackError::Malformed(
            "extended header has a bad number".to_owned(),
        )),
    }
}

/// Seconds with a fraction of any length, either sign.
fn time(value: &[u8]) -> Result<Option<Timespec>, UnpackError> {
    let bad = || UnpackError::Malformed("extended header has a bad time".to_owned());
    if value.is_empty() {
        return Ok(None);
    }
    let text = std::str::from_utf8(value).map_err(|_| bad())?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let negative = seconds.starts_with('-');
    let mut seconds: i64 = seconds.parse().map_err(|_| bad())?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    let mut nanoseconds: i64 = fraction
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(9)
        .fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    if negative && nanoseconds > 0 {
        seconds = seconds.checked_sub(1).ok_or_else(bad)?;
        nanoseconds = 1_000_000_000 - nanoseconds;
    }
    Ok(Some(Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_record_of_a_key_wins() {
        let mut pax = Pax::default();

        pax.add(b"10 path=a\n10 path=b\n").unwrap();

        assert_eq!(pax.path.as_deref(), Some(&b"b"[..]));
    }

    #[test]
    fn broken_records_are_refused() {
        for records in [
            &b"x"[..],
            b"8 path=a\n",
            b"99 path=a\n",
            b"2 \n",
            b"8 patha\n",
            b"13 size=-12\n",
            b"9999999999999999999999 a=b\n",
        ] {
            assert!(Pax::default().add(records).is_err(), "{records:?}");
        }
    }

    #[test]
    fn times_have_fractions_and_signs() {
        let check = |text: &str, seconds, nanoseconds| {
            let time = time(text.as_bytes()).unwrap().unwrap();
            assert_eq!((time.tv_sec, time.tv_nsec), (seconds, nanoseconds), "{text}");
        };

        check("5", 5, 0);
        check("5.25", 5, 250_000_000);
        check("5.1234567899", 5, 123_456_789);
        check("-1.5", -2, 500_000_000);
        check("-0.5", -1, 500_000_000);
    }
}
