//! What the records say at one moment. Each is judged by itself, so that nobody has to hold all of them still.

use std::sync::Arc;
use std::time::Duration;

use super::freshness::{Freshness, judge};
use super::hearing::Spans;
use super::maintenance::Maintenance;
use super::record::{Detail, Record};
use super::shard::Shard;
use super::snapshot::{PublisherView, Snapshot};
use super::verdict::{Ages, Verdict};
use super::view::Policy;
use crate::heartbeat::{Component, PublisherId, Reason, Timestamp};

/// The version shown for the original program.
const ORIGINAL: &str = "original";

/// A moment, and what records are judged by then.
#[derive(Clone, Debug)]
pub struct Moment<'a> {
    now: Timestamp,
    hearing: Arc<Spans>,
    policy: &'a Policy,
}

/// The verdict on one publisher.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// As it was known; a tombstone where it is forgotten.
    pub record: Arc<Record>,
    /// Fresh, stale, or no verdict.
    pub up: Option<bool>,
    /// When it turns, or turned, stale.
    pub deadline: Timestamp,
}

/// A component that a publisher goes on to tell of, and does not check.
#[derive(Clone, Debug, PartialEq)]
pub struct Doubted {
    /// Whose it is.
    pub publisher: PublisherId,
    /// As it was last told.
    pub component: Component,
    /// The publisher's clock minus the store's, in milliseconds.
    pub clock_offset_ms: i64,
    /// Why it is not known.
    pub reason: Reason,
    /// Since when, in the store's clock.
    pub since: Timestamp,
}

impl<'a> Moment<'a> {
    /// `now`, with what was heard until then and what is expected.
    pub fn new(now: Timestamp, hearing: Spans, policy: &'a Policy) -> Self {
        Self { now, hearing: Arc::new(hearing), policy }
    }

    /// Since when everything would have been heard; `None` where that is not so now.
    pub fn heard_since(&self) -> Option<Timestamp> {
        self.hearing.since(self.now)
    }

    fn judge(&self, record: &Record, grace: Duration) -> (Freshness, Timestamp) {
        judge(record.last_seen, record.first_received, grace, self.now, &self.hearing)
    }

    /// The verdict on a publisher; without its components.
    pub fn verdict(&self, record: Arc<Record>) -> Judged {
        let (freshness, deadline) = self.judge(&record, self.policy.grace(&record));
        Judged { record, up: freshness.up(), deadline }
    }

    /// Whether a publisher is shown, and stale.
    pub fn is_stale(&self, record: &Record) -> bool {
        !record.is_forgotten() && self.judge(record, self.policy.grace(record)).0 == Freshness::Stale
    }

    /// The components of a fresh publisher that are not known all the same, with why, and since when.
    pub fn doubted(&self, record: &Record) -> Vec<Doubted> {
        let grace = self.policy.grace(record);
        if record.is_forgotten() || self.judge(record, grace).0 != Freshness::Fresh {
            return Vec::new();
        }
        let ages = Ages::of(record, self.now, grace, &self.hearing);
        let doubted = record.components.iter().filter_map(|state| {
            let reason = ages.doubt(state.seen)?;
            // Without a time it was never known.
            let since = state.seen?.plus(grace);
            let (publisher, component) = (record.id.clone(), state.component.owned());
            let clock_offset_ms = record.clock_offset_ms.unwrap_or(0);
            Some(Doubted { publisher, component, clock_offset_ms, reason, since })
        });
        doubted.collect()
    }

    /// All of these records, or those of one shard, and whoever else is expected. `synced` says whether they are in step
    /// with the store, and `lag` how far they may be behind it.
    pub fn snapshot(
        &self,
        records: impl IntoIterator<Item = Arc<Record>>,
        (synced, lag): (bool, Duration),
        shard: Option<Shard>,
    ) -> Snapshot {
        let in_shard = |id: &PublisherId| shard.is_none_or(|shard| shard.holds(id));
        let known = records.into_iter().filter(|record| !record.is_forgotten() && in_shard(&record.id));
        let mut publishers: Vec<PublisherView> =
            known.map(|record| self.publisher(&record, synced)).collect();
        let sorted = |a: &PublisherView, b: &PublisherView| a.id.cmp(&b.id);
        publishers.sort_by(sorted);
        let is_known = |id| publishers.binary_search_by(|view| view.id.cmp(id)).is_ok();
        let expected = self.policy.expected.iter().filter(|id| in_shard(id) && !is_known(*id));
        let never_seen: Vec<PublisherView> =
            expected.map(|id| PublisherView::never_seen(id, synced)).collect();
        publishers.extend(never_seen);
        publishers.sort_by(sorted);
        Snapshot { now: self.now, shard, view_synced: synced, view_lag: lag, publishers }
    }

    /// One publisher alone, where it is known or expected.
    pub fn one(
        &self,
        id: &PublisherId,
        record: Option<&Record>,
        (synced, lag): (bool, Duration),
    ) -> Snapshot {
        let known =
            record.filter(|record| !record.is_forgotten()).map(|record| self.publisher(record, synced));
        let expected = || self.policy.expected.contains(id).then(|| PublisherView::never_seen(id, synced));
        let publishers = known.or_else(expected).into_iter().collect();
        Snapshot { now: self.now, shard: None, view_synced: synced, view_lag: lag, publishers }
    }

    fn publisher(&self, record: &Record, synced: bool) -> PublisherView {
        let grace = self.policy.grace(record);
        let (freshness, deadline) = self.judge(record, grace);
        let up = freshness.up().filter(|_| synced);
        let ages = || Ages::of(record, self.now, grace, &self.hearing);
        let verdict = if synced { Verdict::of(freshness, ages) } else { Verdict::Withheld };
        let mut view = PublisherView {
            id: record.id.clone(),
            expected: self.policy.expected.contains(&record.id),
            up,
            first_received: Some(record.first_received),
            last_seen: record.last_seen,
            deadline: Some(deadline),
            interval: None,
            clock_offset_ms: record.clock_offset_ms,
            started_at: None,
            sequence: None,
            version: None,
            epoch: None,
            conflict: record.rare.conflict_at.is_some_and(|at| self.now < at.plus(grace)),
            counts: Some(record.counts),
            totals: None,
            told: record.components.clone(),
            verdict,
            maintenance: Maintenance::new(self.now, record.rare.maintenance.clone()),
            recent: record.rare.recent.clone(),
        };
        match &record.detail {
            Detail::Legacy => {
                view.interval = record.longest_gap();
                view.version = Some(ORIGINAL.into());
            }
            Detail::V2 { started_at, sequence, interval_ms, version, totals, .. } => {
                view.interval = Some(Duration::from_millis(*interval_ms));
                view.started_at = Some(*started_at);
                view.sequence = Some(*sequence);
                view.version = Some(Arc::clone(version));
                view.epoch = Some(Arc::clone(&record.shown));
                view.totals = Some(*totals);
            }
        }
        view
    }
}
