//! How a publisher publishes: on the beat, at once on a change, and into a broker that has no queue for it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::field::{
    BOUND, EXCHANGE, Field, KEY, Shown, config, host, publisher, stop, wait_failures, wait_published,
};
use crate::support::rabbitmq::RabbitMq;
use crate::support::tcp::Accepting;
use crate::support::v1;
use crate::support::vhost::Vhost;
use crate::support::wait::wait_until;

/// The newest heartbeat of a queue, as version 2 says it; version 1 can read them all.
async fn newest(vhost: &Vhost, queue: &str) -> Value {
    let mut newest = None;
    while let Some((body, _)) = vhost.take(queue).await {
        v1::writes(&body);
        newest = Some(body);
    }
    serde_json::from_slice::<Value>(&newest.expect("a heartbeat is there")).unwrap()["v2"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_queue_takes_is_counted() {
    let vhost = RabbitMq::vhost().await;
    let port = Accepting::open();
    let wanted = config(&[host("port", port.address)], &[]);
    let ours = publisher(&vhost, "beats", "unroutable", &wanted).listening().start_ready().await;
    wait_published(&ours, 2.0).await;
    vhost.unbind(EXCHANGE, "beats", KEY).await;
    let failed = wait_failures(&ours, "unroutable", 2.0).await;
    let published = ours.metrics().await.unwrap().value("heartbeat_emitter_published_total", &[]).unwrap();
    vhost.bind(EXCHANGE, "beats", KEY).await;
    wait_published(&ours, published + 2.0).await;
    assert!(newest(&vhost, "beats").await["publish_failures_total"].as_f64() >= Some(failed));

    vhost.delete_queue("beats").await;
    let failed = wait_failures(&ours, "unroutable", failed + 2.0).await;
    let published = ours.metrics().await.unwrap().value("heartbeat_emitter_published_total", &[]).unwrap();
    vhost.declare_queue("beats", json!({})).await;
    vhost.bind(EXCHANGE, "beats", KEY).await;
    wait_published(&ours, published + 2.0).await;
    let last = newest(&vhost, "beats").await;
    assert!(last["publish_failures_total"].as_f64() >= Some(failed));
    assert_eq!(last["reconnects_total"], 0, "an unroutable heartbeat spoils no connection");
    let warnings = ours.log().matches("Heartbeat not confirmed").count();
    assert_eq!(warnings, 2, "one line for each outage, none for each heartbeat");

    stop([ours]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_published_at_once() {
    let mut field = Field::start(RabbitMq::vhost().await).await;
    let mut port = Accepting::open();
    let wanted = config(&[host("port", port.address)], &[]);
    let setup = field.publisher("eager", &wanted);
    let ours = setup.env("PUBLISH_INTERVAL", "60").env("PROBE_INTERVAL", "1").start();
    field.wait_shown("eager", "host", "port", Shown::Up).await;
    // The beat itself comes 30 s after the first heartbeat at the earliest.
    let bound = Duration::from_secs(15);
    for (turn, up) in [false, true, false].into_iter().enumerate() {
        if up {
            port.reopen()
        } else {
            port.close().await
        }
        let begun = Instant::now();
        let shown = if up { Shown::Up } else { Shown::Down("refused") };
        field.wait_shown("eager", "host", "port", shown).await;
        assert!(begun.elapsed() < bound, "it took {:?}", begun.elapsed());
        let heartbeats = field.reader.heartbeats("eager");
        assert_eq!(heartbeats.len(), turn + 2, "the first, and one for each change");
    }
    stop([ours]).await;
    field.assert_as_version_1().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thresholds_of_the_file_hold_a_turn_back() {
    let field = Field::start(RabbitMq::vhost().await).await;
    let mut port = Accepting::open();
    let mut slow = host("slow", port.address);
    slow["failure_threshold"] = json!(3);
    slow["success_threshold"] = json!(2);
    let setup = field.publisher("patient", &config(&[slow], &[]));
    let ours = setup.env("PROBE_INTERVAL", "500ms").start();
    field.wait_shown("patient", "host", "slow", Shown::Up).await;
    port.close().await;
    field.wait_shown("patient", "host", "slow", Shown::Down("refused")).await;
    port.reopen();
    field.wait_shown("patient", "host", "slow", Shown::Up).await;
    let told: Vec<Value> = wait_until("the reader has it too", BOUND, async || {
        let all = field.reader.heartbeats("patient");
        let told: Vec<Value> = all.into_iter().map(|(_, one)| one["components"][0].clone()).collect();
        let down = told.iter().position(|one| one["outcome"] == "down");
        match down.map(|down| told[down..].iter().any(|one| one["outcome"] == "up")) {
            Some(true) => Ok(told),
            _ => Err(format!("{} heartbeats", told.len())),
        }
    })
    .await;
    let down = told.iter().position(|one| one["outcome"] == "down").unwrap();
    let up = down + told[down..].iter().position(|one| one["outcome"] == "up").unwrap();
    let failures = |one: &Value| one["failures_total"].as_u64().unwrap();
    let successes = |one: &Value| one["checks_total"].as_u64().unwrap() - failures(one);
    assert!(told[..down].iter().all(|one| failures(one) < 3), "shown up after three failures: {told:?}");
    assert!(failures(&told[down]) >= 3, "{}", told[down]);
    let good_before = successes(&told[down]);
    assert!(told[down..up].iter().all(|one| successes(one) < good_before + 2), "{told:?}");
    assert!(successes(&told[up]) >= good_before + 2, "{}", told[up]);
    stop([ours]).await;
}
