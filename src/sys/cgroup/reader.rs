//! Control files of one group, for those who ask again and again: the few that every reading needs stay open.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::sys::cgroup::Cgroup;

/// A v1 limit this large means none.
const UNLIMITED: u64 = 1 << 62;

/// Reads a group's control files. A file that is not there reads as nothing: not every kernel accounts for everything.
#[derive(Debug)]
pub struct Reader {
    pub(super) cgroup: Cgroup,
    kept: Mutex<HashMap<(&'static str, &'static str), File>>,
}

impl Reader {
    /// A reader that has nothing open yet.
    pub fn new(cgroup: Cgroup) -> Reader {
        Reader {
            cgroup,
            kept: Mutex::default(),
        }
    }

    /// The text of a file that stays open. On v2 the controller is empty.
    pub(super) fn kept(&self, controller: &'static str, file: &'static str) -> Option<String> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let open = match kept.entry((controller, file)) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(File::open(self.cgroup.dir(controller).join(file)).ok()?)
            }
        };
        whole(open).ok()
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
        self.kept(controller, file)?.trim().parse().ok()
    }

    pub(super) fn number(&self, controller: &str, file: &str) -> Option<u64> {
        self.line(controller, file)?.trim().parse().ok()
    }

    /// As [`Reader::limit`], of a file that stays open.
    pub(super) fn kept_limit(&self, controller: &'static str, file: &'static str) -> Option<u64> {
        known(&self.kept(controller, file)?)
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
fn whole(file: &File) -> io::Result<String> {
    let mut first = [0; 4096];
    let mut length = file.read_at(&mut first, 0)?;
    let mut bytes = first[..length].to_vec();
    while length == bytes.len() && length >= first.len() {
        bytes.resize(2 * length, 0);
        length += file.read_at(&mut bytes[length..], length as u64)?;
    }
    bytes.truncate(length);
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// The value of a key in lines "key number".
pub(super) fn value(text: &str, key: &str) -> Option<u64> {
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}
