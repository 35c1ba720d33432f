//! Doors for fuzzing: each takes bytes, and panics at what must not come of them. Not in an ordinary build.

use super::record::ContainerRecord;

/// A record that can be read is written so that it reads the same.
pub fn record(data: &[u8]) {
    let Ok(record) = serde_json::from_slice::<ContainerRecord>(data) else {
        return;
    };
    let written = serde_json::to_vec(&record).expect("a record can be written");
    let again: ContainerRecord = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(
        written,
        serde_json::to_vec(&again).expect("a record can be written")
    );
}
