//! Where the latest state survives a restart, and where replicas meet.
//!
//! Two stores, one behaviour: [`redis`] for service, [`memory`] for `heartbeat standalone` and for
//! tests. A record is written only if the revision on which it is based is still the stored one,
//! in one step with the change log.

mod codec;
pub mod contract;
mod keys;
mod memory;
mod presence;
mod redis;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::heartbeat::{PublisherId, Timestamp};
use crate::state::Record;
use crate::state::hearing::Spans;

pub use codec::{decode as decode_record, encode as encode_record};
pub use memory::MemoryStore;
pub use presence::decode as decode_presence;
pub use redis::probe;
pub use redis::{Config as RedisConfig, REJECTED_MAX, RedisError, RedisStore, Topology};

/// A record to be written.
#[derive(Clone, Debug)]
pub struct Write {
    /// The record in its new form, its revision already raised.
    pub record: Arc<Record>,
    /// Its encoded form, by which an own write whose answer was lost is known again. Shared with the command that sends it.
    pub body: Bytes,
    /// The stored revision on which it is based; 0 for none.
    pub expected: u64,
}

impl Write {
    /// Encodes a record for writing.
    pub fn new(record: Arc<Record>, expected: u64) -> Self {
        let body = Bytes::from(encode_record(&record));
        Self { record, body, expected }
    }
}

/// All that is stored in one round trip.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Records, each publisher once.
    pub writes: Vec<Write>,
    /// The contract's keys with their times; an older one never overwrites a newer one.
    pub contract: HashMap<String, Timestamp>,
    /// Refused messages, kept for a look.
    pub rejected: Vec<String>,
}

/// What became of one write.
#[derive(Clone, Debug)]
pub enum Written {
    /// It is stored.
    Stored,
    /// Another form is stored.
    Conflict {
        /// Its revision; 0 if nothing is stored.
        revision: u64,
        /// The record; `None` if nothing is stored, or nothing that can be read.
        record: Option<Arc<Record>>,
    },
}

/// How far a replica has followed the change log.
#[derive(Clone, Debug, Default)]
pub struct Position {
    /// Newest entry seen, per bucket.
    pub(super) ids: Vec<String>,
    /// The bucket whose turn it is to be compared in full.
    pub(super) compare_next: usize,
    /// Names the data; another name means that the store was emptied.
    pub(super) dataset: String,
    /// The connection on which it was followed; a new one may have skipped entries.
    pub(super) generation: u64,
    /// Buckets still to be compared at once, after a break.
    pub(super) compare_left: usize,
}

/// What was read from the store beside a replica's own writes.
#[derive(Debug, Default)]
pub struct Followed {
    /// Records that are stored in a newer form than this replica has.
    pub records: Vec<Arc<Record>>,
    /// Publishers that this replica knows and the store does not, or only in an older form.
    pub missing: Vec<PublisherId>,
}

/// What a replica tells the others, about once a second.
#[derive(Clone, Debug, PartialEq)]
pub struct Presence {
    /// Random id of the replica's process.
    pub replica: String,
    /// When it last said so, in the store's clock.
    pub at: Timestamp,
    /// When it listened, as far as it is known.
    pub heard: Spans,
    /// The broker as it was told to this replica: host and port, of each node of a cluster, with commas between.
    pub broker: String,
    /// The queues that it consumes there, each with its vhost.
    pub queues: Vec<String>,
    /// How many consume one of these queues at most, itself included, as it last saw.
    pub consumers: u32,
    /// Whether its consumer stands on these queues.
    pub consuming: bool,
    /// Until when it is sure that whatever had been sent to it has come and is stored; `None` of a replica of an earlier
    /// version, which does not say, and of one with which there is no broker between.
    pub confirmed: Option<Timestamp>,
    /// From how many of them it is served.
    pub active: u32,
    /// It ended in order, and said goodbye.
    pub left: bool,
}

impl Presence {
    /// Until when its share of the heartbeats is known: it was heard of, and was itself sure to hear.
    pub fn known_until(&self) -> Timestamp {
        self.confirmed.map_or(self.at, |confirmed| confirmed.min(self.at))
    }

    /// Whether both consume some queue of the same broker. Replicas may reach one broker by
    /// several names; then they see the same consumers.
    pub fn shares_queue(&self, other: &Self) -> bool {
        let is_theirs = |node: &str| other.broker.split(',').any(|other| other == node);
        let same_broker = self.broker.split(',').any(is_theirs) || self.consumers == other.consumers;
        same_broker && self.queues.iter().any(|queue| other.consumes(queue))
    }

    /// Whether this is one of its queues.
    pub fn consumes(&self, queue: &str) -> bool {
        self.queues.iter().any(|own| own == queue)
    }

    /// Whether it consumes all that another does: what it hears, the other would have heard.
    pub fn covers(&self, other: &Self) -> bool {
        other.queues.iter().all(|queue| self.consumes(queue))
    }
}

/// A failed operation on the store. Nothing of it counts as stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no connection.
    #[error("not connected to Redis at {target}")]
    Disconnected {
        /// Where it should be.
        target: String,
        /// Why the latest connection ended or was not made: one of [`REASONS`].
        reason: &'static str,
    },
    /// No connection could be made.
    #[error("could not connect to Redis at {target}: check host, port, password, ACL user and TLS")]
    Connect {
        /// Where to.
        target: String,
        /// What the library said.
        source: redis::RedisError,
    },
    /// No answer in time.
    #[error("no answer from Redis at {target} to {operation}")]
    Deadline {
        /// Where.
        target: String,
        /// What was attempted.
        operation: &'static str,
    },
    /// This user may not do it.
    #[error(
        "Redis at {target} does not allow {operation}: give the ACL user the commands and the keys that it needs"
    )]
    Denied {
        /// Where.
        target: String,
        /// What was attempted.
        operation: &'static str,
        /// What it said.
        source: redis::RedisError,
    },
    /// Redis or the connection refused.
    #[error("Redis at {target}: {operation} failed")]
    Command {
        /// Where.
        target: String,
        /// What was attempted.
        operation: &'static str,
        /// What it said.
        source: redis::RedisError,
    },
    /// Something else stands under a key of ours.
    #[error("Redis at {target}: {operation} gave an answer of another form than expected")]
    Answer {
        /// Where.
        target: String,
        /// What was attempted.
        operation: &'static str,
    },
}

/// What a failure is counted by.
pub const REASONS: [&str; 15] = [
    "unreachable",
    "tls",
    "closed",
    "timeout",
    "denied",
    "read_only",
    "out_of_memory",
    "not_persisting",
    "too_few_replicas",
    "loading",
    "busy",
    "no_script",
    "cluster",
    "malformed",
    "other",
];

impl StoreError {
    /// One of [`REASONS`], to be counted by.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Disconnected { reason, .. } => reason,
            Self::Denied { .. } => "denied",
            Self::Deadline { .. } => "timeout",
            Self::Answer { .. } => "malformed",
            Self::Connect { source, .. } => match redis::reason(&source.0) {
                "closed" | "other" => "unreachable",
                reason => reason,
            },
            Self::Command { source, .. } => redis::reason(&source.0),
        }
    }
}

/// The stores there are.
#[derive(Clone, Debug)]
pub enum Store {
    /// In this process only.
    Memory(MemoryStore),
    /// Redis.
    Redis(RedisStore),
}

/// What a replica has, by which the store tells what is new to it.
pub trait Known {
    /// The revision held of the publisher with this key; 0 for none.
    fn revision(&self, key: &str) -> u64;
    /// Every held publisher of a bucket, by key, with its revision.
    fn bucket(&self, bucket: usize) -> Vec<(String, PublisherId, u64)>;
}

impl Store {
    /// Stores a batch. Each write stands or falls by itself; on an error, none of it counts.
    ///
    /// # Errors
    /// Where the store is away or refuses.
    pub async fn put(&self, batch: &Batch) -> Result<Vec<Written>, StoreError> {
        match self {
            Self::Memory(store) => Ok(store.put(batch)),
            Self::Redis(store) => store.put(batch).await,
        }
    }

    /// Loads every record, tombstones too, and the position from which to follow.
    ///
    /// # Errors
    /// Where the store is away or refuses.
    pub async fn load(&self) -> Result<(Vec<Arc<Record>>, Position), StoreError> {
        match self {
            Self::Memory(store) => Ok((store.load(), Position::default())),
            Self::Redis(store) => store.load().await,
        }
    }

    /// Reads what others wrote since `position`, and compares one bucket in full.
    ///
    /// # Errors
    /// Where the store is away or refuses.
    pub async fn follow(
        &self,
        position: &mut Position,
        known: &(impl Known + Sync),
    ) -> Result<Followed, StoreError> {
        match self {
            Self::Memory(_) => Ok(Followed::default()),
            Self::Redis(store) => store.follow(position, known).await,
        }
    }

    /// Tells the others of this replica, and hears of them. Those of the last day are told.
    ///
    /// # Errors
    /// Where the store is away or refuses.
    pub async fn meet(&self, own: &Presence) -> Result<Vec<Presence>, StoreError> {
        match self {
            Self::Memory(_) => Ok(Vec::new()),
            Self::Redis(store) => store.meet(own).await,
        }
    }

    /// Reads one record.
    ///
    /// # Errors
    /// Where the store is away or refuses.
    pub async fn get(&self, id: &PublisherId) -> Result<Option<Arc<Record>>, StoreError> {
        match self {
            Self::Memory(store) => Ok(store.get(id)),
            Self::Redis(store) => store.get(id).await,
        }
    }

    /// Removes tombstones whose time is over.
    ///
    /// # Errors
    /// Where the store is away or refuses.
    pub async fn bury(&self, records: &[Arc<Record>]) -> Result<(), StoreError> {
        match self {
            Self::Memory(store) => store.bury(records),
            Self::Redis(store) => return store.bury(records).await,
        }
        Ok(())
    }

    /// Whether the store answers, and how often a connection was made anew.
    pub fn link(&self) -> tokio::sync::watch::Receiver<StoreLink> {
        match self {
            Self::Memory(store) => store.link(),
            Self::Redis(store) => store.link(),
        }
    }
}

/// How the connection to the store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreLink {
    /// It answers.
    pub connected: bool,
    /// Connections made after the first.
    pub reconnects: u64,
}

pub use keys::{RecordKey, bucket_of};
