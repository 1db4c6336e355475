//! Whether a publisher is fresh, stale, or not to be judged: computed when asked, from `now`.

use std::time::Duration;

use super::hearing::Spans;
use crate::heartbeat::{Reason, Timestamp};

/// A last sign of life further ahead of now than this, in milliseconds, shows that the store's clock
/// went back, and says nothing.
const AHEAD_MS: i64 = 5_000;

/// The broker is asked once a second whether everything sent has come, so its answer for a moment comes at
/// most so much later. A last verdict stands so long.
const ANSWER: Duration = Duration::from_secs(1);

/// A verdict on one publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Its deadline has not passed.
    Fresh,
    /// Its deadline has passed, and it would have been heard.
    Stale,
    /// It would not have been heard, or nothing proves when it spoke.
    Unproven(Reason),
}

impl Freshness {
    /// `publisher_up`: fresh, stale, or no verdict.
    pub fn up(self) -> Option<bool> {
        match self {
            Self::Fresh => Some(true),
            Self::Stale => Some(false),
            Self::Unproven(_) => None,
        }
    }
}

/// Judges a publisher that last gave a sign of life at `last_seen`, or of which only a backlog has
/// told since `first_received`. Returns the verdict, and when it turns or turned stale.
///
/// Deaf is not dead: a deadline that passes while nobody listens proves nothing. Only a whole grace
/// of silence in one unbroken time of listening does, and only once the broker has confirmed that nothing
/// was on its way.
pub fn judge(
    last_seen: Option<Timestamp>,
    first_received: Timestamp,
    grace: Duration,
    now: Timestamp,
    hearing: &Spans,
) -> (Freshness, Timestamp) {
    let base = last_seen.unwrap_or(first_received);
    let deadline = base.plus(grace);
    if base.ms_since(now) > AHEAD_MS {
        return (Freshness::Unproven(Reason::Unconfirmed), deadline);
    }
    if now < deadline {
        let verdict = match last_seen {
            Some(_) => Freshness::Fresh,
            None => Freshness::Unproven(Reason::Unconfirmed),
        };
        return (verdict, deadline);
    }
    if let Some(proven_at) = hearing.proves_silence(base, grace) {
        return (Freshness::Stale, proven_at);
    }
    match hearing.since(now) {
        // All that is missing is the broker's word that nothing is on its way.
        Some(since) if since <= base && last_seen.is_some() && now < deadline.plus(ANSWER) => {
            (Freshness::Fresh, deadline)
        }
        Some(since) => (Freshness::Unproven(Reason::Unconfirmed), since.max(base).plus(grace)),
        None => (Freshness::Unproven(Reason::View), deadline),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::state::hearing::Span;

    const GRACE: Duration = Duration::from_secs(30);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_ms(1_000_000 + seconds * 1000)
    }

    /// Heard in these spans of seconds.
    fn hearing(spans: &[(i64, i64)]) -> Spans {
        let spans = spans.iter().map(|(since, until)| Span { since: at(*since), until: at(*until) });
        spans.collect()
    }

    fn verdict(last_seen: i64, now: i64, hearing: &Spans) -> Freshness {
        judge(Some(at(last_seen)), at(0), GRACE, at(now), hearing).0
    }

    #[test]
    fn heard_all_the_time_it_is_stale_at_the_deadline() {
        assert_eq!(verdict(10, 39, &hearing(&[(0, 39)])), Freshness::Fresh);
        assert_eq!(verdict(10, 40, &hearing(&[(0, 40)])), Freshness::Stale);
    }

    #[test]
    fn a_deadline_that_passed_unheard_proves_nothing() {
        assert_eq!(verdict(10, 100, &hearing(&[(0, 20)])), Freshness::Unproven(Reason::View));
        let again = |now| hearing(&[(0, 20), (100, now)]);
        assert_eq!(verdict(10, 129, &again(129)), Freshness::Unproven(Reason::Unconfirmed));
        assert_eq!(verdict(10, 130, &again(130)), Freshness::Stale);
        // Deaf for a part of the grace only.
        let partly = |now| hearing(&[(0, 20), (35, now)]);
        assert_eq!(verdict(10, 39, &partly(39)), Freshness::Fresh);
        assert_eq!(verdict(10, 41, &partly(41)), Freshness::Unproven(Reason::Unconfirmed));
        assert_eq!(verdict(10, 65, &partly(65)), Freshness::Stale);
    }

    /// Two breaks, the second soon after the first: what was heard between them is no proof.
    #[test]
    fn a_moment_of_hearing_after_the_deadline_proves_nothing() {
        assert_eq!(verdict(10, 103, &hearing(&[(0, 20), (100, 101)])), Freshness::Unproven(Reason::View));
        let third = hearing(&[(0, 20), (100, 101), (102, 103)]);
        assert_eq!(verdict(10, 103, &third), Freshness::Unproven(Reason::Unconfirmed));
    }

    #[test]
    fn who_was_stale_before_stays_so() {
        assert_eq!(verdict(10, 100, &hearing(&[(0, 40)])), Freshness::Stale);
        assert_eq!(verdict(10, 100, &hearing(&[(0, 40), (99, 100)])), Freshness::Stale);
    }

    #[test]
    fn one_that_was_only_heard_of_from_a_backlog_is_never_fresh() {
        let judged = |now| judge(None, at(10), GRACE, at(now), &hearing(&[(0, now)])).0;
        assert_eq!(judged(11), Freshness::Unproven(Reason::Unconfirmed));
        assert_eq!(judged(40), Freshness::Stale);
    }

    #[test]
    fn a_sign_of_life_from_the_future_is_none() {
        assert_eq!(verdict(1000, 10, &hearing(&[(0, 10)])), Freshness::Unproven(Reason::Unconfirmed));
        assert_eq!(verdict(12, 10, &hearing(&[(0, 10)])), Freshness::Fresh);
    }

    /// A broker that stands still delivers nothing and confirms nothing.
    #[test]
    fn a_deadline_that_passed_unconfirmed_proves_nothing() {
        let unconfirmed = |since, until| {
            let mut hearing = hearing(&[(since, until)]);
            hearing.go_on(Span { since: at(since), until: at(until) });
            move |last, ms: i64| judge(Some(at(last)), at(0), GRACE, at(0).plus_ms(ms), &hearing).0
        };
        let verdict = unconfirmed(0, 39);
        assert_eq!(verdict(10, 40_000), Freshness::Fresh);
        assert_eq!(verdict(10, 40_999), Freshness::Fresh);
        assert_eq!(verdict(10, 41_000), Freshness::Unproven(Reason::Unconfirmed));
        // Who had been silent for its grace when the broker answered last, is stale.
        assert_eq!(verdict(9, 41_000), Freshness::Stale);
        // Heard since after it spoke: an answer would prove nothing either.
        assert_eq!(unconfirmed(20, 39)(10, 40_000), Freshness::Unproven(Reason::Unconfirmed));
    }

    proptest! {
        /// Invariant I2: whatever is known of hearing, past its grace nobody is fresh.
        #[test]
        fn nobody_is_fresh_past_the_grace(
            last in 0i64..500, later in 0i64..1000,
            spans in prop::collection::vec((0i64..1000, 0i64..100), 0..5),
        ) {
            let now = last + later;
            let spans: Vec<_> = spans.into_iter().map(|(since, length)| (since, (since + length).min(now))).collect();
            let hearing = hearing(&spans);
            prop_assert_eq!(verdict(last, now, &hearing) == Freshness::Fresh, now < last + 30);
            // Where somebody listens still, the broker's answer may be a second late.
            let mut listening = hearing;
            let latest = listening.iter().last();
            latest.into_iter().for_each(|span| listening.go_on(span));
            let fresh = verdict(last, now, &listening) == Freshness::Fresh;
            prop_assert!(!fresh || now < last + 31, "{:?}", listening);
        }

        /// Invariant I3: within a grace of hearing again, nobody turns stale who was not so before.
        #[test]
        fn nobody_turns_stale_unheard(
            last in 0i64..500, deaf in 0i64..500, moments in prop::collection::vec((0i64..29, 1i64..50), 1..6),
        ) {
            let mut spans = vec![(0, last + deaf.min(29))];
            let mut now = last + 30;
            for (heard, silent) in moments {
                now += silent;
                spans.push((now, now + heard));
                now += heard;
                prop_assert_ne!(verdict(last, now, &hearing(&spans)), Freshness::Stale);
            }
        }
    }
}
