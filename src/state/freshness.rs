//! Whether a publisher is fresh, stale, or not to be judged: computed when asked, from `now`.

use std::time::Duration;

use crate::heartbeat::{Reason, Timestamp};

/// What this replica knows about being able to hear, in the store's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hearing {
    /// Since when some subscriber has listened without a break, on a queue that no stranger
    /// shares; `None` while nobody does.
    pub since: Option<Timestamp>,
    /// When the time of listening before that ended; `None` if there was none.
    pub heard_until: Option<Timestamp>,
    /// Set while this replica is cut off from the store and knows of others: since when.
    pub cut_off_since: Option<Timestamp>,
}

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
/// Deaf is not dead: a deadline that passes while nobody listens proves nothing. It counts anew
/// from when listening began again, save for who was stale before.
pub fn judge(
    last_seen: Option<Timestamp>,
    first_received: Timestamp,
    grace: Duration,
    now: Timestamp,
    hearing: &Hearing,
) -> (Freshness, Timestamp) {
    let base = last_seen.unwrap_or(first_received);
    let deadline = base.plus(grace);
    if now < deadline {
        let verdict = match last_seen {
            Some(_) => Freshness::Fresh,
            None => Freshness::Unproven(Reason::Unconfirmed),
        };
        return (verdict, deadline);
    }
    if let Some(cut_off_since) = hearing.cut_off_since
        && cut_off_since < deadline
    {
        return (Freshness::Unproven(Reason::View), deadline);
    }
    let stale_before_deaf = hearing.heard_until.is_some_and(|until| until >= deadline);
    match hearing.since {
        Some(since) if since <= base || stale_before_deaf => (Freshness::Stale, deadline),
        Some(since) if now < since.plus(grace) => {
            (Freshness::Unproven(Reason::Unconfirmed), since.plus(grace))
        }
        Some(since) => (Freshness::Stale, since.plus(grace)),
        None if stale_before_deaf => (Freshness::Stale, deadline),
        None => (Freshness::Unproven(Reason::View), deadline),
    }
}

/// Follows who listens, over all replicas, and keeps the times that [`Hearing`] tells.
#[derive(Clone, Debug, Default)]
pub struct Listeners {
    since: Option<Timestamp>,
    heard_until: Option<Timestamp>,
}

impl Listeners {
    /// Takes in who listens at `now`: the beginning of each current listener's time, and until
    /// when those listened that do no longer.
    pub fn update(
        &mut self,
        now: Timestamp,
        listening_since: impl IntoIterator<Item = Timestamp>,
        listened_until: impl IntoIterator<Item = Timestamp>,
    ) {
        let earliest = listening_since.into_iter().min();
        let ended = listened_until.into_iter().max();
        match (self.since, earliest) {
            // Somebody listens, and somebody did until now: one time without a break.
            (Some(since), Some(earliest)) => self.since = Some(since.min(earliest)),
            (None, Some(earliest)) => {
                // Whoever stopped only after the new one began was heard without a break, but
                // how long before is not known here: the later beginning is the safe one.
                self.since = Some(earliest);
                self.heard_until = self.heard_until.max(ended.map(|ended| ended.min(earliest)));
            }
            (Some(_), None) => {
                self.heard_until = self.heard_until.max(Some(now));
                self.since = None;
            }
            (None, None) => self.heard_until = self.heard_until.max(ended),
        }
    }

    /// Listening had a break that nobody noticed when it began: it ended at `until`.
    pub fn interrupted(&mut self, until: Timestamp) {
        if self.since.take().is_some() {
            self.heard_until = self.heard_until.max(Some(until));
        }
    }

    /// What is known now.
    pub fn hearing(&self, cut_off_since: Option<Timestamp>) -> Hearing {
        Hearing { since: self.since, heard_until: self.heard_until, cut_off_since }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GRACE: Duration = Duration::from_secs(30);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_ms(1_000_000 + seconds * 1000)
    }

    fn hearing(since: Option<i64>, heard_until: Option<i64>) -> Hearing {
        Hearing { since: since.map(at), heard_until: heard_until.map(at), cut_off_since: None }
    }

    fn verdict(last_seen: i64, now: i64, hearing: &Hearing) -> Freshness {
        judge(Some(at(last_seen)), at(0), GRACE, at(now), hearing).0
    }

    #[test]
    fn heard_all_the_time_it_is_stale_at_the_deadline() {
        let always = hearing(Some(0), None);
        assert_eq!(verdict(10, 39, &always), Freshness::Fresh);
        assert_eq!(verdict(10, 40, &always), Freshness::Stale);
    }

    #[test]
    fn a_deadline_that_passed_unheard_proves_nothing() {
        let deaf = hearing(None, Some(20));
        assert_eq!(verdict(10, 100, &deaf), Freshness::Unproven(Reason::View));
        let again = hearing(Some(100), Some(20));
        assert_eq!(verdict(10, 129, &again), Freshness::Unproven(Reason::Unconfirmed));
        assert_eq!(verdict(10, 130, &again), Freshness::Stale);
        // Deaf for a part of the grace only.
        let partly = hearing(Some(35), Some(20));
        assert_eq!(verdict(10, 39, &partly), Freshness::Fresh);
        assert_eq!(verdict(10, 41, &partly), Freshness::Unproven(Reason::Unconfirmed));
        assert_eq!(verdict(10, 65, &partly), Freshness::Stale);
    }

    #[test]
    fn who_was_stale_before_stays_so() {
        assert_eq!(verdict(10, 100, &hearing(None, Some(40))), Freshness::Stale);
        assert_eq!(verdict(10, 100, &hearing(Some(99), Some(40))), Freshness::Stale);
    }

    #[test]
    fn one_that_was_only_heard_of_from_a_backlog_is_never_fresh() {
        let always = hearing(Some(0), None);
        let judged = |now| judge(None, at(10), GRACE, at(now), &always).0;
        assert_eq!(judged(11), Freshness::Unproven(Reason::Unconfirmed));
        assert_eq!(judged(40), Freshness::Stale);
    }

    #[test]
    fn cut_off_from_the_others_it_judges_nobody_anew() {
        let cut = |since| Hearing { since: Some(at(0)), heard_until: None, cut_off_since: Some(at(since)) };
        assert_eq!(verdict(10, 39, &cut(20)), Freshness::Fresh);
        assert_eq!(verdict(10, 41, &cut(20)), Freshness::Unproven(Reason::View));
        assert_eq!(verdict(10, 50, &cut(45)), Freshness::Stale);
    }

    #[test]
    fn listening_goes_on_while_any_replica_listens() {
        let mut listeners = Listeners::default();
        listeners.update(at(0), [], [at(-50)]);
        assert_eq!(listeners.hearing(None), hearing(None, Some(-50)));
        listeners.update(at(1), [at(1)], [at(-50)]);
        assert_eq!(listeners.hearing(None), hearing(Some(1), Some(-50)));
        listeners.update(at(9), [at(8), at(1)], []);
        listeners.update(at(10), [at(8)], [at(9)]);
        assert_eq!(listeners.hearing(None).since, Some(at(1)));
        listeners.update(at(20), [], [at(19)]);
        assert_eq!(listeners.hearing(None), hearing(None, Some(20)));
    }

    proptest! {
        /// Invariant I2: whatever is known of hearing, past its grace nobody is fresh.
        #[test]
        fn nobody_is_fresh_past_the_grace(
            last in 0i64..500, now in 0i64..1000,
            since in prop::option::of(0i64..1000), until in prop::option::of(0i64..1000),
            cut in prop::option::of(0i64..1000),
        ) {
            let hearing = Hearing { since: since.map(at), heard_until: until.map(at), cut_off_since: cut.map(at) };
            let verdict = judge(Some(at(last)), at(0), GRACE, at(now), &hearing).0;
            prop_assert_eq!(verdict == Freshness::Fresh, now < last + 30);
        }

        /// Invariant I3: within a grace of hearing again, nobody turns stale who was not so before.
        #[test]
        fn nobody_turns_stale_unheard(last in 0i64..500, deaf in 0i64..500, again in 0i64..500, now in 0i64..30) {
            let (until, since) = (last + deaf.min(29), last + 30 + again);
            prop_assert_ne!(verdict(last, since + now, &hearing(Some(since), Some(until))), Freshness::Stale);
        }
    }
}
