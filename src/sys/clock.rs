//! The wall clock, and its times in words.

use std::fmt::Display;
use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since the epoch.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// A time as RFC 3339 has it, in UTC, with nanoseconds: `2026-11-28T22:40:05.000000001Z`.
pub fn rfc_3339(time: SystemTime) -> impl Display {
    humantime::format_rfc3339_nanos(time.max(UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_those_of_the_calendar() {
        let at = |seconds, nanos| rfc_3339(UNIX_EPOCH + Duration::new(seconds, nanos)).to_string();

        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(at(951_782_399, 0), "2000-02-28T23:59:59.000000000Z");
        assert_eq!(at(951_782_400, 1), "2000-02-29T00:00:00.000000001Z");
        assert_eq!(at(1_795_314_665, 123_456_789), "2026-11-22T02:31:05.123456789Z");
        assert_eq!(at(4_102_444_799, 999_999_999), "2099-12-31T23:59:59.999999999Z");
    }

    #[test]
    fn a_time_before_the_epoch_is_the_epoch() {
        let early = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(rfc_3339(early).to_string(), "1970-01-01T00:00:00.000000000Z");
    }
}
