//! What is shown of each component: its checks, with thresholds, running totals and times.
//!
//! Pure. Times are of the monotonic clock, so that a step of the wall clock changes no age.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::jobs::Judged;
use crate::check::Verdict;
use crate::clock::SteadyWall;
use crate::heartbeat::{CheckSpan, Component, ComponentKey, Outcome, QueueFigures, Reason, Timestamp};
use crate::trace::span_id;

/// One component as it is being checked.
#[derive(Clone, Debug)]
pub(super) struct Tracked {
    key: ComponentKey,
    target: Option<Arc<str>>,
    /// What the next check is of, where the file has changed since the latest.
    next_target: Option<Option<Arc<str>>>,
    thresholds: Thresholds,
    shown: Option<Shown>,
    /// Checks in a row that found another outcome than the one shown.
    streak: (Outcome, u32),
    /// The latest check was told of in no trace yet.
    untold: bool,
    checks: u64,
    failures: u64,
}

/// Checks in a row that it takes to turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thresholds {
    /// Failed ones, to be shown down.
    pub failure: u32,
    /// Good ones, to be shown up again.
    pub success: u32,
}

/// What one check found of one component.
#[derive(Clone, Debug)]
pub(super) struct Observation {
    /// Which component.
    pub key: ComponentKey,
    /// What was found.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
    /// When it ended, by [`crate::clock::boot`].
    pub at: Duration,
    /// Who answered, or was tried.
    pub peer: Option<SocketAddr>,
    /// Figures of a queue.
    pub figures: Option<QueueFigures>,
    /// When the certificate ends that was seen.
    pub certificate_not_after: Option<Timestamp>,
    /// What is known beside the reason, for people.
    pub detail: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug)]
struct Shown {
    verdict: Verdict,
    /// What the latest check found by itself.
    found: Verdict,
    peer: Option<SocketAddr>,
    checked: Duration,
    changed: Duration,
    last_up: Option<Duration>,
    last_down: Option<Duration>,
    last_unknown: Option<Duration>,
    took: Option<Duration>,
    figures: Option<QueueFigures>,
    certificate_not_after: Option<Timestamp>,
}

/// What is to be shown from now on.
struct Latest {
    verdict: Verdict,
    found: Verdict,
    at: Duration,
    took: Option<Duration>,
    peer: Option<SocketAddr>,
    figures: Option<QueueFigures>,
    certificate_not_after: Option<Timestamp>,
}

/// A component that turned.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Turn {
    /// What was shown before; `None` at its first check.
    pub was: Option<(Outcome, Option<Reason>)>,
    /// How long that was shown.
    pub lasted: Duration,
}

impl Tracked {
    /// A component that was never checked.
    pub(super) fn new(key: ComponentKey, target: Option<Arc<str>>, thresholds: Thresholds) -> Self {
        Self {
            key,
            target,
            next_target: None,
            thresholds,
            shown: None,
            streak: (Outcome::Unknown, 0),
            untold: false,
            checks: 0,
            failures: 0,
        }
    }

    /// Which component it is.
    pub(super) fn key(&self) -> &ComponentKey {
        &self.key
    }

    /// What is connected to.
    pub(super) fn target(&self) -> Option<&Arc<str>> {
        self.target.as_ref()
    }

    /// The same component as the file has it now: `new` was never checked, and what is known is kept.
    pub(super) fn wanted_as(self, new: Self) -> Self {
        let next_target = (self.target != new.target).then_some(new.target);
        // A row is of checks of the same.
        let streak = if next_target.is_some() { new.streak } else { self.streak };
        Self { thresholds: new.thresholds, next_target, streak, ..self }
    }

    /// Takes a check in; says if what is shown turned.
    pub(super) fn note(&mut self, seen: &Observation) -> Option<Turn> {
        // A connection that failed before it showed a certificate takes nothing away from what is known of it.
        let mut held = self.shown.filter(|_| seen.verdict.outcome != Outcome::Up);
        if let Some(target) = self.next_target.take() {
            self.target = target;
            held = None;
        }
        self.checks += 1;
        self.untold = true;
        self.failures += u64::from(seen.verdict.outcome != Outcome::Up);
        let verdict = self.settled(seen.verdict);
        self.show(Latest {
            verdict,
            found: seen.verdict,
            at: seen.at,
            took: Some(seen.took),
            peer: seen.peer,
            figures: seen.figures,
            certificate_not_after: seen
                .certificate_not_after
                .or(held.and_then(|held| held.certificate_not_after)),
        })
    }

    /// Takes in how a job is, which tells of its runs by itself; says if what is shown turned.
    pub(super) fn judge(&mut self, judged: &Judged) -> Option<Turn> {
        (self.checks, self.failures) = (judged.runs, judged.failures);
        let at = Duration::from_millis(judged.at.unsigned_abs());
        let (verdict, found) = (judged.verdict, judged.verdict);
        self.show(Latest {
            verdict,
            found,
            at,
            took: judged.took,
            peer: None,
            figures: None,
            certificate_not_after: None,
        })
    }

    fn show(&mut self, latest: Latest) -> Option<Turn> {
        let Latest { verdict, found, at, took, peer, figures, certificate_not_after } = latest;
        let before = self.shown;
        let turned = before.is_none_or(|before| before.verdict != verdict);
        let outcome_turned = before.is_none_or(|before| before.verdict.outcome != verdict.outcome);
        let last = |of: Outcome, held: Option<Option<Duration>>| {
            if verdict.outcome == of { Some(at) } else { held.flatten() }
        };
        self.shown = Some(Shown {
            verdict,
            found,
            peer,
            checked: at,
            changed: if outcome_turned { at } else { before.map_or(at, |before| before.changed) },
            last_up: last(Outcome::Up, before.map(|before| before.last_up)),
            last_down: last(Outcome::Down, before.map(|before| before.last_down)),
            last_unknown: last(Outcome::Unknown, before.map(|before| before.last_unknown)),
            took,
            figures,
            certificate_not_after,
        });
        turned.then(|| Turn {
            was: before.map(|before| (before.verdict.outcome, before.verdict.reason)),
            lasted: before.map_or(Duration::ZERO, |before| at.saturating_sub(before.changed)),
        })
    }

    /// The latest check as a span of its own, and when it began; `None` if there was none since this was
    /// last asked.
    pub(super) fn check_span(&mut self) -> Option<(Duration, CheckSpan)> {
        let untold = std::mem::take(&mut self.untold);
        let shown = self.shown.filter(|_| untold)?;
        let span = CheckSpan {
            key: self.key.clone(),
            span: span_id(),
            peer: shown.peer.map(|peer| peer.to_string().into()),
            found: (shown.found != shown.verdict).then_some((shown.found.outcome, shown.found.reason)),
        };
        Some((shown.checked.saturating_sub(shown.took.unwrap_or_default()), span))
    }

    /// The verdict to be shown: one that turns has to be found often enough in a row. What could
    /// not be checked is said at once, and breaks no row.
    fn settled(&mut self, found: Verdict) -> Verdict {
        let Some(shown) = self.shown.map(|shown| shown.verdict) else { return found };
        if found.outcome == Outcome::Unknown {
            return found;
        }
        self.streak = if self.streak.0 == found.outcome {
            (found.outcome, self.streak.1.saturating_add(1))
        } else {
            (found.outcome, 1)
        };
        let needed = match found.outcome {
            Outcome::Up => self.thresholds.success,
            Outcome::Down | Outcome::Unknown => self.thresholds.failure,
        };
        if found.outcome == shown.outcome || shown.outcome == Outcome::Unknown || self.streak.1 >= needed {
            found
        } else {
            shown
        }
    }

    /// As it is told, if it was checked at all.
    pub(super) fn component(&self, wall: &SteadyWall) -> Option<Component> {
        let shown = self.shown.as_ref()?;
        let at = |moment: Option<Duration>| moment.map(|moment| wall.at(moment));
        Some(Component {
            key: self.key.clone(),
            target: self.target.clone(),
            outcome: shown.verdict.outcome,
            reason: shown.verdict.reason,
            checked_at: wall.at(shown.checked),
            changed_at: at(Some(shown.changed)),
            last_up_at: at(shown.last_up),
            last_down_at: at(shown.last_down),
            last_unknown_at: at(shown.last_unknown),
            duration_seconds: shown.took.map(|took| took.as_secs_f64()),
            checks_total: Some(self.checks),
            failures_total: Some(self.failures),
            figures: shown.figures,
            certificate_not_after: shown.certificate_not_after,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heartbeat::Timestamp;

    fn tracked(failure: u32, success: u32) -> Tracked {
        Tracked::new(ComponentKey::host("a"), None, Thresholds { failure, success })
    }

    fn note(tracked: &mut Tracked, verdict: Verdict, second: u64) -> Option<Turn> {
        let at = Duration::from_secs(second);
        let key = tracked.key.clone();
        let took = Duration::from_millis(1);
        tracked.note(&Observation {
            key,
            verdict,
            took,
            at,
            peer: None,
            figures: None,
            certificate_not_after: None,
            detail: None,
        })
    }

    fn shown(tracked: &Tracked) -> Component {
        let wall = SteadyWall::new(Timestamp::EPOCH, Duration::ZERO);
        tracked.component(&wall).unwrap()
    }

    const REFUSED: Verdict = Verdict::down(Reason::Refused);
    const DENIED: Verdict = Verdict::unknown(Reason::ManagementDenied);

    #[test]
    fn the_first_check_and_each_turn_are_told_with_how_long_it_was_before() {
        let mut component = tracked(1, 1);
        assert_eq!(note(&mut component, Verdict::UP, 1).unwrap().was, None);
        assert_eq!(note(&mut component, Verdict::UP, 2), None);
        let turn = note(&mut component, REFUSED, 10).unwrap();
        assert_eq!((turn.was, turn.lasted), (Some((Outcome::Up, None)), Duration::from_secs(9)));
        let told = shown(&component);
        assert_eq!(told.last_up_at, Some(Timestamp::from_unix_ms(2_000)));
        assert_eq!(told.last_down_at, Some(Timestamp::from_unix_ms(10_000)));
        assert_eq!(told.changed_at, Some(Timestamp::from_unix_ms(10_000)));
        assert_eq!((told.checks_total, told.failures_total), (Some(3), Some(1)));
    }

    #[test]
    fn thresholds_hold_a_turn_back() {
        let mut component = tracked(3, 2);
        note(&mut component, Verdict::UP, 1);
        assert_eq!(note(&mut component, REFUSED, 2), None);
        assert_eq!(note(&mut component, REFUSED, 3), None);
        assert_eq!(shown(&component).outcome, Outcome::Up);
        assert!(note(&mut component, REFUSED, 4).is_some());
        assert_eq!(note(&mut component, Verdict::UP, 5), None);
        assert_eq!(shown(&component).outcome, Outcome::Down);
        assert!(note(&mut component, Verdict::UP, 6).is_some());
    }

    #[test]
    fn a_check_is_told_once_and_as_it_was_found() {
        let mut component = tracked(2, 1);
        assert!(component.check_span().is_none(), "never checked");
        note(&mut component, Verdict::UP, 10);
        let (began, span) = component.check_span().unwrap();
        assert_eq!((began, span.found), (Duration::from_millis(9_999), None));
        assert!(component.check_span().is_none(), "told before");
        note(&mut component, REFUSED, 20);
        let (_, span) = component.check_span().unwrap();
        assert_eq!(span.found, Some((Outcome::Down, Some(Reason::Refused))), "still shown as up");
    }

    #[test]
    fn a_certificate_that_was_seen_is_told_until_another_is_or_none_is_needed() {
        let mut component = tracked(1, 1);
        let (first, second) = (Timestamp::from_unix_ms(1000), Timestamp::from_unix_ms(2000));
        let mut see = |verdict: Verdict, certificate_not_after: Option<Timestamp>| {
            let (key, at, took) = (component.key.clone(), Duration::ZERO, Duration::ZERO);
            component.note(&Observation {
                key,
                verdict,
                took,
                at,
                peer: None,
                figures: None,
                certificate_not_after,
                detail: None,
            });
            shown(&component).certificate_not_after
        };
        assert_eq!(see(REFUSED, None), None);
        assert_eq!(see(Verdict::UP, Some(first)), Some(first));
        assert_eq!(see(REFUSED, None), Some(first));
        assert_eq!(see(REFUSED, Some(second)), Some(second));
        assert_eq!(see(Verdict::UP, None), None, "it is asked in the clear now");
    }

    #[test]
    fn what_cannot_be_checked_is_unknown_at_once_and_never_up_or_down() {
        let mut component = tracked(3, 3);
        note(&mut component, Verdict::UP, 1);
        assert!(note(&mut component, DENIED, 2).is_some());
        assert_eq!(shown(&component).outcome, Outcome::Unknown);
        // From unknown, whatever is found first is the truth.
        assert!(note(&mut component, REFUSED, 3).is_some());
        assert_eq!(shown(&component).outcome, Outcome::Down);
        assert_eq!(shown(&component).last_unknown_at, Some(Timestamp::from_unix_ms(2_000)));
    }
}
