//! What is known at one moment, judged: the only form of the state that expositions see.

#[cfg(test)]
pub(crate) mod samples;

use std::sync::Arc;
use std::time::Duration;

use super::components::Components;
use super::maintenance::Maintenance;
use super::recent::Recent;
use super::shard::Shard;
use super::verdict::Verdict;
use crate::heartbeat::{Component, Outcome, PublisherId, PublisherTotals, Reason, Timestamp};

/// Everything that this replica can say at `now`.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The moment for which freshness was judged, in the store's clock.
    pub now: Timestamp,
    /// The part of all publishers that this is of; `None` for all.
    pub shard: Option<Shard>,
    /// Whether the view is in step with the store. Where it is not, no verdict below is `Some`.
    pub view_synced: bool,
    /// How far the view may be behind the store.
    pub view_lag: Duration,
    /// Sorted by id.
    pub publishers: Vec<PublisherView>,
}

/// One publisher at that moment.
#[derive(Clone, Debug)]
pub struct PublisherView {
    /// Which one.
    pub id: PublisherId,
    /// Whether the configuration expects it.
    pub expected: bool,
    /// `Some(true)` fresh, `Some(false)` stale or never seen; `None` where this replica cannot judge.
    pub up: Option<bool>,
    /// When it was first heard of, in the store's clock: since then [`Self::counts`] count. `None` if never.
    pub first_received: Option<Timestamp>,
    /// When its newest heartbeat was emitted, in the store's clock; `None` before the first.
    pub last_seen: Option<Timestamp>,
    /// When it turns, or turned, stale.
    pub deadline: Option<Timestamp>,
    /// The announced interval; the longest recent gap for version 1; `None` before the first.
    pub interval: Option<Duration>,
    /// The publisher's clock minus the store's, in milliseconds.
    pub clock_offset_ms: Option<i64>,
    /// When its process began, by its own clock; version 2 only.
    pub started_at: Option<Timestamp>,
    /// Number of its newest heartbeat; version 2 only.
    pub sequence: Option<u64>,
    /// Its program's version; `original` for version 1.
    pub version: Option<Arc<str>>,
    /// Its epoch; version 2 only.
    pub epoch: Option<Arc<str>>,
    /// Two processes go on under this id.
    pub conflict: bool,
    /// What all replicas together counted about it; `None` if it was never seen.
    pub counts: Option<PublisherCounts>,
    /// What it counted about itself; version 2 only.
    pub totals: Option<PublisherTotals>,
    /// As they were told; [`Self::components`] judges them.
    pub told: Components,
    /// How they are judged.
    pub verdict: Verdict,
    /// When nobody is to be called for its sake.
    pub maintenance: Maintenance,
    /// What happened to it of late.
    pub recent: Recent,
}

impl PublisherView {
    /// One that is expected, and was never heard of. It has no verdict where the view is not in step.
    pub fn never_seen(id: &PublisherId, synced: bool) -> Self {
        Self {
            id: id.clone(),
            expected: true,
            up: synced.then_some(false),
            first_received: None,
            last_seen: None,
            deadline: None,
            interval: None,
            clock_offset_ms: None,
            started_at: None,
            sequence: None,
            version: None,
            epoch: None,
            conflict: false,
            counts: None,
            totals: None,
            told: Components::default(),
            verdict: Verdict::Withheld,
            maintenance: Maintenance::NONE,
            recent: Recent::NOTHING,
        }
    }

    /// Each component, by key, judged.
    pub fn components(&self) -> impl ExactSizeIterator<Item = ComponentView<'_>> {
        self.told.iter().map(|state| {
            let (outcome, reason) = self.verdict.on(&state);
            let maintenance = self.maintenance.of_component(state.component.key.name);
            ComponentView { component: state.component, outcome, reason, maintenance }
        })
    }
}

/// Counters of one publisher, kept in its record, so that every replica shows the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublisherCounts {
    /// Heartbeats taken, superseded ones included.
    pub heartbeats: u64,
    /// Sequence numbers that never came.
    pub lost: u64,
    /// Deliveries of a heartbeat that had been taken before.
    pub duplicates: u64,
    /// Heartbeats that came after a newer one.
    pub superseded: u64,
    /// New epochs after the first.
    pub restarts: u64,
}

/// One component at that moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ComponentView<'a> {
    /// As the publisher last told it.
    pub component: Component<&'a str>,
    /// The verdict now: [`Outcome::Unknown`] where the publisher is stale or its check too old;
    /// `None` where the view is not in step.
    pub outcome: Option<Outcome>,
    /// Why it is not up; `None` if it is, or if there is no verdict.
    pub reason: Option<Reason>,
    /// Until when nobody is to be called for its sake; `None` outside of maintenance.
    pub maintenance: Option<Timestamp>,
}

impl ComponentView<'_> {
    /// Whether the latest figures (duration, queue depth) are still true of now.
    pub fn is_current(&self) -> bool {
        self.outcome
            .is_some_and(|outcome| outcome != Outcome::Unknown || self.component.outcome == Outcome::Unknown)
            && !matches!(self.reason, Some(Reason::Stale | Reason::View | Reason::Unconfirmed))
    }
}
