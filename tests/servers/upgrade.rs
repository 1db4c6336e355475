//! A rolling upgrade: what the version before this one stored and sent, and what a later one does, each beside this one.
//!
//! The fixtures are kept as their version wrote them. Whoever changes the form adds a folder for the new version, and leaves
//! the old ones as they are.

use heartbeat_bridge::store::RecordKey;
use serde_json::Value;

use crate::support::bridge::{Bridge, SOON};
use crate::support::program::Program;
use crate::support::redis::Redis;
use crate::support::scrape::Scrape;
use crate::support::v2::Simulated;

const RECORD: &str = include_str!("../fixtures/0.1.0/record.json");
const ORIGINAL: &str = include_str!("../fixtures/0.1.0/record-original.json");
const FORGOTTEN: &str = include_str!("../fixtures/0.1.0/record-forgotten.json");
const MESSAGE: &str = include_str!("../fixtures/0.1.0/message.json");
const LATER_RECORD: &str = include_str!("../fixtures/later/record.json");

/// Stores a record as the program does, in its bucket and with its revision.
async fn store(redis: &Redis, record: &str) {
    let value: Value = serde_json::from_str(record).unwrap();
    let key = RecordKey::of(value["id"].as_str().unwrap());
    let (bucket, key) = (format!("heartbeat:{{b{:02}}}", key.bucket()), key.to_string());
    redis.command(&["HSET", &format!("{bucket}:records"), &key, record]).await;
    redis.command(&["HSET", &format!("{bucket}:revisions"), &key, &value["revision"].to_string()]).await;
}

async fn value(subscriber: &Program, name: &str, publisher: &str) -> Option<f64> {
    subscriber.metrics().await.unwrap().value(name, &[("publisher", publisher)])
}

/// The publisher of a record, to go on in the same life.
fn goes_on(record: &str) -> Simulated {
    let record: Value = serde_json::from_str(record).unwrap();
    let mut publisher = Simulated::new(record["id"].as_str().unwrap());
    publisher.epoch = record["shown"].as_str().unwrap().to_owned();
    publisher.sequence = record["v2"]["sequence"].as_u64().unwrap();
    publisher
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_version_stored_and_sends_goes_on() {
    let bridge = Bridge::new().await;
    for record in [RECORD, ORIGINAL, FORGOTTEN] {
        store(&bridge.redis, record).await;
    }
    let subscriber = bridge.subscriber().start_ready().await;
    assert_eq!(value(&subscriber, "heartbeat_publisher_heartbeats_total", "oslo").await, Some(112.0));
    assert_eq!(value(&subscriber, "heartbeat_publisher_heartbeats_total", "publisher").await, Some(5.0));
    assert_eq!(value(&subscriber, "heartbeat_publisher_heartbeats_total", "bergen").await, None, "forgotten");

    // The one that was forgotten says again what was heard before, and the other goes on.
    let (mut bergen, mut oslo) = (goes_on(FORGOTTEN), goes_on(RECORD));
    bergen.sequence -= 1;
    bridge.send([bergen.beat(), oslo.beat(), MESSAGE.into()]).await;
    bridge.drained(&subscriber, SOON).await;
    let sequence = Some(f64::from(u32::try_from(oslo.sequence).unwrap()));
    assert_eq!(value(&subscriber, "heartbeat_publisher_sequence", "oslo").await, sequence);
    assert_eq!(value(&subscriber, "heartbeat_publisher_up", "oslo").await, Some(1.0));
    assert_eq!(value(&subscriber, "heartbeat_publisher_restarts_total", "oslo").await, Some(2.0));
    assert_eq!(value(&subscriber, "heartbeat_publisher_lost_total", "oslo").await, Some(3.0));
    let records = bridge.records().await;
    let lives = records["oslo"]["lives"].as_array().unwrap();
    assert_eq!((lives.len(), &lives[0]["epoch"]), (2, &Value::from("a53fd00d1f4c7788")), "{lives:?}");
    assert!(records["bergen"]["forgotten_at"].is_i64(), "{}", records["bergen"]);
    let up = |scrape: &Scrape, name| {
        scrape.value("heartbeat_component_up", &[("publisher", "narvik"), ("kind", "host"), ("name", name)])
    };
    let scrape = subscriber.metrics().await.unwrap();
    assert_eq!((up(&scrape, "broker"), up(&scrape, "database")), (Some(1.0), Some(0.0)));
    let rejected = subscriber.metrics().await.unwrap().sum("heartbeat_subscriber_rejected_total", &[]);
    assert_eq!(rejected, 0.0, "{}", subscriber.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_later_version_stored_is_gone_on_with() {
    let bridge = Bridge::new().await;
    store(&bridge.redis, LATER_RECORD).await;
    let subscriber = bridge.subscriber().start_ready().await;
    let mut tromso = goes_on(LATER_RECORD);
    bridge.send([tromso.beat()]).await;
    bridge.drained(&subscriber, SOON).await;
    assert_eq!(value(&subscriber, "heartbeat_publisher_up", "tromso").await, Some(1.0));
    assert_eq!(value(&subscriber, "heartbeat_publisher_heartbeats_total", "tromso").await, Some(113.0));
    assert_eq!(value(&subscriber, "heartbeat_publisher_restarts_total", "tromso").await, Some(2.0));
    let log = subscriber.log();
    assert!(!log.contains("cannot be read"), "{log}");
}
