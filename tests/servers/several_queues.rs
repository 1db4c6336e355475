//! Heartbeats shared out to several queues, each with a single active consumer: by publisher, in equal parts, and taken
//! over when a subscriber dies. Who cannot be heard for want of a queue's subscriber is not called silent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use lapin::BasicProperties;
use lapin::types::AMQPValue;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::bridge::{self, Bridge, EXCHANGE, KEY, SOON, counters, report, wait_three_beats};
use crate::support::program::{Program, Setup};
use crate::support::rabbitmq::RabbitMq;
use crate::support::rabbitmq_api::Permissions;
use crate::support::scrape::Scrape;
use crate::support::v2::{Beating, Simulated};
use crate::support::wait::wait_until;
use crate::support::watch::{Watch, nobody_down};

const QUEUES: [&str; 3] = ["beats-1", "beats-2", "beats-3"];
const PUBLISHERS: usize = 60;
const BEAT: Duration = Duration::from_millis(500);

async fn bridge() -> Bridge {
    Bridge::without_queue(RabbitMq::spreading().await.new_vhost().await).await
}

fn subscriber(bridge: &Bridge) -> Setup {
    bridge.subscriber().env("RABBITMQ_QUEUES", &QUEUES.join(",")).env("PUBLISHER_GRACE", "*=10s")
}

fn fleet() -> Vec<Simulated> {
    (0..PUBLISHERS).map(|number| Simulated::new(&format!("p{number:02}"))).collect()
}

/// How many messages wait in each queue.
async fn depths(bridge: &Bridge) -> Vec<u32> {
    let mut depths = Vec::new();
    for queue in QUEUES {
        depths.push(bridge.vhost.queue_depth(queue).await.0);
    }
    depths
}

/// From how many queues each subscriber is served, by the process that it is.
async fn served(bridge: &Bridge) -> Result<BTreeMap<String, usize>, String> {
    let mut served = BTreeMap::new();
    for queue in QUEUES {
        let seen = bridge.vhost.queue(queue).await?;
        let consumers = seen["consumer_details"].as_array().cloned().unwrap_or_default();
        let active = consumers.iter().find(|consumer| consumer["active"] == true);
        let Some(active) = active else {
            return Err(format!("{queue} has no active consumer: {consumers:?}"));
        };
        let replica = active["consumer_tag"].as_str().unwrap().split('.').next().unwrap().to_owned();
        *served.entry(replica).or_default() += 1;
    }
    Ok(served)
}

async fn wait_shares(bridge: &Bridge, wanted: &[usize]) {
    wait_until(&format!("the queues are shared out as {wanted:?}"), SOON, async || {
        let served = served(bridge).await?;
        let mut shares: Vec<usize> = served.values().copied().collect();
        shares.sort_unstable();
        if shares == wanted { Ok(()) } else { Err(format!("{served:?}")) }
    })
    .await;
}

/// Nobody is down, stale or in doubt: each publisher that was seen is up, and each of its components is known.
fn all_is_known(scrape: &Scrape) -> Result<(), String> {
    let unknown =
        scrape.matching("heartbeat_component_unknown", &[]).filter(|sample| sample.value != 0.0).count();
    let (seen, up) = (
        scrape.all("heartbeat_publisher_last_seen_timestamp_seconds").len(),
        scrape.matching("heartbeat_publisher_up", &[]).filter(|sample| sample.value == 1.0).count(),
    );
    if (unknown, up) == (0, seen) { Ok(()) } else { Err(format!("{up} of {seen} up, {unknown} unknown")) }
}

async fn drained(bridge: &Bridge, subscribers: &[&Program]) {
    bridge::drained(&bridge.vhost, &QUEUES, subscribers, SOON).await;
}

/// All of one publisher go to one queue, and all that do not say whose they are too, as an original's.
#[tokio::test(flavor = "multi_thread")]
async fn each_publisher_goes_to_one_queue() {
    let bridge = bridge().await;
    // Once started, a subscriber has made exchange, queues and bindings, with the rights that the page names.
    let user = format!("makes-{}", bridge.vhost.name);
    let made = "^(heartbeat-spread|beats-[123])$";
    let rights = Permissions { configure: made, write: made, read: "^(sda|heartbeat-spread|beats-[123])$" };
    bridge.vhost.create_user(&user, "canary", "", rights).await;
    let setup = subscriber(&bridge).env("RABBITMQ_USER", &user).env("RABBITMQ_PASS", "canary");
    let mut subscriber = setup.start_ready().await;
    assert_eq!(subscriber.terminate(SOON).await, Some(0));
    assert!(!subscriber.log().contains("Not allowed"), "{}", subscriber.log());
    let mut fleet = fleet();
    for _ in 0..3 {
        let named = fleet.iter_mut().map(|publisher| (publisher.id.clone(), publisher.beat()));
        bridge.sender().send_named(named.collect::<Vec<_>>()).await;
    }
    let mut seen: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for queue in QUEUES {
        let ready = bridge.vhost.queue_depth(queue).await.0;
        assert!(ready >= 3, "{queue} has next to nothing: {ready}");
        let mut last: BTreeMap<String, u64> = BTreeMap::new();
        while let Some((body, _)) = bridge.vhost.take(queue).await {
            let message: Value = serde_json::from_slice(&body).unwrap();
            let (id, sequence) = (&message["v2"]["publisher"], &message["v2"]["sequence"]);
            let (id, sequence) = (id.as_str().unwrap().to_owned(), sequence.as_u64().unwrap());
            assert_eq!(last.insert(id.clone(), sequence).unwrap_or(0) + 1, sequence, "{id} out of order");
            seen.entry(id).or_default().insert(queue);
        }
    }
    assert_eq!(seen.len(), PUBLISHERS);
    assert!(seen.values().all(|queues| queues.len() == 1), "{seen:?}");

    let original =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/v1-mixed.json")).unwrap();
    bridge.send(vec![original; 20]).await;
    let mut depths = depths(&bridge).await;
    depths.sort_unstable();
    assert_eq!(depths, [0, 0, 20]);

    // The real publisher says whose its heartbeats are.
    let publisher = bridge.publisher("oslo", r#"{"heartbeat": {}}"#);
    let publisher = publisher.env("RABBITMQ_QUEUES", &QUEUES.join(",")).start();
    wait_until("the publisher has sent", SOON, async || {
        let depths = self::depths(&bridge).await;
        if depths.iter().sum::<u32>() > 20 { Ok(()) } else { Err(format!("{depths:?}")) }
    })
    .await;
    drop(publisher);
    let mut named = Vec::new();
    for queue in QUEUES {
        while let Some((body, properties)) = bridge.vhost.take(queue).await {
            if serde_json::from_slice::<Value>(&body).unwrap().get("v2").is_some() {
                let headers = properties.headers().clone().unwrap_or_default();
                named.push(headers.inner().get("heartbeat-publisher").cloned());
            }
        }
    }
    let oslo = Some(AMQPValue::LongString("oslo".into()));
    assert!(!named.is_empty() && named.iter().all(|name| *name == oslo), "{named:?}");
}

/// What the page for operators says to run makes all of it, and then reading the queues is enough.
#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_page_make_it() {
    let broker = RabbitMq::spreading().await;
    let bridge = bridge().await;
    let page = include_str!("../../docs/several-queues.md");
    let commands = page.split("```sh\n").find(|block| block.starts_with("rabbitmqadmin")).unwrap();
    let commands = commands.split("```").next().unwrap();
    let options = format!(
        "--host=127.0.0.1 --port={} --vhost={} --username={} --password={}",
        broker.ports.http, bridge.vhost.name, bridge.vhost.name, bridge.vhost.name
    );
    let script =
        format!("set -eu\nrabbitmqadmin() {{ command rabbitmqadmin {options} \"$@\"; }}\n{commands}");
    let mut shell = broker.shell();
    shell.args(["-c", &script]);
    let output = tokio::task::spawn_blocking(move || shell.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{script}\n{output:?}");

    let user = format!("reads-{}", bridge.vhost.name);
    let reads = Permissions { read: "^heartbeat-[123]$", ..Permissions::NONE };
    bridge.vhost.create_user(&user, "canary", "", reads).await;
    let names = ["heartbeat-1", "heartbeat-2", "heartbeat-3"];
    let subscriber = bridge.subscriber().env("RABBITMQ_QUEUES", &names.join(","));
    let subscriber =
        subscriber.env("RABBITMQ_USER", &user).env("RABBITMQ_PASS", "canary").start_ready().await;
    bridge
        .vhost
        .publish("sda", "service.heartbeat", &BasicProperties::default(), [Simulated::new("p").beat()])
        .await;
    subscriber.wait_value(SOON, "heartbeat_publisher_up", &[("publisher", "p")], 1.0).await;
    // It found each as it would have made it.
    let setup = bridge.subscriber().env("RABBITMQ_QUEUES", &names.join(","));
    let other = setup.env("RABBITMQ_ROUTING_KEY", "service.heartbeat").start_ready().await;
    assert!(!other.log().contains("created") && !other.log().contains("other arguments"), "{}", other.log());
}

/// The first subscriber leaves queues to the second; killed, either loses nothing and nobody is doubted for it.
#[tokio::test(flavor = "multi_thread")]
async fn queues_are_shared_out_and_taken_over() {
    let bridge = bridge().await;
    let quorum = json!({"x-queue-type": "quorum", "x-single-active-consumer": true});
    bridge.vhost.declare_queue(QUEUES[2], quorum).await;
    let mut one = subscriber(&bridge).start_ready().await;
    let beating = Beating::start(&bridge, fleet(), BEAT, |_| {});
    wait_shares(&bridge, &[3]).await;
    let mut other = subscriber(&bridge).start_ready().await;
    let watches = [Watch::start(&one, nobody_down(&[])), Watch::start(&other, nobody_down(&[]))];
    let known = [Watch::start(&one, all_is_known), Watch::start(&other, all_is_known)];
    wait_shares(&bridge, &[1, 2]).await;
    for watch in known {
        watch.end();
    }
    for round in 0..2 {
        let (dying, staying) = if round == 0 { (&mut one, &other) } else { (&mut other, &one) };
        let watch = Watch::start(staying, all_is_known);
        let before = counters(staying).await.unwrap();
        dying.kill();
        let killed = Instant::now();
        wait_three_beats(staying, &before).await;
        report(&format!(
            "50 a subscriber killed: each publisher fresh {:?} after, three beats later",
            killed.elapsed()
        ));
        wait_shares(&bridge, &[3]).await;
        dying.start_again();
        dying.wait_ready().await;
        let back = Instant::now();
        wait_shares(&bridge, &[1, 2]).await;
        report(&format!("50 a subscriber back: equal shares {:?} after it was ready", back.elapsed()));
        watch.end();
    }
    let mut fleet = beating.end().await;
    drained(&bridge, &[&one, &other]).await;
    for subscriber in [&one, &other] {
        let last = fleet.last().unwrap();
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let newest = last.sequence as f64;
        subscriber.wait_value(SOON, "heartbeat_publisher_sequence", &[("publisher", &last.id)], newest).await;
        wait_until("it shows the newest of each", SOON, async || {
            let shown = subscriber.metrics().await?.sum("heartbeat_publisher_sequence", &[]);
            let sent: u64 = fleet.iter().map(|publisher| publisher.sequence).sum();
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            if shown == sent as f64 { Ok(()) } else { Err(format!("{shown} of {sent}")) }
        })
        .await;
        bridge.assert_newest(subscriber, &fleet).await;
        let foreign =
            subscriber.metrics().await.unwrap().value("heartbeat_subscriber_foreign_consumers", &[]);
        assert_eq!(foreign, Some(0.0), "a replica was taken for a stranger");
    }
    for watch in watches {
        watch.end();
    }
    // Who is silent in truth is told, by both and within moments of its deadline.
    let silent = fleet.pop().unwrap();
    let beating = Beating::start(&bridge, fleet, BEAT, |_| {});
    for subscriber in [&one, &other] {
        let silent = [("publisher", silent.id.as_str())];
        subscriber.wait_value(SOON, "heartbeat_publisher_up", &silent, 0.0).await;
        subscriber.wait_value(SOON, "heartbeat_publisher_up", &[("publisher", "p00")], 1.0).await;
    }
    beating.end().await;
}

/// Frozen, a subscriber keeps its queues until the broker misses it. What lies there is not silence.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_frozen_subscriber_keeps_is_not_silence() {
    let bridge = bridge().await;
    let setup = || subscriber(&bridge).env("RABBITMQ_HEARTBEAT", "8s");
    // With a small window more waits in its queues than it is given.
    let frozen = setup().env("RABBITMQ_PREFETCH", "20").start_ready().await;
    let beating = Beating::start(&bridge, fleet(), BEAT, |_| {});
    wait_shares(&bridge, &[3]).await;
    let other = setup().start_ready().await;
    wait_shares(&bridge, &[1, 2]).await;
    // Long enough to have heard for a whole grace.
    tokio::time::sleep(Duration::from_secs(11)).await;
    let watch = Watch::start(&other, nobody_down(&[]));
    frozen.signal(Signal::STOP);
    let stopped = Instant::now();
    wait_shares(&bridge, &[3]).await;
    other.wait_value(SOON, "heartbeat_subscriber_listening", &[], 1.0).await;
    wait_until("everybody is known again", SOON, async || all_is_known(&other.metrics().await?)).await;
    report(&format!("50 a subscriber frozen: everybody known {:?} after", stopped.elapsed()));
    assert!(!other.log().contains("fell silent"), "waiting for its turn, it took itself for dead");
    frozen.signal(Signal::CONT);
    wait_shares(&bridge, &[1, 2]).await;
    let fleet = beating.end().await;
    drained(&bridge, &[&other, &frozen]).await;
    wait_until("the newest of each is stored", SOON, async || {
        let records = bridge.records().await;
        let behind = fleet.iter().filter(|one| records[&one.id]["v2"]["sequence"] != one.sequence).count();
        if behind == 0 { Ok(()) } else { Err(format!("{behind} are behind")) }
    })
    .await;
    watch.end();
}

/// Subscribers on different queues with one Redis: who is heard by the other alone is not called silent when that
/// one dies, and is when both hear.
#[tokio::test(flavor = "multi_thread")]
async fn on_different_queues_nobody_judges_what_another_hears() {
    let bridge = Bridge::without_queue(RabbitMq::vhost().await).await;
    let on = |queue: &str| bridge.subscriber().env("RABBITMQ_QUEUE", queue).env("PUBLISHER_GRACE", "*=10s");
    let here = on("here").start_ready().await;
    // Bound by the first subscriber; the other is to hear alone.
    bridge.vhost.unbind(EXCHANGE, "here", KEY).await;
    let mut there = on("there").start_ready().await;
    let beating = Beating::start(&bridge, vec![Simulated::new("far")], BEAT, |_| {});
    let far = [("publisher", "far")];
    here.wait_value(SOON, "heartbeat_publisher_up", &far, 1.0).await;
    here.wait_log(SOON, "Another subscriber keeps the heartbeats of another queue").await;
    tokio::time::sleep(Duration::from_secs(11)).await;
    let watch = Watch::start(&here, nobody_down(&[]));
    there.kill();
    let killed = Instant::now();
    here.wait_value(SOON, "heartbeat_subscriber_listening", &[], 0.0).await;
    report(&format!(
        "51 the only subscriber of another queue killed: not listening {:?} after",
        killed.elapsed()
    ));
    here.wait_absent(SOON, "heartbeat_publisher_up", &far).await;
    // Well beyond its grace.
    tokio::time::sleep(Duration::from_secs(12)).await;
    there.start_again();
    there.wait_ready().await;
    here.wait_value(SOON, "heartbeat_subscriber_listening", &[], 1.0).await;
    here.wait_value(SOON, "heartbeat_publisher_up", &far, 1.0).await;
    watch.end();
    beating.end().await;
    for subscriber in [&here, &there] {
        subscriber.wait_value(SOON, "heartbeat_publisher_up", &far, 0.0).await;
    }
}
