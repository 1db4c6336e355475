//! Reading what others stored: everything at the start, and then what the change log names.
//!
//! All buckets are asked together, also where they stand on several nodes: 64 one after the other are slower than the
//! changes come, where the machine is slow.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use fred::prelude::*;
use tracing::warn;

use super::RedisStore;
use super::answers::{newest_id, pairs, readable, revision, streams_of};
use super::connection::{Live, Round};
use crate::state::Record;
use crate::store::keys::{self, BUCKETS, DATASET};
use crate::store::{Followed, Known, Position, StoreError, bucket_of};

/// How much longer than one answer records may take, of which there may be very many.
const RECORDS_FACTOR: u32 = 15;

/// Bytes of records that are read together: few enough that not all of them are held twice at a time, of which the memory
/// would stay with the process, and that the watchdog's question is not kept waiting behind them on a slow line.
const TRIP: usize = 1 << 20;

/// Records that are read together at most; how large they are is known by those before.
const RECORDS_TOGETHER: usize = 256;

/// Records that one command asks for, all of one bucket.
const RECORDS_A_COMMAND: usize = 32;

/// Buckets of which the keys are read together.
const KEYS_TOGETHER: usize = 8;

/// Entries of a bucket's change log that are read at a time.
const CHANGES_MAX: u64 = 1000;

const FOLLOWING: &str = "following the change log";

impl RedisStore {
    pub(in crate::store) async fn load(&self) -> Result<(Vec<Arc<Record>>, Position), StoreError> {
        const OPERATION: &str = "loading all records";
        let live = self.shared.live()?;
        let dataset = self.dataset(&live, OPERATION).await?;
        // Where the logs stood first, the records after: nothing falls between.
        let mut round = self.shared.round(&live, OPERATION);
        for bucket in 0..BUCKETS {
            let log = keys::log(bucket);
            round.queued(round.pipeline.xrevrange::<(), _, _, _>(log, "+", "-", Some(1)).await)?;
        }
        let ids = round
            .answers()
            .await?
            .into_iter()
            .map(|entries| newest_id(entries).unwrap_or_else(|| "0-0".into()));
        let position =
            Position { generation: live.generation, ids: ids.collect(), dataset, ..Position::default() };
        let mut records = Vec::new();
        for first in (0..BUCKETS).step_by(KEYS_TOGETHER) {
            let mut round = self.records_round(&live, OPERATION);
            for bucket in first..BUCKETS.min(first + KEYS_TOGETHER) {
                round.queued(round.pipeline.hkeys::<(), _>(keys::records(bucket)).await)?;
            }
            let keys = round.answers().await?.into_iter().flat_map(Value::into_array);
            records.extend(self.fetch(&live, OPERATION, keys.filter_map(Value::into_string)).await?);
        }
        Ok((records, position))
    }

    pub(in crate::store) async fn follow(
        &self,
        reached: &mut Position,
        known: &(impl Known + Sync),
    ) -> Result<Followed, StoreError> {
        let live = self.shared.live()?;
        // Only what was read to its end counts as followed.
        let mut position = reached.clone();
        let dataset = self.dataset(&live, FOLLOWING).await?;
        if dataset != position.dataset {
            warn!("Redis was emptied or replaced; comparing everything");
            position.ids = vec!["0-0".into(); BUCKETS];
            position.compare_left = BUCKETS;
            position.dataset = dataset;
        }
        if live.generation != position.generation {
            position.compare_left = BUCKETS;
            position.generation = live.generation;
        }
        let mut changed = self.changes(&live, &mut position).await?;
        // One bucket a time keeps the comparison cheap; all at once after a break.
        let first = position.compare_next;
        let turn: Vec<usize> =
            (first..first + position.compare_left.max(1)).map(|bucket| bucket % BUCKETS).collect();
        let mut followed = Followed::default();
        self.compare(&live, &turn, known, &mut changed, &mut followed).await?;
        position.compare_next = (first + turn.len()) % BUCKETS;
        position.compare_left = 0;
        changed.retain(|key, revision| *revision > known.revision(key));
        followed.records = self.fetch(&live, "reading changed records", changed.into_keys()).await?;
        *reached = position;
        Ok(followed)
    }

    /// The keys that the logs name since `position`, each with its newest revision.
    async fn changes(
        &self,
        live: &Live,
        position: &mut Position,
    ) -> Result<HashMap<String, u64>, StoreError> {
        let logs: Vec<String> = (0..BUCKETS).map(keys::log).collect();
        // In a cluster, only streams of one bucket stand on one node for certain.
        let together = if self.shared.config.topology.is_cluster() { 1 } else { BUCKETS };
        let mut round = self.shared.round(live, FOLLOWING);
        for (names, ids) in logs.chunks(together).zip(position.ids.chunks(together)) {
            let (names, ids) = (names.to_vec(), ids.to_vec());
            round.queued(round.pipeline.xread::<(), _, _>(Some(CHANGES_MAX), None, names, ids).await)?;
        }
        let mut changed = HashMap::new();
        for (name, entries) in round.answers().await?.into_iter().flat_map(streams_of) {
            let Some(bucket) = logs.iter().position(|log| *log == name) else { continue };
            for (id, change) in entries {
                if let Some((key, revision)) = change {
                    let newest = changed.entry(key).or_insert(0);
                    *newest = revision.max(*newest);
                }
                position.ids[bucket] = id;
            }
        }
        Ok(changed)
    }

    /// Compares the revisions of some buckets with what is known.
    async fn compare(
        &self,
        live: &Live,
        buckets: &[usize],
        known: &(impl Known + Sync),
        changed: &mut HashMap<String, u64>,
        followed: &mut Followed,
    ) -> Result<(), StoreError> {
        const OPERATION: &str = "comparing buckets";
        // What is known first: what is stored meanwhile is newer, and never missing.
        let held: Vec<_> = buckets.iter().flat_map(|bucket| known.bucket(*bucket)).collect();
        let mut round = self.shared.round(live, OPERATION);
        for bucket in buckets {
            round.queued(round.pipeline.hgetall::<(), _>(keys::revisions(*bucket)).await)?;
        }
        let stored = round.answers().await?;
        let stored: HashMap<String, u64> =
            stored.into_iter().flat_map(pairs).map(|(key, held)| (key, revision(&held))).collect();
        for (key, id, revision) in held {
            if stored.get(&key).is_none_or(|stored| *stored < revision) {
                followed.missing.push(id);
            }
        }
        changed.extend(stored);
        Ok(())
    }

    /// The records of these keys, which may be gone meanwhile.
    async fn fetch(
        &self,
        live: &Live,
        operation: &'static str,
        keys: impl Iterator<Item = String>,
    ) -> Result<Vec<Arc<Record>>, StoreError> {
        let mut buckets: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for key in keys {
            buckets.entry(bucket_of(&key)).or_default().push(key);
        }
        let (mut records, mut asked, mut together) = (Vec::new(), 0, RECORDS_A_COMMAND);
        let mut round = self.records_round(live, operation);
        for (bucket, keys) in &buckets {
            for some in keys.chunks(RECORDS_A_COMMAND) {
                round
                    .queued(round.pipeline.hmget::<(), _, _>(keys::records(*bucket), some.to_vec()).await)?;
                asked += some.len();
                if asked >= together {
                    let whole = std::mem::replace(&mut round, self.records_round(live, operation));
                    let answers = whole.answers().await?;
                    let bytes: usize = answers.iter().map(bytes_of).sum();
                    together = (asked * TRIP / bytes.max(1)).min(RECORDS_TOGETHER);
                    asked = 0;
                    records.extend(read_all(answers));
                }
            }
        }
        records.extend(read_all(round.answers().await?));
        Ok(records)
    }

    fn records_round<'a>(&'a self, live: &'a Live, operation: &'static str) -> Round<'a> {
        self.shared.long_round(live, operation, self.shared.config.timeout * RECORDS_FACTOR)
    }

    /// The name of the data set, given by whoever comes first.
    async fn dataset(&self, live: &Live, operation: &'static str) -> Result<String, StoreError> {
        let mut round = self.shared.round(live, operation);
        round.queued(round.pipeline.get::<(), _>(DATASET).await)?;
        if let Some(name) = last_text(round.answers().await?) {
            return Ok(name);
        }
        let name = format!("{:016x}", rand::random::<u64>());
        let mut round = self.shared.round(live, operation);
        let unless_there = Some(SetOptions::NX);
        round.queued(round.pipeline.set::<(), _, _>(DATASET, name, None, unless_there, false).await)?;
        round.queued(round.pipeline.get::<(), _>(DATASET).await)?;
        Ok(last_text(round.answers().await?).unwrap_or_default())
    }
}

/// The bytes of an answer, of which a part may be none.
fn bytes_of(answer: &Value) -> usize {
    match answer {
        Value::Array(parts) => parts.iter().map(bytes_of).sum(),
        one => one.as_bytes().map_or(0, <[u8]>::len),
    }
}

/// The records in the answers of several buckets; a field that is gone meanwhile is none.
fn read_all(answers: Vec<Value>) -> impl Iterator<Item = Arc<Record>> {
    let bodies = answers.into_iter().flat_map(Value::into_array).filter(|body| !body.is_null());
    bodies.filter_map(|body| readable(&body))
}

fn last_text(mut answers: Vec<Value>) -> Option<String> {
    answers.pop().and_then(Value::into_string)
}
