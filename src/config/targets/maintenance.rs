//! The list `maintenance`: windows that are planned, once or again and again.

use std::time::Duration;

use serde_json::{Map, Value};

use super::reader::Reader;
use crate::heartbeat::maintenance::WINDOW_MAX;
use crate::heartbeat::{Timestamp, Window};

const KEYS: &[&str] = &["begins", "ends", "lasts", "every", "comment", "components"];
const EXAMPLE: &str = r#"{"begins": "2026-12-06T02:00:00Z", "lasts": "2h", "every": "7days"}"#;

/// Longest time between two windows of one entry: a leap year.
const EVERY_MAX: Duration = Duration::from_secs(366 * 86_400);

/// A window that is planned.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedWindow {
    /// The first, or only one.
    pub first: Window,
    /// The time from the beginning of one to that of the next, where it comes again; longer than the window.
    pub every: Option<Duration>,
}

impl PlannedWindow {
    /// The one that is on at `now`, or comes next, and the one after that; for ever the first where it does not come again.
    pub fn near(&self, now: Timestamp) -> impl Iterator<Item = Window> {
        let every = self.every.map_or(0, |every| i64::try_from(every.as_millis()).unwrap_or(i64::MAX));
        let passed = now.ms_since(self.first.begins_at()).max(0).checked_div(every).unwrap_or(0);
        let next = (every > 0).then(|| passed + 1);
        [Some(passed), next]
            .into_iter()
            .flatten()
            .map(move |number| self.first.by_a_clock_ahead(number.saturating_mul(every)))
    }
}

/// The list `maintenance`.
pub(super) fn windows(reader: &mut Reader, heartbeat: &Map<String, Value>) -> Vec<PlannedWindow> {
    let list = reader.list(heartbeat, "maintenance", "heartbeat", "[]").iter().enumerate();
    list.filter_map(|(index, entry)| read(reader, entry, &format!("heartbeat.maintenance[{index}]")))
        .collect()
}

fn read(reader: &mut Reader, entry: &Value, path: &str) -> Option<PlannedWindow> {
    let entry = reader.object(entry, path, EXAMPLE)?;
    // A key that was misspelt would make a window of one component one of everything.
    reader.refuse_unknown_keys(entry, path, KEYS);
    let begins = reader.time(entry, "begins", path);
    let ends =
        entry.get("ends").filter(|ends| !ends.is_null()).and_then(|_| reader.time(entry, "ends", path));
    let lasts = reader.duration(entry, "lasts", path, WINDOW_MAX);
    let every = reader.duration(entry, "every", path, EVERY_MAX);
    let there = |key: &str| entry.get(key).is_some_and(|value| !value.is_null());
    let comment =
        if there("comment") { Some(reader.name(entry, "comment", path, r#""new disks""#)?) } else { None };
    let list = reader.list(entry, "components", path, r#"["database"]"#).iter();
    let names: Option<Vec<&str>> = list.map(Value::as_str).collect();
    let Some(names) = names else {
        reader.amiss(format!("{path}.components"), "holds something that is no name", r#"["database"]"#);
        return None;
    };
    if there("ends") == there("lasts") {
        reader.amiss(path.into(), "needs either `ends` or `lasts`, so that it ends", EXAMPLE);
        return None;
    }
    let begins = begins?;
    let ends = ends.or_else(|| Some(begins.plus(lasts?)))?;
    match Window::new((begins, ends), comment.as_deref(), &names) {
        Ok(first) => {
            let length = ends.ms_since(begins).unsigned_abs();
            if every.is_some_and(|every| every.as_millis() <= u128::from(length)) {
                reader.amiss(
                    format!("{path}.every"),
                    "is no longer than the window, which would never end",
                    EXAMPLE,
                );
                return None;
            }
            Some(PlannedWindow { first, every })
        }
        Err(error) => {
            reader.amiss(path.into(), format!("is no window: {error}"), EXAMPLE);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_unix_ms(second * 1000)
    }

    #[test]
    fn one_that_comes_again_does_so_on_the_second() {
        let first = Window::new((at(1_000), at(1_100)), None, &[]).unwrap();
        let near = |every: Option<u64>, now: i64| -> Vec<i64> {
            let planned = PlannedWindow { first: first.clone(), every: every.map(Duration::from_secs) };
            planned.near(at(now)).map(|window| window.begins_at().unix_ms() / 1000).collect()
        };
        assert_eq!(near(None, 0), [1_000]);
        assert_eq!(near(None, 5_000), [1_000]);
        assert_eq!(near(Some(500), 0), [1_000, 1_500]);
        assert_eq!(near(Some(500), 1_499), [1_000, 1_500]);
        assert_eq!(near(Some(500), 1_500), [1_500, 2_000]);
        assert_eq!(near(Some(500), 86_400_123), [86_400_000, 86_400_500]);
    }
}
