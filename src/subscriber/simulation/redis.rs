//! The store, by its contract: a write counts only on the revision on which it is based, in one step.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use crate::heartbeat::{PublisherId, Timestamp};
use crate::state::Record;
use crate::store::{Batch, Written, decode_record};

/// Records as text, with their revisions.
type Records = BTreeMap<PublisherId, (u64, Bytes)>;

/// Redis.
#[derive(Debug, Default)]
pub(super) struct Redis {
    pub(super) up: bool,
    records: Records,
    pub(super) contract: HashMap<String, Timestamp>,
    /// Refused messages that were kept.
    pub(super) rejected: u64,
    saved: Records,
}

impl Redis {
    pub(super) fn new() -> Self {
        Self { up: true, ..Self::default() }
    }

    /// Stores a batch. Returns the answers, and the records that are new.
    pub(super) fn put(&mut self, batch: &Batch) -> (Vec<Written>, Vec<Record>) {
        for (key, at) in &batch.contract {
            let held = self.contract.entry(key.clone()).or_insert(*at);
            *held = (*held).max(*at);
        }
        self.rejected += batch.rejected.len() as u64;
        let (mut answers, mut new) = (Vec::new(), Vec::new());
        for write in &batch.writes {
            let held = self.records.get(&write.record.id).cloned();
            let revision = held.as_ref().map_or(0, |(revision, _)| *revision);
            answers.push(if held.as_ref().is_some_and(|(_, body)| *body == write.body) {
                Written::Stored
            } else if revision == write.expected {
                let stored = (write.record.revision, write.body.clone());
                self.records.insert(write.record.id.clone(), stored);
                new.push(read(&write.body));
                Written::Stored
            } else {
                let record = held.map(|(_, body)| Arc::new(read(&body)));
                Written::Conflict { revision, record }
            });
        }
        (answers, new)
    }

    /// Every record.
    pub(super) fn load(&self) -> Vec<Arc<Record>> {
        self.records.values().map(|(_, body)| Arc::new(read(body))).collect()
    }

    /// The revision of one publisher; 0 for none.
    pub(super) fn revision(&self, id: &PublisherId) -> u64 {
        self.records.get(id).map_or(0, |(revision, _)| *revision)
    }

    /// What a replica that was promoted later would hold.
    pub(super) fn save(&mut self) {
        self.saved = self.records.clone();
    }

    /// Another server takes over, which has not heard of the latest writes.
    pub(super) fn go_back(&mut self) {
        self.records = self.saved.clone();
    }
}

/// What is stored can be read.
fn read(body: &Bytes) -> Record {
    decode_record(std::str::from_utf8(body).unwrap()).unwrap()
}
