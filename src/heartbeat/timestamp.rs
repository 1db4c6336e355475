//! Points in calendar time, and the two ways in which messages write them.

use std::fmt;
use std::time::Duration;

use jiff::fmt::temporal::DateTimePrinter;

/// Milliseconds since the Unix epoch, in the years 1970 to 9999: what both formats can say.
///
/// A plain number, though a [`std::num::NonZero`] would halve the room of one that may be missing: optimised by LLVM 22 (rustc
/// 1.95), `missing.map(|at| at.min(now)).is_some_and(..)` on such a type asks its question of a time that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The last that [`jiff`] reads and writes: 9999-12-30T21:59:59.999Z.
const MAX_MS: i64 = 253_402_207_199_999;

/// Text that is no time in the expected format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time between the years 1970 and 9999 in the expected format")]
pub struct InvalidTimestamp;

impl Timestamp {
    /// 1970-01-01 00:00:00 UTC.
    pub const EPOCH: Self = Self(0);

    /// From milliseconds since the Unix epoch, held within the years 1970 to 9999.
    pub fn from_unix_ms(ms: i64) -> Self {
        Self(ms.clamp(0, MAX_MS))
    }

    /// Milliseconds since the Unix epoch.
    pub fn unix_ms(self) -> i64 {
        self.0
    }

    /// Nanoseconds since the Unix epoch, as OTLP has it; from the year 2554 on, the most that it can say.
    pub fn unix_nanos(self) -> u64 {
        u64::try_from(self.0).unwrap_or(0).saturating_mul(1_000_000)
    }

    /// Seconds since the Unix epoch, as metrics have it.
    pub fn unix_seconds(self) -> f64 {
        self.0 as f64 / 1e3
    }

    /// This much later, held within range.
    pub fn plus(self, by: Duration) -> Self {
        self.plus_ms(i64::try_from(by.as_millis()).unwrap_or(MAX_MS))
    }

    /// This many milliseconds later (earlier if negative), held within range.
    pub fn plus_ms(self, by: i64) -> Self {
        Self::from_unix_ms(self.0.saturating_add(by))
    }

    /// Milliseconds from `earlier` to this; negative if it is later.
    pub fn ms_since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }

    /// Reads RFC 3339, as version 2 writes it.
    ///
    /// # Errors
    /// Where the text is no such time.
    pub fn parse_rfc3339(text: &str) -> Result<Self, InvalidTimestamp> {
        let bytes = text.as_bytes();
        // What this program itself writes is read without the generality that takes most of the time.
        if is_laid_out(bytes, b"dddd-dd-ddTdd:dd:dd.dddZ") {
            return from_digits(bytes, digits(bytes, 20, 3).into());
        }
        let instant: jiff::Timestamp = text.parse().map_err(|_| InvalidTimestamp)?;
        Self::in_range(instant.as_millisecond())
    }

    /// Writes RFC 3339 with milliseconds, in UTC.
    pub fn to_rfc3339(self) -> String {
        static PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
        jiff::Timestamp::from_millisecond(self.0)
            .map(|instant| PRINTER.timestamp_to_string(&instant))
            .unwrap_or_default()
    }

    /// Writes RFC 3339 to the nearest second, as people read it.
    pub fn to_rfc3339_seconds(self) -> String {
        static PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(0));
        let seconds = (self.0 + 500).min(MAX_MS) / 1000;
        jiff::Timestamp::from_second(seconds)
            .map(|instant| PRINTER.timestamp_to_string(&instant))
            .unwrap_or_default()
    }

    /// Reads the original's format, `YYYY-MM-DD HH:MM:SS UTC`, to the letter.
    ///
    /// # Errors
    /// Where the text is no such time.
    pub fn parse_legacy(text: &str) -> Result<Self, InvalidTimestamp> {
        let bytes = text.as_bytes();
        if !is_laid_out(bytes, b"dddd-dd-dd dd:dd:dd UTC") {
            return Err(InvalidTimestamp);
        }
        from_digits(bytes, 0)
    }

    /// Writes the original's format, whole seconds, rounded down.
    pub fn to_legacy(self) -> String {
        let instant = jiff::Timestamp::from_millisecond(self.0).unwrap_or_default();
        let civil = jiff::tz::Offset::UTC.to_datetime(instant);
        let mut text = *b"0000-00-00 00:00:00 UTC";
        let mut put = |at: usize, len: usize, mut value: i16| {
            for place in text[at..at + len].iter_mut().rev() {
                *place = b'0' + (value % 10) as u8;
                value /= 10;
            }
        };
        put(0, 4, civil.year());
        for (at, value) in [
            (5, civil.month()),
            (8, civil.day()),
            (11, civil.hour()),
            (14, civil.minute()),
            (17, civil.second()),
        ] {
            put(at, 2, value.into());
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    fn in_range(ms: i64) -> Result<Self, InvalidTimestamp> {
        if (0..=MAX_MS).contains(&ms) { Ok(Self(ms)) } else { Err(InvalidTimestamp) }
    }
}

/// Whether each byte is what the layout says: a digit for `d`, else the byte itself.
fn is_laid_out(bytes: &[u8], layout: &[u8]) -> bool {
    bytes.len() == layout.len()
        && bytes.iter().zip(layout).all(|(byte, form)| match form {
            b'd' => byte.is_ascii_digit(),
            _ => byte == form,
        })
}

/// The number that so many digits make; four at most.
fn digits(bytes: &[u8], at: usize, len: usize) -> i16 {
    bytes[at..at + len].iter().fold(0, |sum, digit| sum * 10 + i16::from(digit - b'0'))
}

/// Reads a time whose digits stand where both formats have them.
fn from_digits(bytes: &[u8], ms: i64) -> Result<Timestamp, InvalidTimestamp> {
    let small = |at: usize| digits(bytes, at, 2) as i8;
    let year = digits(bytes, 0, 4);
    let civil = jiff::civil::DateTime::new(year, small(5), small(8), small(11), small(14), small(17), 0)
        .map_err(|_| InvalidTimestamp)?;
    let instant = jiff::tz::Offset::UTC.to_timestamp(civil).map_err(|_| InvalidTimestamp)?;
    Timestamp::in_range(instant.as_millisecond() + ms)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_formats_write_the_same_moment() {
        let moment = Timestamp::from_unix_ms(1_795_451_095_123);
        assert_eq!(moment.to_rfc3339(), "2026-11-23T16:24:55.123Z");
        assert_eq!(moment.to_legacy(), "2026-11-23 16:24:55 UTC");
        let last = Timestamp::from_unix_ms(i64::MAX);
        assert_eq!(Timestamp::parse_rfc3339(&last.to_rfc3339()), Ok(last));
    }

    #[test]
    fn people_read_the_nearest_second() {
        for (ms, text) in [
            (1_795_451_095_001, "2026-11-23T16:24:55Z"),
            (1_795_451_095_999, "2026-11-23T16:24:56Z"),
            (MAX_MS, "9999-12-30T21:59:59Z"),
            (0, "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(Timestamp::from_unix_ms(ms).to_rfc3339_seconds(), text);
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "",
            "2026-11-23T16:24:55Z",
            "2026-11-23 16:24:55",
            "2026-13-23 16:24:55 UTC",
            "2026-02-30 16:24:55 UTC",
            "1969-12-31 23:59:59 UTC",
            "2026-11-23 16:24:55 utc",
            "2026-11-23 16:24:55 UTC ",
            "+026-11-23 16:24:55 UTC",
        ] {
            assert_eq!(Timestamp::parse_legacy(bad), Err(InvalidTimestamp), "{bad:?}");
        }
        for bad in ["", "now", "2026-11-23", "1969-12-31T23:59:59Z"] {
            assert_eq!(Timestamp::parse_rfc3339(bad), Err(InvalidTimestamp), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn written_times_are_read_back(ms in 0..=MAX_MS) {
            let moment = Timestamp::from_unix_ms(ms);
            prop_assert_eq!(Timestamp::parse_rfc3339(&moment.to_rfc3339()), Ok(moment));
            let seconds = Timestamp::from_unix_ms(ms / 1000 * 1000);
            prop_assert_eq!(Timestamp::parse_legacy(&moment.to_legacy()), Ok(seconds));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = Timestamp::parse_legacy(&text);
            let _ = Timestamp::parse_rfc3339(&text);
        }
    }
}
