//! Bounds what is told of one subject that changes again and again. Pure: no waiting, no clock.
//!
//! Within a minute so many records are told of a subject; then one says that the bound is reached, and what
//! comes after is counted. When the minute is over the last of it is told, with how many were held back: so
//! the state that a reader was left with is always the present one.

use std::collections::HashMap;
use std::time::Duration;

use crate::heartbeat::{ComponentKey, PublisherId, Timestamp};

/// What records are about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    /// A component of a publisher.
    Component(PublisherId, ComponentKey),
    /// A publisher, and what happens to it.
    Publisher(PublisherId, &'static str),
    /// Messages refused for one reason.
    Refused(&'static str),
}

/// From the first record to the last that is told together with it.
pub(super) const WINDOW: Duration = Duration::from_secs(60);

/// Records of one subject within that time.
pub(super) const TOLD_MAX: u32 = 10;

/// Subjects that are kept in mind; those beyond are told without a bound of their own, and the queue has one.
const SUBJECTS_MAX: usize = 10_000;

/// What is to be done about a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Tell it.
    Tell,
    /// Tell it, and that it is the last for now.
    TellAndStop,
    /// It is kept, and counted.
    Hold,
}

/// Records held back of one subject: how many, and the last of them.
#[derive(Debug, PartialEq)]
pub(super) struct HeldBack<T> {
    pub(super) count: u64,
    pub(super) last: T,
}

#[derive(Debug)]
struct Window<T> {
    since: Timestamp,
    told: u32,
    held: Option<HeldBack<T>>,
}

/// Every subject that something was told of lately.
#[derive(Debug)]
pub(super) struct Flaps<T> {
    windows: HashMap<Subject, Window<T>>,
}

impl<T> Default for Flaps<T> {
    fn default() -> Self {
        Self { windows: HashMap::new() }
    }
}

impl<T: Clone> Flaps<T> {
    /// Judges a record about a subject, and keeps it where it is not to be told.
    pub(super) fn judge(&mut self, subject: &Subject, now: Timestamp, record: &T) -> Verdict {
        let Some(window) = self.windows.get_mut(subject) else {
            if self.windows.len() < SUBJECTS_MAX {
                self.windows.insert(subject.clone(), Window { since: now, told: 1, held: None });
            }
            return Verdict::Tell;
        };
        if window.told < TOLD_MAX {
            window.told += 1;
            return if window.told == TOLD_MAX { Verdict::TellAndStop } else { Verdict::Tell };
        }
        let count = window.held.as_ref().map_or(0, |held| held.count) + 1;
        window.held = Some(HeldBack { count, last: record.clone() });
        Verdict::Hold
    }

    /// Ends the windows whose time is over (all, where `all`): what they held back is to be told.
    pub(super) fn end(&mut self, now: Timestamp, all: bool) -> Vec<HeldBack<T>> {
        let mut held = Vec::new();
        self.windows.retain(|_, window| {
            // A clock that went back must not keep a window for ever.
            let goes_on = window.since <= now && now < window.since.plus(WINDOW);
            if goes_on && !all {
                return true;
            }
            held.extend(window.held.take());
            false
        });
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_unix_ms(1_000_000 + ms)
    }

    fn subject(name: &str) -> Subject {
        Subject::Component(PublisherId::new("p").unwrap(), ComponentKey::host(name))
    }

    #[test]
    fn a_thousand_flaps_in_a_minute_are_few_records_and_none_is_lost_of_count() {
        let mut flaps = Flaps::default();
        let verdicts: Vec<Verdict> = (0..1000).map(|n| flaps.judge(&subject("a"), at(n * 59), &n)).collect();
        let told = verdicts.iter().filter(|verdict| **verdict != Verdict::Hold).count();
        assert_eq!(told, 10);
        assert_eq!(verdicts[9], Verdict::TellAndStop, "the bound is said, once");
        assert_eq!(verdicts.iter().filter(|verdict| **verdict == Verdict::TellAndStop).count(), 1);
        assert_eq!(flaps.end(at(59_999), false), [], "the minute is not over");
        assert_eq!(flaps.end(at(60_000), false), [HeldBack { count: 990, last: 999 }]);
        assert_eq!(flaps.judge(&subject("a"), at(60_001), &1000), Verdict::Tell, "a new minute");
    }

    #[test]
    fn others_are_told_meanwhile() {
        let mut flaps = Flaps::default();
        for n in 0..50 {
            flaps.judge(&subject("a"), at(0), &n);
        }
        assert_eq!(flaps.judge(&subject("b"), at(0), &0), Verdict::Tell);
        assert_eq!(flaps.judge(&Subject::Refused("shape"), at(0), &0), Verdict::Tell);
    }

    #[test]
    fn the_end_of_the_program_and_a_clock_that_went_back_hold_nothing_back() {
        let mut flaps = Flaps::default();
        for n in 0..11 {
            flaps.judge(&subject("a"), at(100_000), &n);
            flaps.judge(&subject("b"), at(100_000), &n);
        }
        assert_eq!(flaps.end(at(0), false).len(), 2);
        for n in 0..11 {
            flaps.judge(&subject("a"), at(0), &n);
        }
        assert_eq!(flaps.end(at(1), true), [HeldBack { count: 1, last: 10 }]);
    }

    #[test]
    fn what_is_kept_in_mind_is_bounded() {
        let mut flaps = Flaps::default();
        for n in 0..SUBJECTS_MAX + 100 {
            flaps.judge(&subject(&n.to_string()), at(0), &n);
        }
        assert_eq!(flaps.windows.len(), SUBJECTS_MAX);
    }
}
