//! How long ago something was, as people say it.

use crate::heartbeat::Timestamp;

/// The time from `at` to `now` in its largest unit of which there are at least two, rounded down: `90 s`, `2 min`, `47 h`.
/// What is yet to come is said so.
pub fn ago(now: Timestamp, at: Timestamp) -> String {
    let span = span(now, at);
    if now.ms_since(at) <= -1000 { format!("in {span}") } else { format!("{span} ago") }
}

/// The time between two moments, in the same words.
pub(super) fn span(later: Timestamp, earlier: Timestamp) -> String {
    let seconds = (later.ms_since(earlier) / 1000).unsigned_abs();
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / MINUTE),
        7_200..172_800 => format!("{} h", seconds / HOUR),
        _ => format!("{} days", seconds / DAY),
    }
}

/// A moment, for programs and for people.
pub(super) struct When {
    /// RFC 3339, to the second.
    pub(super) exact: String,
    /// How long ago it was.
    pub(super) ago: String,
}

impl When {
    /// At `at`, seen from `now`.
    pub(super) fn of(at: Timestamp, now: Timestamp) -> Self {
        Self { exact: at.to_rfc3339_seconds(), ago: ago(now, at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_unit_that_tells_enough() {
        let now = Timestamp::from_unix_ms(1_800_000_000_000);
        for (seconds, said) in [
            (0, "0 s ago"),
            (119, "119 s ago"),
            (120, "2 min ago"),
            (7_199, "119 min ago"),
            (7_200, "2 h ago"),
            (172_799, "47 h ago"),
            (172_800, "2 days ago"),
            (-90, "in 90 s"),
        ] {
            assert_eq!(ago(now, now.plus_ms(-seconds * 1000)), said);
        }
    }
}
