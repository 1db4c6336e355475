//! This replica's view: the newest known record of every publisher.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::record::{Detail, Record};
use crate::heartbeat::{Kind, PublisherId, Timestamp};

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

    /// Those whose ids come after this one.
    pub fn records_after(&self, id: Option<&PublisherId>) -> impl Iterator<Item = &Arc<Record>> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.records.range((from, Bound::Unbounded)).map(|(_, record)| record)
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
