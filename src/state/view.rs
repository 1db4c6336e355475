//! This replica's view: the newest known record of every publisher, and the snapshot made of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::components::Components;
use super::freshness::{Freshness, judge};
use super::hearing::Spans;
use super::record::{Detail, Record};
use super::shard::Shard;
use super::snapshot::{PublisherView, Snapshot};
use super::verdict::{Ages, Verdict};
use crate::heartbeat::{Component, Kind, PublisherId, Reason, Timestamp};
use crate::trace::TraceContext;

/// The version shown for the original program.
const ORIGINAL: &str = "original";

/// What the configuration says about publishers.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Publishers that are shown before they are first seen.
    pub expected: BTreeSet<PublisherId>,
    /// Grace of single publishers.
    pub grace: HashMap<PublisherId, Duration>,
    /// Grace of all others; `None` derives it from the interval.
    pub default_grace: Option<Duration>,
    /// Publishers held at most.
    pub publishers_max: usize,
    /// Components held at most, over all publishers.
    pub components_max: usize,
}

impl Policy {
    /// How long after its last sign of life this publisher is stale.
    pub fn grace(&self, record: &Record) -> Duration {
        let set = self.grace.get(&record.id).copied().or(self.default_grace);
        set.unwrap_or_else(|| record.default_grace())
    }
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

/// The verdict on one publisher.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Which one.
    pub id: PublisherId,
    /// Fresh, stale, or no verdict.
    pub up: Option<bool>,
    /// When its newest heartbeat was emitted, in the store's clock.
    pub last_seen: Option<Timestamp>,
    /// When it turns, or turned, stale.
    pub deadline: Timestamp,
    /// The trace of its newest heartbeat, where one was recorded.
    pub trace: Option<TraceContext>,
}

/// The records by publisher. Tombstones stay in it, and are not shown.
#[derive(Debug, Default)]
pub struct View {
    records: BTreeMap<PublisherId, Arc<Record>>,
    components: usize,
    living: usize,
}

impl View {
    /// The record of one publisher.
    pub fn get(&self, id: &PublisherId) -> Option<&Arc<Record>> {
        self.records.get(id)
    }

    /// Every record, tombstones too, by id.
    pub fn records(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.records.values()
    }

    /// Publishers that are known and not forgotten.
    pub fn publishers(&self) -> usize {
        self.living
    }

    /// Components of all of them.
    pub fn components(&self) -> usize {
        self.components
    }

    /// Puts a record in, whatever stood there.
    pub fn put(&mut self, record: Arc<Record>) -> Option<Arc<Record>> {
        self.components += record.components.len();
        self.living += usize::from(!record.is_forgotten());
        let old = self.records.insert(record.id.clone(), record);
        if let Some(old) = &old {
            self.components -= old.components.len();
            self.living -= usize::from(!old.is_forgotten());
        }
        old
    }

    /// Takes a record out: only for tombstones whose time is over.
    pub fn remove(&mut self, id: &PublisherId) {
        if let Some(old) = self.records.remove(id) {
            self.components -= old.components.len();
            self.living -= usize::from(!old.is_forgotten());
        }
    }

    /// Whether a publisher may have so many components beside what is there.
    pub fn has_room(&self, policy: &Policy, id: &PublisherId, components: usize) -> bool {
        let old = self.records.get(id);
        let is_new = old.is_none_or(|old| old.is_forgotten());
        let others = self.components - old.map_or(0, |old| old.components.len());
        (!is_new || self.living < policy.publishers_max) && others + components <= policy.components_max
    }

    /// The id under which a version 1 message of `id` is kept: an original does not speak in the
    /// name of a version 2 publisher that happens to bear the same id.
    pub fn legacy_id(&self, id: &PublisherId) -> PublisherId {
        let taken = self
            .records
            .get(id)
            .is_some_and(|record| !record.is_forgotten() && matches!(record.detail, Detail::V2 { .. }));
        if !taken {
            return id.clone();
        }
        let mut name = format!("{id}-original");
        while name.len() > crate::heartbeat::NAME_BYTES_MAX {
            let cut = name.char_indices().next().map_or(0, |(_, first)| first.len_utf8());
            name.drain(..cut);
        }
        PublisherId::new(&name).unwrap_or_else(|_| id.clone())
    }

    /// Version 1 publishers that have nothing left to say: one version 2 publisher names all
    /// their components, and half their grace has passed in silence, `heard_since` then.
    pub fn retired_originals(
        &self,
        policy: &Policy,
        now: Timestamp,
        heard_since: Timestamp,
    ) -> Vec<PublisherId> {
        let originals = self.records.values().filter(|record| {
            !record.is_forgotten() && record.detail == Detail::Legacy && !record.components.is_empty()
        });
        originals
            .filter(|original| {
                let silent_since = original.last_seen.unwrap_or(original.first_received).max(heard_since);
                now >= silent_since.plus(policy.grace(original) / 2)
                    && self.records.values().any(|record| names_all(record, original))
            })
            .map(|original| original.id.clone())
            .collect()
    }

    /// The verdict on each publisher at `now`; without its components.
    pub fn verdicts(&self, now: Timestamp, hearing: &Spans, policy: &Policy) -> Vec<Judged> {
        let judged = self.judged(now, hearing, policy).map(|(record, freshness, deadline)| Judged {
            id: record.id.clone(),
            up: freshness.up(),
            last_seen: record.last_seen,
            deadline,
            trace: record.trace,
        });
        judged.collect()
    }

    /// Components of fresh publishers that are not known all the same, with why, and since when.
    pub fn doubted(&self, now: Timestamp, hearing: &Spans, policy: &Policy) -> Vec<Doubted> {
        let fresh =
            self.judged(now, hearing, policy).filter(|(_, freshness, _)| *freshness == Freshness::Fresh);
        let hearing = Arc::new(hearing.clone());
        let doubted = fresh.flat_map(|(record, ..)| {
            let grace = policy.grace(record);
            let ages = Ages::of(record, now, grace, &hearing);
            record.components.iter().filter_map(move |state| {
                let reason = ages.doubt(state.seen)?;
                // Without a time it was never known.
                let since = state.seen?.plus(grace);
                let (publisher, component) = (record.id.clone(), state.component.owned());
                let clock_offset_ms = record.clock_offset_ms.unwrap_or(0);
                Some(Doubted { publisher, component, clock_offset_ms, reason, since })
            })
        });
        doubted.collect()
    }

    /// The publishers that are stale at `now`.
    pub fn stale(
        &self,
        now: Timestamp,
        hearing: &Spans,
        policy: &Policy,
    ) -> impl Iterator<Item = &Arc<Record>> {
        let stale =
            self.judged(now, hearing, policy).filter(|(_, freshness, _)| *freshness == Freshness::Stale);
        stale.map(|(record, ..)| record)
    }

    fn judged(
        &self,
        now: Timestamp,
        hearing: &Spans,
        policy: &Policy,
    ) -> impl Iterator<Item = (&Arc<Record>, Freshness, Timestamp)> {
        let known = self.records.values().filter(|record| !record.is_forgotten());
        known.map(move |record| {
            let grace = policy.grace(record);
            let (verdict, deadline) = judge(record.last_seen, record.first_received, grace, now, hearing);
            (record, verdict, deadline)
        })
    }

    /// Everything, or what is in one shard, judged at `now`.
    pub fn snapshot(
        &self,
        now: Timestamp,
        hearing: &Spans,
        policy: &Policy,
        synced: bool,
        lag: Duration,
        shard: Option<Shard>,
    ) -> Snapshot {
        let in_shard = |id: &PublisherId| shard.is_none_or(|shard| shard.holds(id));
        let known = self.records.values().filter(|record| !record.is_forgotten() && in_shard(&record.id));
        let hearing = Arc::new(hearing.clone());
        let mut publishers: Vec<PublisherView> =
            known.map(|record| publisher_view(record, now, &hearing, policy, synced)).collect();
        for id in &policy.expected {
            if in_shard(id) && self.records.get(id).is_none_or(|record| record.is_forgotten()) {
                publishers.push(never_seen(id, synced));
            }
        }
        publishers.sort_by(|a, b| a.id.cmp(&b.id));
        Snapshot { now, shard, view_synced: synced, view_lag: lag, publishers }
    }
}

/// Whether a version 2 publisher names every component of an original.
fn names_all(record: &Record, original: &Record) -> bool {
    if record.is_forgotten() || record.detail == Detail::Legacy {
        return false;
    }
    let names: BTreeSet<(Kind<&str>, &str)> =
        record.components.iter().map(|state| (state.component.key.kind, state.component.key.name)).collect();
    original.components.iter().all(|state| {
        let key = state.component.key;
        names.contains(&(key.kind, key.name))
    })
}

fn publisher_view(
    record: &Record,
    now: Timestamp,
    hearing: &Arc<Spans>,
    policy: &Policy,
    synced: bool,
) -> PublisherView {
    let grace = policy.grace(record);
    let (freshness, deadline) = judge(record.last_seen, record.first_received, grace, now, hearing);
    let up = freshness.up().filter(|_| synced);
    let ages = || Ages::of(record, now, grace, hearing);
    let verdict = if synced { Verdict::of(freshness, ages) } else { Verdict::Withheld };
    let mut view = PublisherView {
        id: record.id.clone(),
        expected: policy.expected.contains(&record.id),
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
        conflict: record.conflict_at.is_some_and(|at| now < at.plus(grace)),
        counts: Some(record.counts),
        totals: None,
        told: record.components.clone(),
        verdict,
    };
    match &record.detail {
        Detail::Legacy => {
            view.interval = record.longest_gap();
            view.version = Some(ORIGINAL.into());
        }
        Detail::V2 { started_at, sequence, interval, version, totals, .. } => {
            view.interval = Some(*interval);
            view.started_at = Some(*started_at);
            view.sequence = Some(*sequence);
            view.version = Some(Arc::clone(version));
            view.epoch = Some(Arc::clone(&record.shown));
            view.totals = Some(*totals);
        }
    }
    view
}

fn never_seen(id: &PublisherId, synced: bool) -> PublisherView {
    PublisherView {
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
    }
}
