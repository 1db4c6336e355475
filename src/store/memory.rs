//! The store of `heartbeat standalone`: the same steps, in this process.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{Batch, StoreLink, Written};
use crate::heartbeat::{PublisherId, Timestamp};
use crate::state::Record;

/// Refused messages kept for a look.
const REJECTED_MAX: usize = 100;

/// Keeps everything in memory.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    // A std lock: held for moments, never across an await.
    inner: Arc<Mutex<Inner>>,
    link: watch::Receiver<StoreLink>,
}

#[derive(Debug)]
struct Inner {
    records: BTreeMap<PublisherId, Arc<Record>>,
    contract: HashMap<String, Timestamp>,
    rejected: VecDeque<String>,
    _link: watch::Sender<StoreLink>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        let (sender, link) = watch::channel(StoreLink { connected: true, reconnects: 0 });
        let inner = Inner {
            records: BTreeMap::new(),
            contract: HashMap::new(),
            rejected: VecDeque::new(),
            _link: sender,
        };
        Self { inner: Arc::new(Mutex::new(inner)), link }
    }
}

impl MemoryStore {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, batch: &Batch) -> Vec<Written> {
        let mut inner = self.lock();
        for (key, at) in &batch.contract {
            let held = inner.contract.entry(key.clone()).or_insert(*at);
            *held = (*held).max(*at);
        }
        for rejected in &batch.rejected {
            inner.rejected.push_front(rejected.clone());
            inner.rejected.truncate(REJECTED_MAX);
        }
        let write = |write: &super::Write| {
            let stored = inner.records.get(&write.record.id);
            let revision = stored.map_or(0, |record| record.revision);
            if stored.is_some_and(|stored| *stored == write.record) {
                return Written::Stored;
            }
            if revision != write.expected {
                return Written::Conflict { revision, record: stored.cloned() };
            }
            inner.records.insert(write.record.id.clone(), Arc::clone(&write.record));
            Written::Stored
        };
        batch.writes.iter().map(write).collect()
    }

    pub(super) fn load(&self) -> Vec<Arc<Record>> {
        self.lock().records.values().cloned().collect()
    }

    pub(super) fn get(&self, id: &PublisherId) -> Option<Arc<Record>> {
        self.lock().records.get(id).cloned()
    }

    pub(super) fn bury(&self, records: &[Arc<Record>]) {
        let mut inner = self.lock();
        for record in records {
            if inner.records.get(&record.id).is_some_and(|stored| stored.revision == record.revision) {
                inner.records.remove(&record.id);
            }
        }
    }

    /// The contract's keys, as another reader would find them.
    pub fn contract_keys(&self) -> HashMap<String, Timestamp> {
        self.lock().contract.clone()
    }

    pub(super) fn link(&self) -> watch::Receiver<StoreLink> {
        self.link.clone()
    }
}
