//! Writing: a batch of heartbeats at once, each record compared and set.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use fred::prelude::*;

use super::answers::{read_written, text};
use super::connection::Round;
use super::scripts::{bucket_keys, evalsha};
use super::{REJECTED_MAX, RedisStore};
use crate::heartbeat::Timestamp;
use crate::state::Record;
use crate::store::keys::REJECTED;
use crate::store::{Batch, RecordKey, StoreError, Write, Written};

/// Entries that the change log of a bucket keeps, about. A replica that was away for longer
/// compares in full, which it does after each break anyway.
const LOG_LENGTH: &str = "2000";

/// Contract keys written by one script call, well below Lua's limit on arguments.
const CONTRACT_CHUNK: usize = 512;

/// Times in the contract's format, which has whole seconds: most of a batch are of the same few.
#[derive(Default)]
struct LegacyTimes(HashMap<i64, Value>);

impl LegacyTimes {
    fn text(&mut self, at: Timestamp) -> Value {
        self.0.entry(at.unix_ms() / 1000).or_insert_with(|| at.to_legacy().into()).clone()
    }
}

impl RedisStore {
    pub(in crate::store) async fn put(&self, batch: &Batch) -> Result<Vec<Written>, StoreError> {
        const OPERATION: &str = "storing heartbeats";
        let live = self.shared.live()?;
        let mut round = self.shared.round(&live, OPERATION);
        let mut expected = self.queue_contract(&mut round, &batch.contract).await?;
        let order = self.queue_writes(&mut round, &batch.writes).await?;
        if !batch.rejected.is_empty() {
            let kept = batch.rejected.clone();
            round.queued(round.pipeline.lpush::<(), _, _>(REJECTED, kept).await)?;
            round.queued(round.pipeline.ltrim::<(), _>(REJECTED, 0, REJECTED_MAX as i64 - 1).await)?;
        }
        let answers = round.answers().await?;
        let mut written: Vec<Option<Written>> = vec![None; batch.writes.len()];
        for indices in order {
            let answer = answers.get(expected).cloned().unwrap_or(Value::Null);
            expected += 1;
            let pairs = answer.into_array();
            if pairs.len() != indices.len() * 2 {
                return Err(self.shared.malformed(OPERATION));
            }
            for (index, pair) in indices.iter().zip(pairs.chunks_exact(2)) {
                written[*index] = Some(read_written(&batch.writes[*index], &text(&pair[0]), &pair[1]));
            }
        }
        written.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| self.shared.malformed(OPERATION))
    }

    /// Queues the contract's keys; says how many commands that took.
    async fn queue_contract(
        &self,
        round: &mut Round<'_>,
        contract: &HashMap<String, Timestamp>,
    ) -> Result<usize, StoreError> {
        let all: Vec<(&String, &Timestamp)> = contract.iter().collect();
        // In a cluster each key may stand on another node.
        let chunk_size = if self.shared.config.topology.is_cluster() { 1 } else { CONTRACT_CHUNK };
        let mut legacy = LegacyTimes::default();
        for chunk in all.chunks(chunk_size) {
            let names = chunk.iter().map(|(key, _)| (*key).clone()).collect();
            let times = chunk.iter().map(|(_, at)| legacy.text(**at));
            let script = &self.shared.scripts.newer_only;
            round.queued(evalsha(&round.pipeline, script, names, times).await)?;
        }
        Ok(all.len().div_ceil(chunk_size))
    }

    /// Queues the writes, one command a bucket; says which writes each command holds.
    async fn queue_writes(
        &self,
        round: &mut Round<'_>,
        writes: &[Write],
    ) -> Result<Vec<Vec<usize>>, StoreError> {
        let mut buckets: BTreeMap<usize, (Vec<usize>, Vec<Value>)> = BTreeMap::new();
        for (index, write) in writes.iter().enumerate() {
            let key = RecordKey::of(write.record.id.as_str());
            let (indices, arguments) =
                buckets.entry(key.bucket()).or_insert_with(|| (Vec::new(), vec![LOG_LENGTH.into()]));
            indices.push(index);
            arguments.extend([
                key.to_string().into(),
                write.expected.to_string().into(),
                write.record.revision.to_string().into(),
                Value::Bytes(write.body.clone()),
            ]);
        }
        let mut order = Vec::with_capacity(buckets.len());
        for (bucket, (indices, arguments)) in buckets {
            let script = &self.shared.scripts.compare_and_set;
            round.queued(evalsha(&round.pipeline, script, bucket_keys(bucket), arguments).await)?;
            order.push(indices);
        }
        Ok(order)
    }

    pub(in crate::store) async fn bury(&self, records: &[Arc<Record>]) -> Result<(), StoreError> {
        let live = self.shared.live()?;
        let mut round = self.shared.round(&live, "removing tombstones");
        for record in records {
            let key = RecordKey::of(record.id.as_str());
            let arguments = [key.to_string().into(), record.revision.to_string().into()];
            let script = &self.shared.scripts.bury;
            round.queued(evalsha(&round.pipeline, script, bucket_keys(key.bucket()), arguments).await)?;
        }
        round.answers().await.map(|_| ())
    }
}
