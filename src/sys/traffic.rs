//! Traffic counters of the interfaces in other network namespaces, from `/proc/thread-self/net/dev` (proc(5)).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::sys::namespace;

/// What went through one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// What came in.
    pub received: Traffic,
    /// What went out.
    pub sent: Traffic,
}

/// One direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each names itself")]
pub struct Traffic {
    pub bytes: u64,
    pub packets: u64,
    pub errors: u64,
    pub dropped: u64,
}

/// The counters of one network namespace, which they keep until they are dropped. Read from any other.
#[derive(Debug)]
pub struct Counters(File);

/// Opens the counters of each of the pinned namespaces; `None` where that cannot be done. Blocks.
///
/// One thread enters one namespace after the other, and ends: nothing has to be entered back, no process is made.
pub fn open(pins: Vec<PathBuf>) -> Vec<Option<Counters>> {
    if pins.is_empty() {
        return vec![];
    }
    let count = pins.len();
    let walk = move || pins.iter().map(|pin| open_one(pin).ok()).collect();
    let thread = std::thread::Builder::new().name("traffic".into()).spawn(walk);
    let opened = thread.and_then(|thread| thread.join().map_err(|_| io::Error::other("thread panicked")));
    opened.unwrap_or_else(|_| std::iter::repeat_with(|| None).take(count).collect())
}

fn open_one(pin: &Path) -> io::Result<Counters> {
    namespace::enter_one(namespace::open(pin)?)?;
    Ok(Counters(File::open("/proc/thread-self/net/dev")?))
}

impl Counters {
    /// Reads the counters of all interfaces but loopback.
    ///
    /// # Errors
    /// What reading them came to.
    pub fn read(&self) -> io::Result<Vec<Interface>> {
        // By place, so that nobody's reading disturbs another's.
        let (mut bytes, mut length) = (vec![0; 4096], 0);
        loop {
            match self.0.read_at(&mut bytes[length..], length as u64)? {
                0 => break,
                more => length += more,
            }
            if length == bytes.len() {
                bytes.resize(2 * length, 0);
            }
        }
        let text = std::str::from_utf8(&bytes[..length]).map_err(io::Error::other)?;
        Ok(text
            .lines()
            .filter_map(interface)
            .filter(|i| i.name != "lo")
            .collect())
    }
}

/// `eth0: bytes packets errs drop fifo frame compressed multicast bytes packets errs drop …`
fn interface(line: &str) -> Option<Interface> {
    let (name, counters) = line.split_once(':')?;
    let mut counters = counters.split_whitespace().map(str::parse);
    let mut traffic = |skipped| {
        Some(Traffic {
            bytes: counters.nth(skipped)?.ok()?,
            packets: counters.next()?.ok()?,
            errors: counters.next()?.ok()?,
            dropped: counters.next()?.ok()?,
        })
    };
    Some(Interface {
        name: name.trim().to_owned(),
        received: traffic(0)?,
        sent: traffic(4)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_counters_is_read_and_a_heading_is_not() {
        let line = "  eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0";

        let eth0 = interface(line).unwrap();

        assert_eq!(eth0.name, "eth0");
        assert_eq!((eth0.received.bytes, eth0.received.dropped), (1, 4));
        assert_eq!((eth0.sent.bytes, eth0.sent.errors), (5, 7));
        assert_eq!(interface(" face |bytes    packets errs drop"), None);
        assert_eq!(interface("Inter-|   Receive"), None);
    }

    #[test]
    fn a_namespace_that_is_not_there_has_no_counters() {
        assert!(matches!(open(vec!["/nowhere".into()])[..], [None]));
    }
}
