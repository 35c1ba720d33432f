//! Traffic counters of the interfaces in other network namespaces, from `/proc/thread-self/net/dev` (proc(5)).

use std::io;
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

/// Reads the counters in each of the pinned namespaces, but for loopback; `None` where that cannot be done. Blocks.
///
/// One thread enters one namespace after the other, and ends: nothing has to be entered back, no process is made.
pub fn in_namespaces(pins: Vec<PathBuf>) -> Vec<Option<Vec<Interface>>> {
    let count = pins.len();
    let walk = move || pins.iter().map(|pin| read(pin).ok()).collect();
    let thread = std::thread::Builder::new().name("traffic".into()).spawn(walk);
    let read = thread.and_then(|thread| thread.join().map_err(|_| io::Error::other("thread panicked")));
    read.unwrap_or_else(|_| vec![None; count])
}

fn read(pin: &Path) -> io::Result<Vec<Interface>> {
    namespace::enter_one(namespace::open(pin)?)?;
    let text = std::fs::read_to_string("/proc/thread-self/net/dev")?;
    Ok(text
        .lines()
        .filter_map(interface)
        .filter(|i| i.name != "lo")
        .collect())
}

/// `eth0: bytes packets errs drop fifo frame compressed multicast bytes packets errs drop …`
fn interface(line: &str) -> Option<Interface> {
    let (name, counters) = line.split_once(':')?;
    let counters: Vec<u64> = counters
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    let traffic = |first: usize| {
        Some(Traffic {
            bytes: *counters.get(first)?,
            packets: *counters.get(first + 1)?,
            errors: *counters.get(first + 2)?,
            dropped: *counters.get(first + 3)?,
        })
    };
    Some(Interface {
        name: name.trim().to_owned(),
        received: traffic(0)?,
        sent: traffic(8)?,
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
        assert_eq!(in_namespaces(vec!["/nowhere".into()]), [None]);
    }
}
