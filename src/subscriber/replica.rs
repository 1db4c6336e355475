//! This replica's copy of the state: one writer, the ingest, and readers that never wait for it
//! longer than a map operation takes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use crate::clock::StoreClock;
use crate::heartbeat::{PublisherId, Timestamp};
use crate::state::freshness::{Hearing, Listeners};
use crate::state::{Policy, Record, Snapshot, View};
use crate::store::{Known, bucket_of, record_key};

/// A view may be this far behind the store before it is no longer in step.
const LAG_MAX: Duration = Duration::from_secs(10);

/// The view, what is known of hearing, and the clock to judge by.
#[derive(Debug)]
pub struct Replica {
    // Std locks: held for map operations, or while a snapshot is made, never across an await.
    state: RwLock<State>,
    standing: Mutex<Standing>,
    policy: Policy,
    clock: Arc<StoreClock>,
}

#[derive(Debug, Default)]
struct State {
    view: View,
    /// By bucket, the store's key of each publisher with the held revision.
    index: HashMap<usize, HashMap<String, (PublisherId, u64)>>,
}

/// How this replica stands to the others and to the store.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Who listens, over all replicas.
    pub(super) listeners: Listeners,
    /// All records were loaded once.
    pub(super) loaded: bool,
    /// When the change log was last followed to its end, in the store's clock.
    pub(super) followed_at: Option<Timestamp>,
    /// The store does not answer: since when.
    pub(super) disconnected_since: Option<Timestamp>,
    /// Other replicas were there at the last meeting.
    pub(super) others: bool,
    /// Consumers on our queue that are no replica of ours.
    pub(super) foreign: u32,
    /// When the last of them was seen.
    pub(super) foreign_at: Option<Timestamp>,
    /// Since when this replica itself has heard whatever was sent, if it does.
    pub(super) own_since: Option<Timestamp>,
    /// When it last did.
    pub(super) own_until: Option<Timestamp>,
    /// When another replica last said that it listens.
    pub(super) others_at: Option<Timestamp>,
}

/// A replica that was not heard of for so long is not there.
pub(super) const PRESENT: Duration = Duration::from_secs(5);

/// Hearing that was not confirmed for so long had a break: the process was stopped, the machine
/// suspended, or starved.
const CONFIRMED: Duration = Duration::from_secs(2);

impl Standing {
    /// This replica looks whether it hears: often, and whatever else goes on.
    pub(super) fn hears(&mut self, now: Timestamp, hears: bool) {
        let slept = self.own_until.filter(|until| now > until.plus(CONFIRMED));
        if let Some(until) = slept.filter(|_| self.own_since.is_some()) {
            // What was sent meanwhile is still on its way; whoever else listened says so.
            self.listeners.interrupted(until);
            self.own_since = None;
        }
        if !hears {
            self.own_since = None;
            return;
        }
        let since = *self.own_since.get_or_insert(now);
        self.own_until = Some(now);
        self.listeners.update(now, [since], []);
    }

    /// What can be judged at `now`. Hearing that nobody confirmed lately is none.
    pub(super) fn hearing(&self, now: Timestamp) -> Hearing {
        let within = |at: Option<Timestamp>, limit| at.filter(|at| now <= at.plus(limit));
        let own = within(self.own_until.filter(|_| self.own_since.is_some()), CONFIRMED);
        let confirmed = own.or(within(self.others_at, PRESENT));
        let mut hearing = self.listeners.hearing(self.disconnected_since.filter(|_| self.others));
        if confirmed.is_none() && hearing.since.is_some() {
            hearing.since = None;
            hearing.heard_until = hearing.heard_until.max(self.own_until).max(self.others_at);
        }
        hearing
    }
}

impl Replica {
    /// An empty copy.
    pub fn new(policy: Policy, clock: Arc<StoreClock>) -> Self {
        Self { state: RwLock::default(), standing: Mutex::default(), policy, clock }
    }

    /// What the configuration says about publishers.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The store's clock.
    pub fn clock(&self) -> &StoreClock {
        &self.clock
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record of one publisher.
    pub fn get(&self, id: &PublisherId) -> Option<Arc<Record>> {
        self.read().view.get(id).cloned()
    }

    /// Reads the view under its lock.
    pub fn with_view<T>(&self, read: impl FnOnce(&View) -> T) -> T {
        read(&self.read().view)
    }

    pub(super) fn put(&self, record: Arc<Record>) {
        let key = record_key(record.id.as_str());
        let mut state = self.write();
        let held = (record.id.clone(), record.revision);
        state.index.entry(bucket_of(&key)).or_default().insert(key, held);
        state.view.put(record);
    }

    pub(super) fn remove(&self, id: &PublisherId) {
        let key = record_key(id.as_str());
        let mut state = self.write();
        if let Some(bucket) = state.index.get_mut(&bucket_of(&key)) {
            bucket.remove(&key);
        }
        state.view.remove(id);
    }

    /// Whether the view is in step with the store, and how far it may be behind.
    ///
    /// Cut off, it stays in step with what it hears itself; what others hear is judged one by one.
    pub fn in_step(&self, now: Timestamp) -> (bool, Duration) {
        let standing = self.standing();
        let behind = standing.followed_at.map_or(0, |at| now.ms_since(at)).max(0);
        let lag = Duration::from_millis(behind.unsigned_abs());
        let synced = standing.loaded && (standing.disconnected_since.is_some() || lag <= LAG_MAX);
        (synced, lag)
    }

    /// The verdict on each publisher now, and when it was last seen; empty while not in step.
    pub(super) fn verdicts(&self) -> Vec<(PublisherId, Option<bool>, Option<Timestamp>)> {
        let now = self.clock.now();
        if !self.in_step(now).0 {
            return Vec::new();
        }
        let hearing = self.standing().hearing(now);
        self.read().view.verdicts(now, &hearing, &self.policy)
    }

    /// Everything, judged now.
    pub fn snapshot(&self) -> Snapshot {
        let now = self.clock.now();
        let (synced, lag) = self.in_step(now);
        let hearing = self.standing().hearing(now);
        self.read().view.snapshot(now, &hearing, &self.policy, synced, lag)
    }

    /// Whether a stranger may have taken heartbeats of this publisher from our queue: one was there
    /// lately, or since the publisher was last heard, however slowly that beats.
    pub(super) fn queue_is_shared(&self, now: Timestamp, record: Option<&Record>) -> bool {
        const REMEMBERED: Duration = Duration::from_secs(60);
        let last_seen = record.and_then(|record| record.last_seen);
        self.standing().foreign_at.is_some_and(|at| {
            now < at.plus(REMEMBERED) || last_seen.is_some_and(|last_seen| last_seen < at.plus(PRESENT))
        })
    }
}

impl Known for Replica {
    fn revision(&self, key: &str) -> u64 {
        let state = self.read();
        let bucket = state.index.get(&bucket_of(key));
        bucket.and_then(|bucket| bucket.get(key)).map_or(0, |(_, revision)| *revision)
    }

    fn bucket(&self, bucket: usize) -> Vec<(String, PublisherId, u64)> {
        let state = self.read();
        let held = state.index.get(&bucket).into_iter().flatten();
        held.map(|(key, (id, revision))| (key.clone(), id.clone(), *revision)).collect()
    }
}
