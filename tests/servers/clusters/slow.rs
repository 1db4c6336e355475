//! A Redis Cluster whose answers come late to one replica, each within its deadline: a put takes a trip for every few of its
//! keys, and what came since it began waits, while its replica goes on meeting the others.
//!
//! A master that hangs would prove nothing: the change log is read from all of them between two meetings, so that nobody
//! meets until it answers, and nobody vouches for anything.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::support::bridge::{EXCHANGE, SOON, Sender, drained, records_in, role};
use crate::support::proxy::{Direction, Toxics};
use crate::support::rabbitmq::RabbitMq;
use crate::support::redis_cluster::RedisCluster;
use crate::support::resp::Reply;
use crate::support::v2::{Beating, Simulated};
use crate::support::wait::wait_until;
use crate::support::watch::{Watch, never};

/// With a single active consumer: who comes first hears everything.
const QUEUE: &str = "beats";

/// The publisher that lives.
const LIVES: &str = "oslo";

/// Its grace, many of its beats.
const GRACE: Duration = Duration::from_secs(5);

/// From hearing something to its confirmation, and to telling it, at the most.
const TOLD: Duration = Duration::from_secs(2);

/// How late each answer of Redis is to the one that hears. Little, so that a meeting, of a few trips, is soon over.
const LATE: Duration = Duration::from_millis(120);

/// Publishers that check much, so that their keys take twenty seconds, twice of what is waited for.
const WIDE: usize = 4;
const COMPONENTS: usize = 1_500;

fn wide(number: usize) -> Simulated {
    let mut wide = Simulated::small(&format!("wide-{number}"));
    let one = wide.components[0].clone();
    wide.components = (0..COMPONENTS).map(|component| one.named(&format!("{number}.{component}"))).collect();
    wide
}

/// What is stored of the publisher that lives.
async fn record(redis: &RedisCluster) -> Result<Value, String> {
    for mut client in redis.clients().await? {
        if let Some(record) = records_in(&mut client).await?.remove(LIVES) {
            return Ok(record);
        }
    }
    Err("nothing is stored".to_owned())
}

/// When the replica that hears last told the others of itself, and when the one that waits for its turn did, in
/// milliseconds.
async fn met(redis: &RedisCluster) -> Result<(i64, i64), String> {
    for mut client in redis.clients().await? {
        let Reply::Array(told) = client.command(&["HGETALL", "heartbeat:replicas"]).await? else { continue };
        let told = Reply::Array(told).strings().into_iter().skip(1).step_by(2);
        let told: Vec<Value> = told.map(|told| serde_json::from_str(&told).unwrap()).collect();
        let at = |active| told.iter().find(|one| one["active"] == active).and_then(|one| one["at"].as_i64());
        return at(1).zip(at(0)).ok_or_else(|| format!("{told:?}"));
    }
    Err("no node has the replicas".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_put_of_many_trips_is_not_silence() {
    let (broker, redis) = tokio::join!(RabbitMq::spreading(), RedisCluster::apart());
    let lines = redis.behind_proxies().await;
    let vhost = broker.new_vhost().await;
    vhost.declare_exchange(EXCHANGE).await;
    let setup = || {
        let setup = role("subscriber", &vhost).env("RABBITMQ_QUEUES", QUEUE).envs(redis.environment());
        setup.env("PUBLISHER_GRACE", &format!("{LIVES}={}s", GRACE.as_secs())).env("REDIS_TIMEOUT", "10s")
    };
    let hears = setup().start_ready().await;
    for line in &lines {
        line.set_existing(Direction::Downstream, Toxics::latency(LATE, Duration::ZERO));
    }
    let other = setup().start_ready().await;
    let sender = Sender::to(&vhost).await;
    let beating =
        Beating::by(sender.clone(), vec![Simulated::small(LIVES)], Duration::from_millis(500), |_| {});
    let lives = [("publisher", LIVES)];
    for subscriber in [&hears, &other] {
        subscriber.wait_value(SOON, "heartbeat_publisher_up", &lives, 1.0).await;
    }
    let watches = [Watch::start(&hears, never(LIVES, 0.0)), Watch::start(&other, never(LIVES, 0.0))];

    sender.send((0..WIDE).map(|number| wide(number).beat())).await;
    // The other has met it and judged when it tells of itself for the third time: the first may be from before.
    let (mut revision, mut meetings) = (0, BTreeSet::new());
    wait_until("it is met again and again, and what it holds is not stored", SOON, async || {
        let (told, other_told) = met(&redis).await?;
        let stored = record(&redis).await?;
        if std::mem::replace(&mut revision, stored["revision"].as_u64().unwrap()) != revision {
            meetings.clear();
        }
        let unstored = told - stored["last_seen"].as_i64().unwrap();
        if unstored > i64::try_from((GRACE + TOLD).as_millis()).unwrap() {
            meetings.insert(other_told);
        }
        let shown = other.metrics().await?.value("heartbeat_publisher_up", &lives);
        assert_ne!(shown, Some(0.0), "it lives, and {unstored} ms of it are not stored");
        if meetings.len() > 2 && shown.is_none() {
            return Ok(());
        }
        Err(format!("{unstored} ms are not stored, met at {meetings:?}, shown as {shown:?}"))
    })
    .await;
    hears.wait_value(SOON, "heartbeat_publisher_up", &lives, 1.0).await;

    lines.iter().for_each(|line| line.clear());
    other.wait_value(SOON, "heartbeat_publisher_up", &lives, 1.0).await;
    for watch in watches {
        watch.end();
    }
    let sent = beating.end().await[0].sequence;
    drained(&vhost, &[QUEUE], &[&hears, &other], SOON).await;
    let stored = record(&redis).await.unwrap();
    assert_eq!((&stored["v2"]["sequence"], &stored["lost"]), (&sent.into(), &0.into()), "{stored}");
    for subscriber in [&hears, &other] {
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        subscriber.wait_value(SOON, "heartbeat_publisher_sequence", &lives, sent as f64).await;
    }
}
