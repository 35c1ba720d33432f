//! Doors for fuzzing: each takes bytes, and panics at what must not come of them. Not in an ordinary build.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::monitor::protocol::{ExitRecord, Message, Request};
use crate::sys::message::decode;

/// A message of either side, or an exit record: refused, or read so that it is written and read the same.
pub fn frame(data: &[u8]) {
    same::<Request>(data);
    same::<Message>(data);
    same::<ExitRecord>(data);
}

fn same<T: DeserializeOwned + Serialize>(data: &[u8]) {
    let Ok(read) = decode::<T>(data) else { return };
    let written = serde_json::to_vec(&read).expect("a message can be written");
    let again: T = decode(&written).expect("what was written can be read");
    assert_eq!(
        written,
        serde_json::to_vec(&again).expect("a message can be written")
    );
}
