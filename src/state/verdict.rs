//! What is said of the components of one publisher at one moment.

use std::sync::Arc;
use std::time::Duration;

use super::components::ComponentState;
use super::freshness::{Freshness, judge};
use super::hearing::Spans;
use super::record::{Detail, Record};
use crate::heartbeat::{Outcome, Reason, Timestamp};

/// How the components of one publisher are judged.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Not at all: the view is not in step with the store.
    Withheld,
    /// All alike are unknown, since their publisher is not fresh.
    Unknown(Reason),
    /// Each by its own age.
    Each(Ages),
}

/// What the age of a component is held against.
#[derive(Clone, Debug)]
pub struct Ages {
    /// Now, in the store's clock.
    pub now: Timestamp,
    /// How old a check may be.
    pub grace: Duration,
    /// When its publisher was last heard, where one process tells of all its components.
    pub heard: Option<Timestamp>,
    /// When it would have been heard.
    pub hearing: Arc<Spans>,
}

impl Verdict {
    /// Of the components of a publisher that is judged as `freshness` says.
    pub(super) fn of(freshness: Freshness, ages: impl FnOnce() -> Ages) -> Self {
        match freshness {
            Freshness::Stale => Self::Unknown(Reason::Stale),
            Freshness::Unproven(reason) => Self::Unknown(reason),
            Freshness::Fresh => Self::Each(ages()),
        }
    }

    /// The outcome that is shown of a component, and why it is not up; `None` for both where no verdict is given.
    pub fn on<S>(&self, state: &ComponentState<S>) -> (Option<Outcome>, Option<Reason>) {
        let doubt = match self {
            Self::Withheld => return (None, None),
            Self::Unknown(reason) => Some(*reason),
            Self::Each(ages) => ages.doubt(state.seen),
        };
        match doubt {
            Some(reason) => (Some(Outcome::Unknown), Some(reason)),
            None => (Some(state.component.outcome), state.component.reason),
        }
    }
}

impl Ages {
    /// For the components of one publisher.
    pub(super) fn of(record: &Record, now: Timestamp, grace: Duration, hearing: &Arc<Spans>) -> Self {
        let one_process = matches!(record.detail, Detail::V2 { .. });
        let heard = record.last_seen.filter(|_| one_process);
        Self { now, grace, heard, hearing: Arc::clone(hearing) }
    }

    /// Why a component of a fresh publisher is not known all the same: its own check is too old (a
    /// hung prober behind a beating publisher, or one of several originals that fell silent).
    pub(super) fn doubt(&self, seen: Option<Timestamp>) -> Option<Reason> {
        let Some(seen) = seen else {
            return Some(Reason::Unconfirmed);
        };
        let deadline = seen.plus(self.grace);
        if self.now < deadline {
            return None;
        }
        // Its publisher was heard since, so the check would have been, too.
        if self.heard.is_some_and(|heard| heard >= deadline) {
            return Some(Reason::Stale);
        }
        // Its silence is judged as a publisher's: so each of several originals is heard by itself.
        match judge(Some(seen), seen, self.grace, self.now, &self.hearing).0 {
            Freshness::Fresh => None,
            Freshness::Stale => Some(Reason::Stale),
            Freshness::Unproven(reason) => Some(reason),
        }
    }
}
