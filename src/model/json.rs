//! What Go's `omitempty` does, for serde: fields at their zero value are left out and may be missing.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

/// Says whether a value is its type's zero value, which `omitempty` leaves out.
pub(super) fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Writes a duration the way Go's `time.Duration` is written: an integer of nanoseconds.
pub(super) mod nanoseconds {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    pub(in crate::model) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(i64::try_from(value.as_nanos()).unwrap_or(i64::MAX))
    }

    pub(in crate::model) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let nanoseconds = i64::deserialize(from)?;
        Ok(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0)))
    }
}
