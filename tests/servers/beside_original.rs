//! Beside the original: its publisher, its subscriber on a queue of its own, and its subscriber on our queue.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use crate::support::bridge::{Bridge, EXCHANGE, KEY, QUEUE, SOON, contract_keys};
use crate::support::redis::Redis;
use crate::support::scrape::Scrape;
use crate::support::tcp::Accepting;
use crate::support::v1;
use crate::support::v2::{Beating, Simulated};
use crate::support::wait::wait_until;
use crate::support::watch::{Watch, nobody_down};

/// Nobody down, nothing lost.
fn nothing_false(scrape: &Scrape) -> Result<(), String> {
    let lost = scrape.sum("heartbeat_publisher_lost_total", &[]);
    if lost > 0.0 {
        return Err(format!("{lost} shown as lost"));
    }
    nobody_down(&[])(scrape)
}

/// A time to the second may be told a second apart by two who round, never more.
fn same_keys(ours: &BTreeMap<String, String>, theirs: &BTreeMap<String, String>) -> Result<(), String> {
    if ours == theirs {
        return Ok(());
    }
    let differ: Vec<_> = ours.iter().filter(|(key, at)| theirs.get(*key) != Some(at)).collect();
    Err(format!("{} and {} keys; other: {differ:?} against {theirs:?}", ours.len(), theirs.len()))
}

#[tokio::test(flavor = "multi_thread")]
async fn both_kinds_side_by_side_and_a_stranger_on_our_queue() {
    let bridge = Bridge::new().await;
    let their_redis = Redis::start().await;
    bridge.vhost.declare_queue("original", json!({})).await;
    bridge.vhost.bind(EXCHANGE, "original", KEY).await;
    let mut theirs = v1::Subscriber::start(&bridge.vhost, "original", Some(&their_redis)).await;
    let ours = bridge.subscriber().env("PUBLISHER_GRACE", "*=12s").start_ready().await;

    let mut port = Accepting::open();
    let config = format!(
        r#"{{"heartbeat": {{"hosts": [{{"name": "our db", "host": "127.0.0.1", "port": "{}"}}],
            "rmq_consumers": [{{"queue": "{QUEUE}", "listeners": [{{"tag": "^heartbeat", "name": "us"}}]}}]}}}}"#,
        port.address.port()
    );
    let publisher = bridge.publisher("oslo", &config).start();
    let (connection, channel) = bridge.vhost.connect().await;
    let original = tokio::spawn(async move {
        let _connection = connection;
        let original = v1::Publisher::new();
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        for beat in 0u32.. {
            tick.tick().await;
            let ok = beat % 7 != 3;
            let message = original.message(
                &[("their db", ok), ("their api", true)],
                &[("mappings", false)],
                &[("ingest", true), ("ingest", ok), ("verify", true)],
            );
            original.publish(&channel, EXCHANGE, KEY, &message).await;
        }
    });
    for id in ["oslo", "publisher"] {
        ours.wait_value(SOON, "heartbeat_publisher_up", &[("publisher", id)], 1.0).await;
    }
    let watch = Watch::start(&ours, nothing_false);
    // Thirty intervals, with a port that closes and opens again meanwhile.
    for round in 0..6 {
        sleep(Duration::from_secs(5)).await;
        match round {
            1 => port.close().await,
            3 => port.reopen(),
            _ => {}
        }
    }
    let (taken, seen) = (theirs.taken(), ours.metrics().await.unwrap());
    assert!(taken >= 60, "{taken} messages in thirty intervals");
    assert!(seen.sum("heartbeat_publisher_heartbeats_total", &[]) >= 60.0);
    theirs.assert_alive().await;
    wait_until("the same keys from both", SOON, async || {
        same_keys(&contract_keys(&bridge.redis).await, &contract_keys(&their_redis).await)
    })
    .await;
    let keys = contract_keys(&bridge.redis).await;
    for key in [
        "service:our db:ok",
        "service:our db:not_ok",
        "service:us:ok",
        "queue:mappings:not_ok",
        "service:their db:not_ok",
    ] {
        assert!(keys.contains_key(key), "{key} in {keys:?}");
    }

    // Ten beats a second: a gap leaves the window of sequence numbers within seconds.
    let quick = (0..5).map(|number| Simulated::new(&format!("quick{number}"))).collect();
    let quick = Beating::start(&bridge, quick, Duration::from_millis(100), |_| {});
    ours.wait_value(SOON, "heartbeat_publisher_up", &[("publisher", "quick4")], 1.0).await;

    // The stranger comes to our own queue and takes about every second heartbeat, then all but none are left to us.
    let strangers = [
        v1::Subscriber::start(&bridge.vhost, QUEUE, None).await,
        v1::Subscriber::start(&bridge.vhost, QUEUE, None).await,
    ];
    wait_until("the strangers are seen", SOON, async || {
        match ours.metrics().await?.value("heartbeat_subscriber_foreign_consumers", &[]) {
            Some(count) if count >= 1.0 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    ours.wait_log(SOON, "A stranger consumes this subscriber's queue").await;
    let before: u64 = strangers.iter().map(v1::Subscriber::taken).sum();
    sleep(Duration::from_secs(15)).await;
    let after: u64 = strangers.iter().map(v1::Subscriber::taken).sum();
    assert!(after > before, "the strangers take nothing");
    for mut stranger in strangers {
        stranger.assert_alive().await;
    }
    ours.wait_value(SOON, "heartbeat_subscriber_foreign_consumers", &[], 0.0).await;
    ours.wait_log(SOON, "No stranger consumes the queue any more").await;
    for id in ["oslo", "publisher"] {
        ours.wait_value(SOON, "heartbeat_publisher_up", &[("publisher", id)], 1.0).await;
    }
    // Long enough for a gap to leave the window, were it counted, and for a false stale.
    sleep(Duration::from_secs(8)).await;
    quick.end().await;
    watch.end();
    assert!(!ours.log().contains("Publisher stale"), "{}", ours.log());
    original.abort();
    drop(publisher);
}
