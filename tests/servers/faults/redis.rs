//! What befalls Redis: each refusal is counted by its name, is no success, and loses nothing.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::bridge::{Bridge, SOON};
use crate::support::rabbitmq::RabbitMq;
use crate::support::redis::{Options, Redis};
use crate::support::redis_cluster::RedisCluster;
use crate::support::v2::Simulated;
use crate::support::wait::wait_until;

use super::stage::{BACK, Stage, within};

/// What makes Redis refuse, what ends it, and by what it is counted. A word after `EVAL` may hold spaces.
struct Refusal {
    fault: &'static str,
    reason: &'static str,
    begins: &'static [&'static [&'static str]],
    ends: &'static [&'static [&'static str]],
}

const REFUSALS: &[Refusal] = &[
    Refusal {
        fault: "34 out of memory",
        reason: "out_of_memory",
        begins: &[&["CONFIG", "SET", "maxmemory", "1"]],
        ends: &[&["CONFIG", "SET", "maxmemory", "0"]],
    },
    Refusal {
        fault: "34 no snapshot can be written",
        reason: "not_persisting",
        begins: &[&["CONFIG", "SET", "save", "3600 1"], &["BGSAVE"]],
        ends: &[&["CONFIG", "SET", "save", ""], &["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]],
    },
    Refusal {
        fault: "34 no permission",
        reason: "denied",
        begins: &[&["ACL", "SETUSER", "default", "-evalsha"]],
        ends: &[&["ACL", "SETUSER", "default", "+@all"]],
    },
    Refusal {
        fault: "36 a part of a batch is refused",
        reason: "denied",
        begins: &[&["ACL", "SETUSER", "default", "resetkeys", "~heartbeat:*"]],
        ends: &[&["ACL", "SETUSER", "default", "allkeys"]],
    },
    Refusal { fault: "34 scripts are gone", reason: "no_script", begins: &[&["SCRIPT", "FLUSH"]], ends: &[] },
    Refusal {
        fault: "34 too few replicas",
        reason: "too_few_replicas",
        begins: &[&["CONFIG", "SET", "min-replicas-to-write", "1"]],
        ends: &[&["CONFIG", "SET", "min-replicas-to-write", "0"]],
    },
    Refusal {
        fault: "33 a replica",
        reason: "read_only",
        begins: &[&["REPLICAOF", "127.0.0.1", "1"]],
        ends: &[&["REPLICAOF", "NO", "ONE"]],
    },
    Refusal {
        fault: "35 slow",
        reason: "timeout",
        begins: &[&["CLIENT", "PAUSE", "3000", "WRITE"]],
        ends: &[],
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_has_its_name_and_loses_nothing() {
    // A folder where no snapshot can be written.
    let config = vec!["dir /proc".into(), "busy-reply-threshold 100".into()];
    let options = Options { config, ..Options::default() };
    let bridge = Bridge::with(RabbitMq::vhost().await, options).await;
    let setup = bridge.subscriber().env("REDIS_TIMEOUT", "1s");
    let stage = Stage::with(bridge, setup).await;
    for Refusal { fault, reason, begins, ends } in REFUSALS {
        let (before, _) = stage.failures("store", reason).await.unwrap();
        for command in *begins {
            stage.bridge.redis.command(command).await;
        }
        stage.failed("store", reason, before).await;
        for command in *ends {
            stage.bridge.redis.command(command).await;
        }
        stage.back(fault, Instant::now(), BACK).await;
    }
    busy(&stage).await;
    stage.end_without_duplicates().await;
}

/// A script that does not end: Redis answers everybody else that it is busy.
async fn busy(stage: &Stage) {
    let (before, _) = stage.failures("store", "busy").await.unwrap();
    let mut client = stage.bridge.redis.client().await.unwrap();
    let script = tokio::spawn(async move { client.command(&["EVAL", "while true do end", "0"]).await });
    stage.failed("store", "busy", before).await;
    stage.bridge.redis.command(&["SCRIPT", "KILL"]).await;
    let ended = Instant::now();
    script.await.unwrap().unwrap();
    stage.back("34 busy with a script", ended, BACK).await;
}

/// Killed with nothing on its disk: what it held is written anew from the view.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_redis_that_kept_nothing_is_filled_again() {
    let stage = Stage::set(Bridge::new().await).await;
    for _ in 0..2 {
        stage.bridge.redis.kill();
        stage.failed("store", "unreachable", 0.0).await;
        stage.bridge.redis.start_again().await;
        let ended = Instant::now();
        wait_until("all records are there again", SOON, async || {
            let records = stage.bridge.records().await.len();
            if records == 5 { Ok(()) } else { Err(format!("{records} records")) }
        })
        .await;
        within("30 killed, nothing kept", "all records", ended.elapsed(), BACK);
        stage.back("30 killed, nothing kept", ended, BACK).await;
    }
    stage.end_without_duplicates().await;
}

/// Killed with its log on disk, and slow to read it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_reads_its_data_is_waited_for() {
    // It answers while it loads once in 1024 commands, and each takes so many microseconds.
    let config = vec!["key-load-delay 400".into(), "aof-use-rdb-preamble no".into()];
    let options = Options { append_only: true, config, ..Options::default() };
    let stage = Stage::set(Bridge::with(RabbitMq::vhost().await, options).await).await;
    let much = "for i = 1, 8000 do redis.call('SET', 'much:' .. i, '') end";
    stage.bridge.redis.command(&["EVAL", much, "0"]).await;
    stage.bridge.redis.kill();
    stage.bridge.redis.launch();
    stage.failed("store", "loading", 0.0).await;
    stage.bridge.redis.wait_answering().await;
    stage.back("34 loading", Instant::now(), BACK).await;
    stage.end_without_duplicates().await;
}

/// The primary freezes and another takes over; it wakes, and takes itself for the primary until it is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_loses_nothing() {
    const FAILOVER: Duration = Duration::from_secs(15);
    let bridge = Bridge::new().await;
    let replica = Redis::replica_of(&bridge.redis).await;
    let sentinel = Redis::sentinel_of(&bridge.redis).await;
    let nodes = format!("127.0.0.1:{}", sentinel.port);
    let setup = bridge.subscriber().env("REDIS_MODE", "sentinel").env("REDIS_NODES", &nodes);
    let stage = Stage::with(bridge, setup.env("REDIS_TIMEOUT", "1s")).await;
    stage.bridge.redis.pause();
    let paused = Instant::now();
    stage.failed("store", "timeout", 0.0).await;
    wait_until("the Sentinel names the next primary", SOON, async || {
        let named = sentinel.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"]).await.strings();
        if named.last() == Some(&replica.port.to_string()) { Ok(()) } else { Err(format!("{named:?}")) }
    })
    .await;
    stage.back("31 failover from a frozen primary", paused, FAILOVER).await;
    stage.bridge.redis.resume();
    stage.back("31 the old primary is back", Instant::now(), BACK).await;
    stage.end_shown().await;
}

/// Two primaries: another was promoted while this one went on and was written to. Then this one takes the other's
/// data, and whatever was stored meanwhile is gone.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_split_brain_threw_away_is_stored_again() {
    let bridge = Bridge::new().await;
    let other = Redis::replica_of(&bridge.redis).await;
    let stage = Stage::set(bridge).await;
    let redis = &stage.bridge.redis;
    other.command(&["REPLICAOF", "NO", "ONE"]).await;
    // One that will not speak again: nothing but the view can tell of it.
    let mut silent = Simulated::new("dead");
    let newest = async |redis: &Redis| record_of(redis, "p0").await["v2"]["sequence"].as_u64();
    let split = newest(&other).await;
    stage.bridge.send([silent.beat()]).await;
    wait_until("only one of both is written to", SOON, async || {
        let now = newest(redis).await;
        if now > split.map(|split| split + 3) {
            Ok(())
        } else {
            Err(format!("{now:?}, {split:?} in the other"))
        }
    })
    .await;
    assert_eq!(newest(&other).await, split);
    let (before, _) = stage.failures("store", "read_only").await.unwrap();
    redis.command(&["REPLICAOF", "127.0.0.1", &other.port.to_string()]).await;
    stage.failed("store", "read_only", before).await;
    wait_until("it has the data of the other", SOON, async || {
        let now = newest(redis).await;
        if now == split { Ok(()) } else { Err(format!("{now:?} of {split:?}")) }
    })
    .await;
    redis.command(&["REPLICAOF", "NO", "ONE"]).await;
    let ended = Instant::now();
    wait_until("what was thrown away is there again", SOON, async || {
        let (now, silent) = (newest(redis).await, record_of(redis, "dead").await);
        let all = now > split.map(|split| split + 3) && silent["v2"]["sequence"] == 1;
        if all { Ok(()) } else { Err(format!("{now:?} of {split:?}, and of the silent {silent}")) }
    })
    .await;
    within("32 split brain", "what was thrown away is stored", ended.elapsed(), BACK);
    stage.end_without_duplicates().await;
}

/// A publisher's record as a server has it.
async fn record_of(redis: &Redis, id: &str) -> Value {
    for bucket in 0..64 {
        let all = redis.command(&["HVALS", &format!("heartbeat:{{b{bucket:02}}}:records")]).await.strings();
        let records = all.iter().map(|body| serde_json::from_str::<Value>(body).unwrap());
        if let Some(record) = records.into_iter().find(|record| record["id"] == id) {
            return record;
        }
    }
    Value::Null
}

/// Slots that nobody serves, and one that is being moved.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_serves_no_slot_is_waited_for() {
    let nodes = RedisCluster::apart().await.nodes;
    let bridge = Bridge::new().await;
    let list = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect::<Vec<_>>().join(",");
    let setup = bridge.subscriber().env("REDIS_MODE", "cluster").env("REDIS_NODES", &list);
    let stage = Stage::with(bridge, setup.env("REDIS_TIMEOUT", "1s")).await;
    nodes[0].command(&["CLUSTER", "DELSLOTSRANGE", "0", "8191"]).await;
    stage.failed("store", "cluster", 0.0).await;
    nodes[0].command(&["CLUSTER", "ADDSLOTSRANGE", "0", "8191"]).await;
    stage.back("34 a cluster without all its slots", Instant::now(), BACK).await;
    stage.end_shown().await;
}
