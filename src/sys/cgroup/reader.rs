//! Control files of one group, for those who ask again and again: the few that every reading needs stay open.

use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::io::pread;

use crate::sys::cgroup::Cgroup;

/// A v1 limit this large means none.
const UNLIMITED: u64 = 1 << 62;

/// Reads a group's control files. A file that is not there reads as nothing: not every kernel accounts for everything.
#[derive(Debug)]
pub struct Reader {
    pub(super) cgroup: Cgroup,
    /// By controller and file. They are few.
    kept: Mutex<Vec<((&'static str, &'static str), File)>>,
}

impl Reader {
    /// A reader that has nothing open yet.
    pub fn new(cgroup: Cgroup) -> Reader {
        Reader {
            cgroup,
            kept: Mutex::default(),
        }
    }

    /// What the text of a file tells that stays open. On v2 the controller is empty.
    pub(super) fn kept<T>(
        &self,
        controller: &'static str,
        file: &'static str,
        tell: impl FnOnce(&str) -> T,
    ) -> Option<T> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, open)) = kept.iter().find(|(name, _)| *name == (controller, file)) {
            return whole(open, tell).ok();
        }
        let open = File::open(self.cgroup.dir(controller).join(file)).ok()?;
        let told = whole(&open, tell);
        kept.push(((controller, file), open));
        told.ok()
    }

    /// The text of a file that is seldom asked for.
    pub(super) fn text(&self, controller: &str, file: &str) -> Option<String> {
        fs::read_to_string(self.cgroup.dir(controller).join(file)).ok()
    }

    /// The one line of a file that is seldom asked for.
    pub(super) fn line(&self, controller: &str, file: &str) -> Option<String> {
        let mut line = [0; 256];
        let open = File::open(self.cgroup.dir(controller).join(file)).ok()?;
        let length = open.read_at(&mut line, 0).ok()?;
        match std::str::from_utf8(&line[..length]).ok()?.strip_suffix('\n') {
            Some(line) => Some(line.to_owned()),
            None => self.text(controller, file),
        }
    }

    pub(super) fn kept_number(&self, controller: &'static str, file: &'static str) -> Option<u64> {
        self.kept(controller, file, |text| text.trim().parse().ok())?
    }

    pub(super) fn number(&self, controller: &str, file: &str) -> Option<u64> {
        self.line(controller, file)?.trim().parse().ok()
    }

    /// As [`Reader::limit`], of a file that stays open.
    pub(super) fn kept_limit(&self, controller: &'static str, file: &'static str) -> Option<u64> {
        self.kept(controller, file, known)?
    }

    /// `max`, or a number so large that it means none, is `None`.
    pub(super) fn limit(&self, controller: &str, file: &str) -> Option<u64> {
        known(&self.line(controller, file)?)
    }

    /// The names of a hierarchy's files for the group.
    pub(super) fn names(&self, controller: &str) -> Vec<String> {
        let entries = fs::read_dir::<&Path>(self.cgroup.dir(controller).as_ref());
        let entries = entries.into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()
    }
}

/// A limit, if there is one.
pub(super) fn known(limit: &str) -> Option<u64> {
    limit.trim().parse().ok().filter(|limit| *limit < UNLIMITED)
}

/// Reads a file from its beginning. The kernel makes the text of such a file anew each time, in one piece: what leaves room
/// was all.
fn whole<T>(file: &File, tell: impl FnOnce(&str) -> T) -> io::Result<T> {
    let mut first = [MaybeUninit::uninit(); 4096];
    let (read, rest) = pread(file, &mut first, 0)?;
    if !rest.is_empty() {
        return Ok(tell(text(read)?));
    }
    let (mut bytes, mut length) = (read.to_vec(), read.len());
    while length == bytes.len() {
        bytes.resize(2 * length, 0);
        length += file.read_at(&mut bytes[length..], length as u64)?;
    }
    Ok(tell(text(&bytes[..length])?))
}

fn text(bytes: &[u8]) -> io::Result<&str> {
    std::str::from_utf8(bytes).map_err(io::Error::other)
}

/// The value of a key in lines "key number".
pub(super) fn value(text: &str, key: &str) -> Option<u64> {
    let [value] = values(text, [key]);
    value
}

/// The values of keys in lines "key number".
pub(super) fn values<const N: usize>(text: &str, keys: [&str; N]) -> [Option<u64>; N] {
    let mut values = [None; N];
    for line in text.lines() {
        let Some((key, value)) = line.split_once(' ') else {
            continue;
        };
        if let Some(at) = keys.iter().position(|wanted| *wanted == key) {
            values[at] = value.trim().parse().ok();
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_the_value_of_its_own_line() {
        let text = "file 1\ninactive_file 2\nfile_mapped nothing\nanon  7\n";

        let found = values(text, ["inactive_file", "file", "file_mapped", "anon", "slab"]);

        assert_eq!(found, [Some(2), Some(1), None, Some(7), None]);
        assert_eq!(value(text, "file"), Some(1));
    }

    #[test]
    fn a_file_is_read_whole_however_long() {
        for length in [0, 1, 4095, 4096, 4097, 8192, 20_000] {
            let file = tempfile::NamedTempFile::new().unwrap();
            let text = "x".repeat(length);
            fs::write(file.path(), &text).unwrap();

            let read = whole(&File::open(file.path()).unwrap(), str::to_owned).unwrap();

            assert_eq!(read, text, "{length}");
        }
    }
}
