//! Redis: the only user of fred.
//!
//! fred's own reconnection is not used, for it has gaps: without a policy its commands hang for
//! ever, and a busy connection that has gone dead is never noticed. Here a client lives as long as
//! one connection. Every command has a deadline, a watchdog asks once a second, and whatever goes
//! wrong ends the client; a task makes the next one.
//!
//! Keys (see `keys.rs`): per bucket a hash of records, a hash of their revisions and a stream of
//! changes; beside them the contract's keys, the replicas, and the refused messages.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use fred::clients::Pipeline;
use fred::error::{Error, ErrorKind};
use fred::prelude::*;
use fred::types::ConnectHandle;
use fred::types::config::{
    ClusterDiscoveryPolicy, HostMapping, Server, TlsConfig, TlsConnector, TlsHostMapping,
};
use fred::types::scripts::Script;
use fred::types::{ClusterHash, CustomCommand};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::keys::{self, BUCKETS, DATASET, REJECTED, REPLICAS};
use super::{
    Batch, Followed, Known, Position, Presence, RecordKey, StoreError, StoreLink, Write, Written, bucket_of,
    decode_record,
};
use crate::backoff::Backoff;
use crate::clock::{self, StoreClock};
use crate::heartbeat::{PublisherId, Timestamp};
use crate::secret::SecretSource;
use crate::state::Record;
use crate::telemetry::Chain;
use crate::tls::PeerTls;

/// How to reach Redis.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which servers, and how they belong together.
    pub topology: Topology,
    /// ACL user, where there is one.
    pub username: Option<String>,
    /// Password, where there is one; read anew for each connection.
    pub password: Option<SecretSource>,
    /// TLS, where it is on.
    pub tls: Option<PeerTls>,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// Longest wait between two attempts to connect.
    pub reconnect_max: Duration,
}

/// How Redis is run.
#[derive(Clone, Debug)]
pub enum Topology {
    /// One server.
    Single {
        /// Host and port.
        node: (String, u16),
        /// Database number.
        database: u8,
    },
    /// A primary that Sentinels name.
    Sentinel {
        /// The Sentinels, each host and port.
        nodes: Vec<(String, u16)>,
        /// The name of the primary.
        service: String,
        /// Database number.
        database: u8,
    },
    /// A cluster.
    Cluster {
        /// Nodes to ask first, each host and port.
        nodes: Vec<(String, u16)>,
    },
}

impl Topology {
    /// `name`: what a server is called in TLS, where not as its host.
    fn server(&self, name: Option<&str>) -> (ServerConfig, u8) {
        let server =
            |(host, port): &(String, u16)| Server::new_with_tls(host.clone(), *port, name.map(str::to_owned));
        let servers = |nodes: &[(String, u16)]| nodes.iter().map(server).collect();
        match self {
            Self::Single { node, database } => {
                (ServerConfig::Centralized { server: server(node) }, *database)
            }
            Self::Sentinel { nodes, service, database } => {
                let sentinel =
                    ServerConfig::Sentinel { hosts: servers(nodes), service_name: service.clone() };
                (sentinel, *database)
            }
            Self::Cluster { nodes } => (
                ServerConfig::Clustered { hosts: servers(nodes), policy: ClusterDiscoveryPolicy::default() },
                0,
            ),
        }
    }

    fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster { .. })
    }

    /// The first server, for people.
    fn target(&self) -> String {
        let first = match self {
            Self::Single { node, .. } => Some(node),
            Self::Sentinel { nodes, .. } | Self::Cluster { nodes } => nodes.first(),
        };
        first.map(|(host, port)| format!("{host}:{port}")).unwrap_or_default()
    }
}

/// The name of every node in TLS, also of those that the cluster tells by address.
#[derive(Debug)]
struct OneName(String);

impl HostMapping for OneName {
    fn map(&self, _: &IpAddr, _: &str) -> Option<String> {
        Some(self.0.clone())
    }
}

/// Entries that the change log of a bucket keeps, about. A replica that was away for longer
/// compares in full, which it does after each break anyway.
const LOG_LENGTH: &str = "2000";

/// Refused messages kept for a look.
pub const REJECTED_MAX: usize = 100;

/// Contract keys written by one script call, well below Lua's limit on arguments.
const CONTRACT_CHUNK: usize = 512;

/// A connection that served for longer was a good one.
const LASTING: Duration = Duration::from_secs(10);

/// How often the watchdog asks.
const WATCHDOG: Duration = Duration::from_secs(1);

/// How much longer than one answer the load of everything may take.
const LOAD_FACTOR: u32 = 15;

/// Replicas that were not heard of for so long are dropped.
const REPLICA_KEPT_MS: i64 = 86_400_000;

/// Compares and sets records of one bucket, with the change log, in one step. A revision without
/// a record counts as nothing, and so does what is no revision. Answers two values a record: empty ones if it was stored, else the
/// stored revision and record.
const COMPARE_AND_SET: &str = r"
local answers = {}
for i = 2, #ARGV, 4 do
  local key, expected, revision, body = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local held = redis.call('HGET', KEYS[2], key)
  if held and (#held > 16 or not string.find(held, '^[1-9]%d*$')) then held = false end
  if held and redis.call('HEXISTS', KEYS[1], key) == 0 then held = false end
  if (held or '0') == expected then
    redis.call('HSET', KEYS[1], key, body)
    redis.call('HSET', KEYS[2], key, revision)
    redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[1], '*', 'k', key, 'r', revision)
    answers[#answers + 1] = ''
    answers[#answers + 1] = ''
  else
    answers[#answers + 1] = held or '0'
    answers[#answers + 1] = held and redis.call('HGET', KEYS[1], key) or ''
  end
end
return answers";

/// Writes the contract's keys, each only if its time is later than what is there. What is no time
/// is overwritten, as the original would.
const NEWER_ONLY: &str = r"
local held = redis.call('MGET', unpack(KEYS))
local changed = {}
for i, key in ipairs(KEYS) do
  local time = held[i]
  if not time or #time ~= 23 or not string.find(time, '^%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d UTC$') or time < ARGV[i] then
    changed[#changed + 1] = key
    changed[#changed + 1] = ARGV[i]
  end
end
if #changed > 0 then redis.call('MSET', unpack(changed)) end
return #changed / 2";

/// Removes tombstones, each only in the form in which it was found.
const BURY: &str = r"
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[2], ARGV[i]) == ARGV[i + 1] then
    redis.call('HDEL', KEYS[1], ARGV[i])
    redis.call('HDEL', KEYS[2], ARGV[i])
  end
end
return 0";

/// Speaks to Redis. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RedisStore {
    shared: Arc<Shared>,
    link: watch::Receiver<StoreLink>,
}

struct Shared {
    config: Config,
    clock: Arc<StoreClock>,
    scripts: Scripts,
    /// The connection, while there is one. A std lock: held to clone, never across an await.
    live: RwLock<Option<Live>>,
    /// Why there is none, by the latest attempt or end. A std lock, likewise.
    away: RwLock<&'static str>,
    broken: Notify,
    /// Whether Redis said since the last attempt that this user may not do something.
    denied: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Scripts {
    compare_and_set: Script,
    newer_only: Script,
    bury: Script,
}

#[derive(Clone)]
struct Live {
    client: Client,
    generation: u64,
}

/// Keeps a connection: makes the next one for ever, until told to stop.
pub struct RedisTask {
    shared: Arc<Shared>,
    link: watch::Sender<StoreLink>,
}

impl RedisStore {
    /// Makes the store and the task to be spawned by its owner.
    pub fn new(config: Config, clock: Arc<StoreClock>) -> (Self, RedisTask) {
        let (sender, link) = watch::channel(StoreLink::default());
        let scripts = Scripts {
            compare_and_set: Script::from_lua(COMPARE_AND_SET),
            newer_only: Script::from_lua(NEWER_ONLY),
            bury: Script::from_lua(BURY),
        };
        let shared = Arc::new(Shared {
            config,
            clock,
            scripts,
            live: RwLock::new(None),
            away: RwLock::new("unreachable"),
            broken: Notify::new(),
            denied: AtomicBool::new(false),
        });
        (Self { shared: Arc::clone(&shared), link }, RedisTask { shared, link: sender })
    }

    pub(super) fn link(&self) -> watch::Receiver<StoreLink> {
        self.link.clone()
    }

    pub(super) async fn put(&self, batch: &Batch) -> Result<Vec<Written>, StoreError> {
        const OPERATION: &str = "storing heartbeats";
        let live = self.shared.live()?;
        let pipeline = live.client.pipeline();
        let mut expected = self.queue_contract(&pipeline, &batch.contract).await?;
        let order = self.queue_writes(&pipeline, &batch.writes).await?;
        if !batch.rejected.is_empty() {
            let kept: Vec<String> = batch.rejected.clone();
            queued(pipeline.lpush::<(), _, _>(REJECTED, kept).await, &self.shared)?;
            queued(pipeline.ltrim::<(), _>(REJECTED, 0, REJECTED_MAX as i64 - 1).await, &self.shared)?;
        }
        let answers = self.run(&live, OPERATION, pipeline).await?;
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
        pipeline: &Pipeline<Client>,
        contract: &HashMap<String, Timestamp>,
    ) -> Result<usize, StoreError> {
        let all: Vec<(&String, &Timestamp)> = contract.iter().collect();
        let hash = self.shared.scripts.newer_only.sha1();
        // In a cluster each key may stand on another node.
        let chunk_size = if self.shared.config.topology.is_cluster() { 1 } else { CONTRACT_CHUNK };
        for chunk in all.chunks(chunk_size) {
            let names = chunk.iter().map(|(key, _)| (*key).clone()).collect();
            let times = chunk.iter().map(|(_, at)| at.to_legacy().into());
            queued(evalsha(pipeline, hash, names, times).await, &self.shared)?;
        }
        Ok(all.len().div_ceil(chunk_size))
    }

    /// Queues the writes, one command a bucket; says which writes each command holds.
    async fn queue_writes(
        &self,
        pipeline: &Pipeline<Client>,
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
        let hash = self.shared.scripts.compare_and_set.sha1();
        let mut order = Vec::with_capacity(buckets.len());
        for (bucket, (indices, arguments)) in buckets {
            queued(evalsha(pipeline, hash, bucket_keys(bucket), arguments).await, &self.shared)?;
            order.push(indices);
        }
        Ok(order)
    }

    pub(super) async fn load(&self) -> Result<(Vec<Arc<Record>>, Position), StoreError> {
        const OPERATION: &str = "loading all records";
        let live = self.shared.live()?;
        let limit = self.shared.config.timeout * LOAD_FACTOR;
        let mut position =
            Position { generation: live.generation, ids: Vec::with_capacity(BUCKETS), ..Position::default() };
        position.dataset = self.dataset(&live, OPERATION).await?;
        let mut records = Vec::new();
        for bucket in 0..BUCKETS {
            // Where the log stood first, the records after: nothing falls between.
            let newest = live.client.xrevrange::<Value, _, _, _>(keys::log(bucket), "+", "-", Some(1));
            let newest: Value = self.shared.within(&live, OPERATION, limit, newest).await?;
            position.ids.push(newest_id(newest).unwrap_or_else(|| "0-0".into()));
            let all = live.client.hvals::<Vec<Value>, _>(keys::records(bucket));
            let bodies = self.shared.within(&live, OPERATION, limit, all).await?;
            records.extend(bodies.iter().filter_map(readable));
        }
        Ok((records, position))
    }

    pub(super) async fn get(&self, id: &PublisherId) -> Result<Option<Arc<Record>>, StoreError> {
        const OPERATION: &str = "reading a record";
        let live = self.shared.live()?;
        let key = RecordKey::of(id.as_str());
        let read = live.client.hget::<Option<Value>, _, _>(keys::records(key.bucket()), key.to_string());
        let body = self.shared.within(&live, OPERATION, self.shared.config.timeout, read).await?;
        Ok(body.as_ref().and_then(readable))
    }

    pub(super) async fn follow(
        &self,
        reached: &mut Position,
        known: &(impl Known + Sync),
    ) -> Result<Followed, StoreError> {
        const OPERATION: &str = "following the change log";
        let live = self.shared.live()?;
        // Only what was read to its end counts as followed.
        let mut position = reached.clone();
        let dataset = self.dataset(&live, OPERATION).await?;
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
        let mut followed = Followed::default();
        // One bucket a time keeps the comparison cheap; all at once after a break.
        for _ in 0..position.compare_left.max(1) {
            let bucket = position.compare_next;
            position.compare_next = (bucket + 1) % BUCKETS;
            self.compare(&live, bucket, known, &mut changed, &mut followed).await?;
        }
        position.compare_left = 0;
        changed.retain(|key, revision| *revision > known.revision(key));
        followed.records = self.fetch(&live, changed.into_keys().collect()).await?;
        *reached = position;
        Ok(followed)
    }

    /// The keys that the log names since `position`, each with its newest revision.
    async fn changes(
        &self,
        live: &Live,
        position: &mut Position,
    ) -> Result<HashMap<String, u64>, StoreError> {
        const OPERATION: &str = "following the change log";
        let mut changed = HashMap::new();
        let logs: Vec<String> = (0..BUCKETS).map(keys::log).collect();
        // In a cluster, only streams of one bucket stand on one node for certain.
        let together = if self.shared.config.topology.is_cluster() { 1 } else { BUCKETS };
        for first in (0..BUCKETS).step_by(together) {
            let range = first..first + together;
            let (names, ids) = (logs[range.clone()].to_vec(), position.ids[range].to_vec());
            let read = live.client.xread::<Value, _, _>(Some(1000), None, names, ids);
            let answer = self.shared.within(live, OPERATION, self.shared.config.timeout, read).await?;
            for (name, entries) in streams_of(answer) {
                let Some(bucket) = logs.iter().position(|log| *log == name) else { continue };
                for (id, change) in entries {
                    if let Some((key, revision)) = change {
                        let newest = changed.entry(key).or_insert(0);
                        *newest = revision.max(*newest);
                    }
                    position.ids[bucket] = id;
                }
            }
        }
        Ok(changed)
    }

    /// Compares the revisions of one bucket with what is known.
    async fn compare(
        &self,
        live: &Live,
        bucket: usize,
        known: &(impl Known + Sync),
        changed: &mut HashMap<String, u64>,
        followed: &mut Followed,
    ) -> Result<(), StoreError> {
        const OPERATION: &str = "comparing a bucket";
        let held = known.bucket(bucket);
        let all = live.client.hgetall::<Value, _>(keys::revisions(bucket));
        let stored = self.shared.within(live, OPERATION, self.shared.config.timeout, all).await?;
        let stored: HashMap<String, u64> = pairs(stored).map(|(key, held)| (key, revision(&held))).collect();
        for (key, id, revision) in held {
            if stored.get(&key).is_none_or(|stored| *stored < revision) {
                followed.missing.push(id);
            }
        }
        changed.extend(stored);
        Ok(())
    }

    async fn fetch(&self, live: &Live, changed: Vec<String>) -> Result<Vec<Arc<Record>>, StoreError> {
        const OPERATION: &str = "reading changed records";
        let mut buckets: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for key in changed {
            buckets.entry(bucket_of(&key)).or_default().push(key);
        }
        let mut records = Vec::new();
        for (bucket, fields) in buckets {
            let read = live.client.hmget::<Vec<Option<Value>>, _, _>(keys::records(bucket), fields);
            let bodies = self.shared.within(live, OPERATION, self.shared.config.timeout, read).await?;
            records.extend(bodies.iter().flatten().filter_map(readable));
        }
        Ok(records)
    }

    /// The name of the data set, given by whoever comes first.
    async fn dataset(&self, live: &Live, operation: &'static str) -> Result<String, StoreError> {
        let limit = self.shared.config.timeout;
        let read = live.client.get::<Option<String>, _>(DATASET);
        if let Some(name) = self.shared.within(live, operation, limit, read).await? {
            return Ok(name);
        }
        let name = format!("{:016x}", rand::random::<u64>());
        let named = live.client.set::<(), _, _>(DATASET, name, None, Some(SetOptions::NX), false);
        self.shared.within(live, operation, limit, named).await?;
        let read = live.client.get::<Option<String>, _>(DATASET);
        Ok(self.shared.within(live, operation, limit, read).await?.unwrap_or_default())
    }

    pub(super) async fn meet(&self, own: &Presence) -> Result<Vec<Presence>, StoreError> {
        const OPERATION: &str = "meeting the other replicas";
        let live = self.shared.live()?;
        let limit = self.shared.config.timeout;
        let said = super::presence::encode(own);
        let told = live.client.hset::<(), _, _>(REPLICAS, (own.replica.as_str(), said));
        self.shared.within(&live, OPERATION, limit, told).await?;
        let read = live.client.hgetall::<Value, _>(REPLICAS);
        let all = self.shared.within(&live, OPERATION, limit, read).await?;
        let (mut others, mut gone) = (Vec::new(), Vec::new());
        for (replica, said) in pairs(all) {
            match super::presence::decode(&replica, &said) {
                Some(presence) if own.at.ms_since(presence.at) < REPLICA_KEPT_MS => {
                    if presence.replica != own.replica {
                        others.push(presence);
                    }
                }
                _ => gone.push(replica),
            }
        }
        if !gone.is_empty() {
            let removed = live.client.hdel::<(), _, _>(REPLICAS, gone);
            self.shared.within(&live, OPERATION, limit, removed).await?;
        }
        Ok(others)
    }

    pub(super) async fn bury(&self, records: &[Arc<Record>]) -> Result<(), StoreError> {
        const OPERATION: &str = "removing tombstones";
        let live = self.shared.live()?;
        for record in records {
            let key = RecordKey::of(record.id.as_str());
            let bucket = key.bucket();
            let arguments = vec![key.to_string(), record.revision.to_string()];
            let buried = self.shared.scripts.bury.evalsha_with_reload::<(), _, _>(
                &live.client,
                bucket_keys(bucket),
                arguments,
            );
            self.shared.within(&live, OPERATION, self.shared.config.timeout, buried).await?;
        }
        Ok(())
    }

    /// Sends a pipeline and waits for all answers. Any error fails all of it: whatever was done
    /// all the same is recognised when it is sent again.
    async fn run(
        &self,
        live: &Live,
        operation: &'static str,
        pipeline: Pipeline<Client>,
    ) -> Result<Vec<Value>, StoreError> {
        let shared = &self.shared;
        let answers = timeout(shared.config.timeout, pipeline.try_all::<Value>()).await;
        let Ok(answers) = answers else {
            shared.end(live, "timeout");
            return Err(StoreError::Deadline { target: shared.target(), operation });
        };
        let mut values = Vec::with_capacity(answers.len());
        for answer in answers {
            match answer {
                Ok(value) => values.push(value),
                Err(error) => {
                    if error.details().starts_with("NOSCRIPT")
                        && let Err(denied) = shared.load_scripts(&live.client).await
                    {
                        return Err(denied);
                    }
                    return Err(shared.failed(live, operation, error));
                }
            }
        }
        Ok(values)
    }
}

impl RedisTask {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let shared = &self.shared;
        let mut backoff = Backoff::new(shared.config.reconnect_max);
        let mut generation = 0;
        while !stop.is_cancelled() {
            let connected = tokio::select! {
                connected = shared.connect() => connected,
                () = stop.cancelled() => return,
            };
            match connected {
                Ok((client, task)) => {
                    generation += 1;
                    let began = Instant::now();
                    self.serve(&client, generation, &stop).await;
                    task.abort();
                    // One that is refused as soon as it is used is no success: a replica that may
                    // not write, say.
                    if began.elapsed() > LASTING {
                        backoff.reset();
                    }
                }
                Err(error) => {
                    shared.set_away(error.reason());
                    warn!(error = %Chain(&error), "No connection to Redis; trying again");
                }
            }
            let denied = shared.denied.swap(false, Ordering::Relaxed);
            tokio::select! {
                () = sleep(backoff.next_wait_after(denied)) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Offers one connection to the others until it is no longer any good, or until `stop`.
    async fn serve(&self, client: &Client, generation: u64, stop: &CancellationToken) {
        let shared = &self.shared;
        // The clock first: whoever uses the connection goes by it.
        if let Err(error) = self.ask_time(client).await {
            shared.set_away(error.reason());
            warn!(error = %Chain(&error), "Redis accepts connections and cannot be used; trying again");
            return;
        }
        info!(target_address = shared.target(), "Connected to Redis");
        shared.set_live(Some(Live { client: client.clone(), generation }));
        self.link.send_modify(|link| {
            link.connected = true;
            link.reconnects = generation - 1;
        });
        let ended = self.watch(client, generation, stop).await;
        shared.set_live(None);
        self.link.send_modify(|link| link.connected = false);
        if ended.is_err() {
            warn!(target_address = shared.target(), "Connection to Redis lost; reconnecting");
        } else {
            let _ = timeout(Duration::from_secs(1), client.quit()).await;
        }
    }

    /// Asks once a second, which also keeps the clock; ends with an error when the connection is
    /// no longer any good.
    async fn watch(&self, client: &Client, generation: u64, stop: &CancellationToken) -> Result<(), ()> {
        loop {
            tokio::select! {
                // What was said of an earlier connection does not end this one.
                () = self.shared.broken.notified() => if !self.shared.is_live(generation) { return Err(()) },
                () = sleep(WATCHDOG) => {
                    let asked = self.ask_time(client).await;
                    asked.map_err(|error| self.shared.set_away(error.reason()))?;
                }
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    async fn ask_time(&self, client: &Client) -> Result<(), StoreError> {
        const OPERATION: &str = "asking for the time";
        let asked = clock::boot();
        let time = client.custom::<Value, Value>(fred::cmd!("TIME"), vec![]);
        let answer = timeout(self.shared.config.timeout, time).await;
        let answer = answer
            .map_err(|_| StoreError::Deadline { target: self.shared.target(), operation: OPERATION })?
            .map_err(|source| self.shared.refused(OPERATION, source))?;
        if let Some(time) = time_of(&answer) {
            self.shared.clock.sample(time, asked, clock::boot());
        }
        Ok(())
    }
}

impl Shared {
    fn target(&self) -> String {
        self.config.topology.target()
    }

    fn live(&self) -> Result<Live, StoreError> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        let away = || *self.away.read().unwrap_or_else(PoisonError::into_inner);
        live.clone().ok_or_else(|| StoreError::Disconnected { target: self.target(), reason: away() })
    }

    fn set_away(&self, reason: &'static str) {
        *self.away.write().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    fn set_live(&self, live: Option<Live>) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = live;
    }

    fn is_live(&self, generation: u64) -> bool {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.as_ref().is_some_and(|live| live.generation == generation)
    }

    /// The connection of this generation is no longer any good.
    fn end(&self, live: &Live, reason: &'static str) {
        let mut slot = self.live.write().unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_some_and(|current| current.generation == live.generation) {
            *slot = None;
            self.set_away(reason);
            self.broken.notify_one();
        }
    }

    async fn connect(&self) -> Result<(Client, ConnectHandle), StoreError> {
        let config = &self.config;
        let name = config.tls.as_ref().and_then(PeerTls::server_name).map(|name| name.to_str());
        let tls = config.tls.as_ref().map(|tls| TlsConfig {
            connector: TlsConnector::from(rustls::ClientConfig::clone(&tls.client_config())),
            hostnames: match &name {
                None => TlsHostMapping::None,
                Some(name) => TlsHostMapping::Custom(Arc::new(OneName(name.as_ref().into()))),
            },
        });
        let (server, database) = config.topology.server(name.as_deref());
        let fred_config = fred::types::config::Config {
            server,
            username: config.username.clone(),
            password: config.password.as_ref().map(|secret| secret.read().expose().to_owned()),
            database: (database != 0).then_some(database),
            tls,
            fail_fast: true,
            ..fred::types::config::Config::default()
        };
        let failed = |source: Error| {
            self.denied.fetch_or(is_denial(&source), Ordering::Relaxed);
            StoreError::Connect { target: self.target(), source }
        };
        let client = Builder::from_config(fred_config)
            .with_connection_config(|connection| {
                connection.connection_timeout = config.timeout;
                connection.internal_command_timeout = config.timeout;
                // In a cluster a command may be sent to where its slot was, and again to where it is.
                connection.max_command_attempts = if config.topology.is_cluster() { 3 } else { 1 };
                connection.tcp.nodelay = Some(true);
            })
            .with_performance_config(|performance| performance.default_command_timeout = config.timeout)
            .build()
            .map_err(failed)?;
        let connecting = timeout(config.timeout * 2, client.init()).await;
        let handle = match connecting {
            Ok(Ok(handle)) => handle,
            Ok(Err(source)) => return Err(failed(source)),
            Err(_) => {
                return Err(StoreError::Deadline { target: self.target(), operation: "connecting" });
            }
        };
        // Whoever may not load them may still use them, where somebody else did.
        let _ = self.load_scripts(&client).await;
        Ok((client, handle))
    }

    /// A failure shows at the first use of a script, which loads it again; an error is that this is not allowed.
    async fn load_scripts(&self, client: &Client) -> Result<(), StoreError> {
        let Scripts { compare_and_set, newer_only, bury } = &self.scripts;
        let mut denied = Ok(());
        for script in [compare_and_set, newer_only, bury] {
            let Some(lua) = script.lua() else { continue };
            let loaded = if self.config.topology.is_cluster() {
                let everywhere = client.script_load_cluster::<(), _>(lua.clone());
                timeout(self.config.timeout, everywhere).await
            } else {
                timeout(self.config.timeout, client.script_load::<(), _>(lua.clone())).await
            };
            if let Ok(Err(source)) = loaded
                && is_denial(&source)
            {
                denied = Err(self.refused("loading its scripts", source));
            }
        }
        denied
    }

    async fn within<T>(
        &self,
        live: &Live,
        operation: &'static str,
        limit: Duration,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, StoreError> {
        match timeout(limit, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.failed(live, operation, error)),
            Err(_) => {
                self.end(live, "timeout");
                Err(StoreError::Deadline { target: self.target(), operation })
            }
        }
    }

    /// Judges an error: a connection that is gone, or that leads to a replica that may not write,
    /// is ended.
    fn failed(&self, live: &Live, operation: &'static str, source: Error) -> StoreError {
        if !self.is_live(live.generation) {
            // It failed because the connection was ended here, and counts by why that was done.
            let reason = *self.away.read().unwrap_or_else(PoisonError::into_inner);
            return StoreError::Disconnected { target: self.target(), reason };
        }
        let gone = matches!(
            source.kind(),
            ErrorKind::IO | ErrorKind::Timeout | ErrorKind::Canceled | ErrorKind::Protocol | ErrorKind::Auth
        );
        if gone || source.details().starts_with("READONLY") {
            self.end(live, reason(&source));
        }
        self.refused(operation, source)
    }

    /// What Redis said no to.
    fn refused(&self, operation: &'static str, source: Error) -> StoreError {
        let target = self.target();
        if !is_denial(&source) {
            return StoreError::Command { target, operation, source };
        }
        self.denied.store(true, Ordering::Relaxed);
        StoreError::Denied { target, operation, source }
    }

    fn malformed(&self, operation: &'static str) -> StoreError {
        StoreError::Answer { target: self.target(), operation }
    }
}

/// Whether Redis said no to who this is, or to what it may do, for which the library has no kind.
fn is_denial(error: &Error) -> bool {
    reason(error) == "denied"
}

/// How Redis refuses what a script does: version 7.0, and later ones.
const DENIED_IN_SCRIPT: [&str; 2] = ["ERR The user executing the script can't", "ERR ACL failure in script"];

/// What an error of the library, or an answer of Redis, is counted by. Redis begins each of its own
/// with a word in capitals.
pub(super) fn reason(error: &Error) -> &'static str {
    let word = error.details().split_whitespace().next().unwrap_or_default();
    match word {
        "NOPERM" | "NOAUTH" | "WRONGPASS" => "denied",
        "READONLY" => "read_only",
        "OOM" => "out_of_memory",
        "MISCONF" => "not_persisting",
        "NOREPLICAS" => "too_few_replicas",
        "LOADING" | "MASTERDOWN" => "loading",
        "BUSY" => "busy",
        "NOSCRIPT" => "no_script",
        "MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN" | "CROSSSLOT" => "cluster",
        _ if DENIED_IN_SCRIPT.iter().any(|words| error.details().starts_with(words)) => "denied",
        // The library's own words for a cluster that serves no slots, which it calls a protocol error.
        _ if error.details().ends_with("missing cluster state.") => "cluster",
        _ => match error.kind() {
            ErrorKind::IO | ErrorKind::Canceled => "closed",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Auth => "denied",
            ErrorKind::Tls => "tls",
            ErrorKind::Cluster => "cluster",
            ErrorKind::Protocol | ErrorKind::Parse => "malformed",
            _ => "other",
        },
    }
}

fn queued(result: Result<(), Error>, shared: &Shared) -> Result<(), StoreError> {
    result.map_err(|source| StoreError::Command {
        target: shared.target(),
        operation: "preparing a batch",
        source,
    })
}

/// Queues a script call; fred's pipelines have no method for it.
async fn evalsha(
    pipeline: &Pipeline<Client>,
    hash: &str,
    keys: Vec<String>,
    arguments: impl IntoIterator<Item = Value>,
) -> Result<(), Error> {
    let count = keys.len().to_string();
    let before = [hash.to_owned(), count].into_iter().chain(keys).map(Value::from);
    let all: Vec<Value> = before.chain(arguments).collect();
    // The third argument is the first key, by which a cluster finds the node.
    let command = CustomCommand::new("EVALSHA", ClusterHash::Offset(2), false);
    pipeline.custom::<(), Value>(command, all).await
}

fn bucket_keys(bucket: usize) -> Vec<String> {
    vec![keys::records(bucket), keys::revisions(bucket), keys::log(bucket)]
}

fn readable(body: &Value) -> Option<Arc<Record>> {
    let record = body.as_str().and_then(|text| decode_record(&text));
    if record.is_none() {
        let bytes = body.as_bytes().map(<[u8]>::len);
        warn!(bytes, "A record in Redis cannot be read; the next heartbeat replaces it");
    }
    record.map(Arc::new)
}

/// An own write whose answer was lost is known again by its text.
fn read_written(write: &Write, revision: &str, body: &Value) -> Written {
    if revision.is_empty() || body.as_bytes() == Some(&*write.body) {
        return Written::Stored;
    }
    Written::Conflict { revision: self::revision(revision), record: readable(body) }
}

/// A value as text. What is no text was not written by us, and is nothing that is looked for.
fn text(value: &Value) -> Cow<'_, str> {
    value.as_str_lossy().unwrap_or_default()
}

/// Names and values that follow each other, as the protocol has a hash.
fn pairs(values: Value) -> impl Iterator<Item = (String, String)> {
    let mut values = values.into_array().into_iter();
    std::iter::from_fn(move || {
        let (name, value) = (values.next()?, values.next()?);
        Some((text(&name).into_owned(), text(&value).into_owned()))
    })
}

/// A revision; 0, as for none, where there is something else, as the script has it too.
fn revision(text: &str) -> u64 {
    let digits = text.len() <= 16 && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).unwrap_or(0)
}

fn time_of(value: &Value) -> Option<Timestamp> {
    let parts: Vec<i64> = value.clone().convert().ok()?;
    let [seconds, micros] = parts[..] else { return None };
    Some(Timestamp::from_unix_ms(seconds.checked_mul(1000)?.checked_add(micros / 1000)?))
}

fn newest_id(entries: Value) -> Option<String> {
    let entry = entries.into_array().into_iter().next()?;
    entry.into_array().into_iter().next()?.into_string()
}

/// The id of one log entry, with publisher key and revision, where somebody else did not write it.
type LogEntry = (String, Option<(String, u64)>);

/// The answer of XREAD: by stream, its entries. What has another form is skipped.
fn streams_of(answer: Value) -> Vec<(String, Vec<LogEntry>)> {
    let mut streams = Vec::new();
    for stream in answer.into_array() {
        let mut parts = stream.into_array().into_iter();
        let (Some(name), Some(entries)) = (parts.next().and_then(Value::into_string), parts.next()) else {
            continue;
        };
        streams.push((name, entries.into_array().into_iter().filter_map(log_entry).collect()));
    }
    streams
}

fn log_entry(entry: Value) -> Option<LogEntry> {
    let mut parts = entry.into_array().into_iter();
    let id = parts.next()?.into_string()?;
    let (mut key, mut held) = (None, None);
    for (name, value) in pairs(parts.next()?) {
        match &*name {
            "k" => key = Some(value),
            "r" => held = Some(revision(&value)),
            _ => {}
        }
    }
    Some((id, key.zip(held)))
}
