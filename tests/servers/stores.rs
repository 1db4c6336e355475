//! One contract for both stores: the same cases on the memory store and on a real Redis.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use heartbeat_bridge::clock::StoreClock;
use heartbeat_bridge::heartbeat::{PublisherId, Timestamp};
use heartbeat_bridge::state::Record;
use heartbeat_bridge::state::hearing::Spans;
use heartbeat_bridge::store::{
    Batch, Known, MemoryStore, Position, Presence, RecordKey, RedisConfig, RedisStore, Store, Topology,
    Write, Written, bucket_of,
};
use tokio_util::sync::CancellationToken;

use crate::support::bridge::{SOON, contract_keys};
use crate::support::redis::Redis;
use crate::support::redis_cluster::RedisCluster;
use crate::support::wait::wait_until;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(1_795_000_000_000 + ms)
}

fn record(id: &str, revision: u64, told: i64) -> Arc<Record> {
    let id = PublisherId::new(id).unwrap();
    Arc::new(Record { revision, last_seen: Some(at(told)), ..Record::new(id, at(0)) })
}

fn put(record: &Arc<Record>, expected: u64) -> Batch {
    Batch { writes: vec![Write::new(Arc::clone(record), expected)], ..Batch::default() }
}

async fn written(store: &Store, batch: &Batch) -> Written {
    let mut written = store.put(batch).await.unwrap();
    assert_eq!(written.len(), 1);
    written.remove(0)
}

async fn stored(store: &Store, batch: &Batch) {
    let answer = written(store, batch).await;
    assert!(matches!(answer, Written::Stored), "{answer:?}");
}

/// The revision and the record that stand in the way.
async fn conflict(store: &Store, batch: &Batch) -> (u64, Option<Arc<Record>>) {
    match written(store, batch).await {
        Written::Conflict { revision, record } => (revision, record),
        Written::Stored => panic!("{batch:?} was stored"),
    }
}

fn redis_store(redis: &Redis) -> (Store, CancellationToken) {
    store_at(Topology::Single { node: node(redis), database: 0 })
}

fn node(redis: &Redis) -> (String, u16) {
    ("127.0.0.1".into(), redis.port)
}

fn store_at(topology: Topology) -> (Store, CancellationToken) {
    store_within(topology, Duration::from_secs(10))
}

fn store_within(topology: Topology, timeout: Duration) -> (Store, CancellationToken) {
    let config = RedisConfig {
        topology,
        username: None,
        password: None,
        tls: None,
        timeout,
        reconnect_max: Duration::from_millis(100),
    };
    let (store, task) = RedisStore::new(config, Arc::new(StoreClock::default()));
    let stop = CancellationToken::new();
    tokio::spawn(task.run(stop.clone()));
    (Store::Redis(store), stop)
}

async fn connected(store: &Store) {
    let mut link = store.link();
    tokio::time::timeout(SOON, link.wait_for(|link| link.connected)).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_memory_store_keeps_the_contract() {
    let memory = MemoryStore::default();
    let keys = || {
        let keys = memory.contract_keys().into_iter();
        std::future::ready(keys.map(|(key, at)| (key, at.to_legacy())).collect())
    };
    every_store(&Store::Memory(memory.clone()), keys).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_keeps_the_contract() {
    let redis = Redis::start().await;
    let (store, _stop) = redis_store(&redis);
    connected(&store).await;
    every_store(&store, async || contract_keys(&redis).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_cluster_keeps_the_contract() {
    let nodes = RedisCluster::apart().await.nodes;
    let (store, _stop) = store_at(Topology::Cluster { nodes: vec![node(&nodes[1])] });
    connected(&store).await;
    let keys = async || {
        let mut all = BTreeMap::new();
        for node in &nodes {
            let here = contract_keys(node).await;
            assert!(here.len() < 1301, "all keys stand on one node");
            all.extend(here);
        }
        all
    };
    every_store(&store, keys).await;
    let rejected = Batch { rejected: vec!["refused".into()], ..Batch::default() };
    store.put(&rejected).await.unwrap();
    every_replica(&store, &store_at(Topology::Cluster { nodes: vec![node(&nodes[0])] }).0).await;
    // Each command went to the node that has its key.
    for node in &nodes {
        let errors = node.command(&["INFO", "errorstats"]).await.string().unwrap();
        assert!(!errors.contains("MOVED"), "{errors}");
    }
}

/// The primary that the Sentinel names is used, and after a failover the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_behind_sentinels_keeps_the_contract() {
    let primary = Redis::start().await;
    let replica = Redis::replica_of(&primary).await;
    let sentinel = Redis::sentinel_of(&primary).await;
    let sentinels =
        || Topology::Sentinel { nodes: vec![node(&sentinel)], service: "mymaster".into(), database: 0 };
    let (store, _stop) = store_at(sentinels());
    connected(&store).await;
    every_store(&store, async || contract_keys(&primary).await).await;
    primary.kill();
    let after = record("after", 1, 1);
    wait_until("the next primary stores", SOON, async || match store.put(&put(&after, 0)).await {
        Ok(written) if matches!(written[..], [Written::Stored]) => Ok(()),
        other => {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Err(format!("{other:?}"))
        }
    })
    .await;
    assert_eq!(replica.command(&["EXISTS", "service:db:ok"]).await.integer(), 1);
    assert_eq!(store.get(&after.id).await.unwrap(), Some(after));
    every_replica(&store, &store_at(sentinels()).0).await;
}

/// What one stores the other hears of, and both meet.
async fn every_replica(one: &Store, other: &Store) {
    connected(other).await;
    let (_, mut position) = other.load().await.unwrap();
    let told = record("told", 1, 1);
    stored(one, &put(&told, 0)).await;
    let held = Held::of(&[]);
    let (newer, _) = follow(other, &mut position, &held).await;
    assert!(newer.contains(&"told".to_owned()), "{newer:?}");
    let presence = |replica: &str| Presence {
        replica: replica.into(),
        at: at(0),
        heard: Spans::default(),
        broker: "broker:1".into(),
        queues: vec!["//queue".into()],
        consumers: 2,
        consuming: true,
        confirmed: Some(at(0)),
        active: 1,
        left: false,
    };
    one.meet(&presence("one")).await.unwrap();
    assert_eq!(other.meet(&presence("other")).await.unwrap(), [presence("one")]);
}

/// What holds for all.
async fn every_store(store: &Store, keys: impl AsyncFn() -> BTreeMap<String, String>) {
    // Compare and set.
    let first = record("oslo", 1, 10);
    stored(store, &put(&first, 0)).await;
    // An own write whose answer was lost is known again.
    stored(store, &put(&first, 0)).await;
    let second = record("oslo", 2, 20);
    stored(store, &put(&second, 1)).await;
    assert_eq!(conflict(store, &put(&record("oslo", 2, 99), 1)).await, (2, Some(Arc::clone(&second))));
    assert_eq!(conflict(store, &put(&record("oslo", 1, 99), 0)).await, (2, Some(Arc::clone(&second))));
    assert_eq!(conflict(store, &put(&first, 0)).await.0, 2, "an old own write is not the newest");
    assert_eq!(conflict(store, &put(&record("nobody", 8, 1), 7)).await, (0, None));
    assert_eq!(store.get(&second.id).await.unwrap().as_ref(), Some(&second));
    assert_eq!(store.get(&PublisherId::new("nobody").unwrap()).await.unwrap(), None);

    // Each write of a batch stands or falls by itself, in its own place.
    let writes = [("a", 1, 0), ("oslo", 9, 8), ("b", 1, 0), ("oslo-2", 3, 2), ("c", 1, 0)];
    let writes = writes.map(|(id, revision, expected)| Write::new(record(id, revision, 1), expected));
    let answers = store.put(&Batch { writes: writes.to_vec(), ..Batch::default() }).await.unwrap();
    let kept: Vec<bool> = answers.iter().map(|answer| matches!(answer, Written::Stored)).collect();
    assert_eq!(kept, [true, false, true, false, true]);
    let mut loaded: Vec<String> =
        store.load().await.unwrap().0.iter().map(|record| record.id.to_string()).collect();
    loaded.sort();
    assert_eq!(loaded, ["a", "b", "c", "oslo"]);

    // The contract's keys only ever become newer.
    for (told, expected) in [(5_000, 5_000), (9_000, 9_000), (7_000, 9_000), (9_000, 9_000)] {
        let contract = HashMap::from([("service:db:ok".to_owned(), at(told))]);
        assert!(store.put(&Batch { contract, ..Batch::default() }).await.unwrap().is_empty());
        assert_eq!(keys().await["service:db:ok"], at(expected).to_legacy(), "after {told}");
    }
    let many = (0..1300).map(|number| (format!("queue:q{number}:not_ok"), at(number))).collect();
    store.put(&Batch { contract: many, ..Batch::default() }).await.unwrap();
    assert_eq!(keys().await.len(), 1301);

    // Tombstones are removed only in the form in which they were found.
    store.bury(&[first]).await.unwrap();
    assert!(store.get(&second.id).await.unwrap().is_some());
    store.bury(&[Arc::clone(&second)]).await.unwrap();
    assert_eq!(store.get(&second.id).await.unwrap(), None);
    stored(store, &put(&record("oslo", 1, 30), 0)).await;
}

/// What one replica has.
struct Held(HashMap<String, (PublisherId, u64)>);

impl Held {
    fn of(records: &[Arc<Record>]) -> Self {
        let entry = |record: &Arc<Record>| {
            (RecordKey::of(record.id.as_str()).to_string(), (record.id.clone(), record.revision))
        };
        Self(records.iter().map(entry).collect())
    }
}

impl Known for Held {
    fn revision(&self, key: &str) -> u64 {
        self.0.get(key).map_or(0, |(_, revision)| *revision)
    }

    fn bucket(&self, bucket: usize) -> Vec<(String, PublisherId, u64)> {
        let held = self.0.iter().filter(|(key, _)| bucket_of(key) == bucket);
        held.map(|(key, (id, revision))| (key.clone(), id.clone(), *revision)).collect()
    }
}

/// Follows until every bucket was compared in full; names what was found newer, and what is missing.
async fn follow(store: &Store, position: &mut Position, held: &Held) -> (Vec<String>, Vec<String>) {
    let (mut newer, mut missing) = (Vec::new(), Vec::new());
    for _ in 0..65 {
        let followed = store.follow(position, held).await.unwrap();
        newer.extend(followed.records.iter().map(|record| record.id.to_string()));
        missing.extend(followed.missing.iter().map(PublisherId::to_string));
    }
    for found in [&mut newer, &mut missing] {
        found.sort();
        found.dedup();
    }
    (newer, missing)
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_tells_what_others_stored_and_what_it_lost() {
    let redis = Redis::start().await;
    let ((ours, _stop), (theirs, _stop_theirs)) = (redis_store(&redis), redis_store(&redis));
    connected(&ours).await;
    connected(&theirs).await;
    let records: Vec<_> = ["a", "b", "c"].map(|id| record(id, 1, 1)).to_vec();
    for record in &records {
        stored(&theirs, &put(record, 0)).await;
    }
    let (loaded, mut position) = ours.load().await.unwrap();
    assert_eq!(loaded.len(), 3);
    let held = Held::of(&loaded);
    assert_eq!(follow(&ours, &mut position, &held).await, (vec![], vec![]));

    // By the change log, at once.
    stored(&theirs, &put(&record("b", 2, 2), 1)).await;
    stored(&theirs, &put(&record("d", 1, 1), 0)).await;
    let followed = ours.follow(&mut position, &held).await.unwrap();
    let mut newer: Vec<_> = followed.records.iter().map(|record| record.id.to_string()).collect();
    newer.sort();
    assert_eq!(newer, ["b", "d"]);

    // Without the log, by comparison; and what is missing, or older, is told.
    for bucket in 0..64 {
        redis.command(&["DEL", &format!("heartbeat:{{b{bucket:02}}}:log")]).await;
    }
    let ahead = Held::of(&[record("a", 9, 9), record("gone", 1, 1), record("c", 1, 1)]);
    let (newer, missing) = follow(&ours, &mut position, &ahead).await;
    assert_eq!((newer, missing), (vec!["b".into(), "d".into()], vec!["a".into(), "gone".into()]));

    // Emptied: all is missing, and a first write takes the place.
    redis.flush().await;
    let followed = ours.follow(&mut position, &ahead).await.unwrap();
    let mut missing: Vec<_> = followed.missing.iter().map(PublisherId::to_string).collect();
    missing.sort();
    assert_eq!(missing, ["a", "c", "gone"]);
    stored(&ours, &put(&record("a", 10, 9), 0)).await;

    // A revision without a record, or a record that is none, is in nobody's way.
    let key = RecordKey::of("a").to_string();
    let bucket = bucket_of(&key);
    redis.command(&["HDEL", &format!("heartbeat:{{b{bucket:02}}}:records"), &key]).await;
    stored(&ours, &put(&record("a", 1, 1), 0)).await;
    redis.command(&["HSET", &format!("heartbeat:{{b{bucket:02}}}:records"), &key, "nonsense"]).await;
    assert_eq!(conflict(&ours, &put(&record("a", 5, 1), 0)).await, (1, None));
    stored(&ours, &put(&record("a", 2, 1), 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_takes_a_contract_key_of_another_kind_for_none() {
    let redis = Redis::start().await;
    let (store, _stop) = redis_store(&redis);
    connected(&store).await;
    redis.command(&["LPUSH", "service:list:ok", "x"]).await;
    redis.command(&["SET", "service:text:ok", "once upon a time"]).await;
    redis.command(&["SET", "service:later:ok", "2999-01-01 00:00:00 UTC"]).await;
    let keys = ["list", "text", "later"].map(|name| (format!("service:{name}:ok"), at(0)));
    store.put(&Batch { contract: HashMap::from(keys), ..Batch::default() }).await.unwrap();
    assert_eq!(redis.get("service:list:ok").await, Some(at(0).to_legacy()));
    assert_eq!(redis.get("service:text:ok").await, Some(at(0).to_legacy()));
    assert_eq!(redis.get("service:later:ok").await, Some("2999-01-01 00:00:00 UTC".into()));

    // Its scripts flushed, it is taught them again.
    redis.command(&["SCRIPT", "FLUSH"]).await;
    let batch = put(&record("oslo", 1, 1), 0);
    if store.put(&batch).await.is_err() {
        stored(&store, &batch).await;
    }
}

/// What was held during an outage comes all at once, and takes longer than the deadline of one answer.
#[tokio::test(flavor = "multi_thread")]
async fn much_at_once_goes_to_a_cluster_bit_by_bit() {
    const KEYS: i64 = 5_000;
    let nodes = RedisCluster::apart().await.nodes;
    let topology = || Topology::Cluster { nodes: vec![node(&nodes[0])] };
    let batch = |hour: i64| {
        let keys = (0..KEYS).map(|number| (format!("service:{number}:ok"), at(hour * 3_600_000)));
        Batch { contract: keys.collect(), ..Batch::default() }
    };
    let takes = async |store: &Store, hour: i64| {
        connected(store).await;
        let began = Instant::now();
        store.put(&batch(hour)).await.map(|_| began.elapsed())
    };
    // By how fast this machine is now, which may change any time.
    wait_until("all is stored, in much longer than one answer may take", SOON, async || {
        let (slow, _stop) = store_within(topology(), SOON);
        let deadline = takes(&slow, 0).await.unwrap() / 4;
        let (store, _stop) = store_within(topology(), deadline);
        match takes(&store, 1).await {
            Ok(took) if took > deadline => Ok(()),
            other => Err(format!("{other:?}, and one answer may take {deadline:?}")),
        }
    })
    .await;
    let mut stored = BTreeMap::new();
    for node in &nodes {
        stored.extend(contract_keys(node).await);
    }
    let now = at(3_600_000).to_legacy();
    assert_eq!(stored.values().filter(|stored| **stored == now).count(), 5_000);
}
