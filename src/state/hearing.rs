//! When a heartbeat would have been heard: the spans of time in which some replica listened without
//! a break.

use std::time::Duration;

use crate::heartbeat::Timestamp;

/// Spans that are kept. More breaks than this, each span shorter than the one before, and the
/// shortest are given up, save the latest: a publisher that fell silent in one is judged anew.
const SPANS_MAX: usize = 8;

/// A time of listening without a break, in the store's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When it began.
    pub since: Timestamp,
    /// The last moment of which it is known.
    pub until: Timestamp,
}

impl Span {
    fn length_ms(self) -> i64 {
        self.until.ms_since(self.since)
    }
}

/// All that is known about being able to hear: when some subscriber listened on a queue that no
/// stranger shares.
///
/// Spans apart from each other, in order of time, and only those that can prove anything: one that
/// a later one outlasts is left out, since the later one proves all that it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    apart: Vec<Span>,
    /// Since when what was heard without a break goes on, beyond what is confirmed.
    goes_on: Option<Timestamp>,
}

impl Spans {
    /// Heard without a break since then, until then.
    pub fn unbroken(since: Timestamp, until: Timestamp) -> Self {
        Self::from_iter([Span { since, until }])
    }

    /// Adds a span; it becomes one with those that it touches.
    pub fn add(&mut self, span: Span) {
        self.add_all([span]);
    }

    /// Adds spans in any order; those that touch become one.
    pub fn add_all(&mut self, spans: impl IntoIterator<Item = Span>) {
        self.apart.extend(spans);
        self.apart.retain(|span| span.since <= span.until);
        self.apart.sort_unstable_by_key(|span| span.since);
        let mut apart: Vec<Span> = Vec::with_capacity(self.apart.len());
        for span in self.apart.drain(..) {
            match apart.last_mut() {
                Some(last) if span.since <= last.until => last.until = last.until.max(span.until),
                _ => apart.push(span),
            }
        }
        // From the latest to the earliest, what none that is later outlasts.
        let mut longest = -1;
        for span in apart.into_iter().rev() {
            if span.length_ms() > longest {
                longest = span.length_ms();
                self.apart.push(span);
            }
        }
        self.apart.reverse();
        // The latest stays, since it is the one that goes on.
        if let Some(latest) = self.apart.pop() {
            self.apart.truncate(SPANS_MAX - 1);
            self.apart.push(latest);
        }
    }

    /// What both heard. Where one of them left a span out, so does this, which proves less and never more.
    #[must_use]
    pub fn both(&self, other: &Self) -> Self {
        let of = |one: Span| {
            let shared =
                move |two: Span| Span { since: one.since.max(two.since), until: one.until.min(two.until) };
            other.iter().map(shared)
        };
        // What does not overlap ends before it begins, and is dropped.
        self.iter().flat_map(of).collect()
    }

    /// Somebody listens still, without a break since then. That proves no silence until it is confirmed.
    pub fn go_on(&mut self, current: Span) {
        let within = self.iter().find(|span| span.since <= current.until && current.until <= span.until);
        self.goes_on = Some(within.map_or(current.since, |span| span.since.min(current.since)));
    }

    /// All of them, in order of time, as far as they are confirmed.
    pub fn iter(&self) -> impl Iterator<Item = Span> {
        self.apart.iter().copied()
    }

    /// Since when somebody has listened without a break; `None` if nobody does now.
    pub fn since(&self, now: Timestamp) -> Option<Timestamp> {
        let confirmed = || self.iter().find(|span| span.since <= now && now <= span.until);
        self.goes_on.or_else(|| confirmed().map(|span| span.since))
    }

    /// When it was proven that whoever spoke last at `base` had been silent for a whole `grace`
    /// though somebody listened; `None` if it is not.
    pub(super) fn proves_silence(&self, base: Timestamp, grace: Duration) -> Option<Timestamp> {
        let proven = self.iter().map(|span| (span.since.max(base).plus(grace), span.until));
        proven.filter(|(at, until)| at <= until).map(|(at, _)| at).min()
    }
}

impl FromIterator<Span> for Spans {
    fn from_iter<T: IntoIterator<Item = Span>>(spans: T) -> Self {
        let mut all = Self::default();
        all.add_all(spans);
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_ms(1_000_000 + seconds * 1000)
    }

    fn spans(list: &[(i64, i64)]) -> Spans {
        list.iter().map(|(since, until)| Span { since: at(*since), until: at(*until) }).collect()
    }

    #[test]
    fn spans_that_touch_are_one_and_shorter_earlier_ones_go() {
        assert_eq!(spans(&[(0, 10), (10, 12)]), spans(&[(0, 12)]));
        assert_eq!(spans(&[(20, 25), (0, 10), (8, 21)]), spans(&[(0, 25)]));
        assert_eq!(spans(&[(0, 5), (10, 20)]), spans(&[(10, 20)]));
        assert_eq!(spans(&[(0, 20), (30, 40), (41, 42)]).iter().count(), 3);
    }

    #[test]
    fn many_breaks_are_bounded() {
        let mut many = Spans::default();
        for number in 0..100i64 {
            many.add(Span { since: at(number * 1000), until: at(number * 1000 + 500 - number) });
        }
        assert_eq!(many.iter().count(), SPANS_MAX);
        assert_eq!(many.iter().last().map(|span| span.since), Some(at(99_000)));
    }

    proptest! {
        /// What two queues heard together is heard in each, second by second.
        #[test]
        fn both_hear_what_each_hears(
            one in prop::collection::vec((0i64..60, 0i64..20), 0..4),
            two in prop::collection::vec((0i64..60, 0i64..20), 0..4),
        ) {
            let of = |list: &[(i64, i64)]| -> Spans {
                list.iter().map(|(since, length)| Span { since: at(*since), until: at(since + length) }).collect()
            };
            let hears = |spans: &Spans, ms: i64| {
                let moment = at(0).plus_ms(ms);
                spans.iter().any(|span| span.since <= moment && moment <= span.until)
            };
            let (one, two) = (of(&one), of(&two));
            let both = one.both(&two);
            prop_assert_eq!(&both, &two.both(&one));
            for ms in (0..80_000).step_by(500) {
                prop_assert!(!hears(&both, ms) || (hears(&one, ms) && hears(&two, ms)));
            }
            // The longest of what is shared is never left out.
            let longest = one.iter().flat_map(|a| two.iter().map(move |b| a.until.min(b.until).ms_since(a.since.max(b.since))));
            let found = both.iter().map(|span| span.until.ms_since(span.since)).max();
            prop_assert_eq!(longest.filter(|length| *length >= 0).max(), found);
        }

        /// Silence is proven exactly where some whole grace after the last word was heard, second
        /// by second.
        #[test]
        fn silence_is_proven_as_second_by_second(
            list in prop::collection::vec((0i64..60, 0i64..20), 0..6), base in 0i64..60, grace in 1i64..20,
        ) {
            let hearing: Spans = list.iter().map(|(since, length)| Span { since: at(*since), until: at(since + length) }).collect();
            let heard = |second: i64| list.iter().any(|(since, length)| (*since..since + length).contains(&second));
            let naive = (base..100).find(|start| (*start..start + grace).all(heard)).map(|start| at(start + grace));
            let proven = hearing.proves_silence(at(base), Duration::from_secs(grace.unsigned_abs()));
            // Which of several proofs is told may differ: a shorter span makes room for a longer one.
            prop_assert_eq!(proven.is_some(), naive.is_some());
            prop_assert!(proven >= naive);
        }
    }
}
