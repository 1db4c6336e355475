//! Fresh, stale or not to be told: each with a publisher known to be dead or alive, asked at every scrape.

use std::time::Duration;

use lapin::BasicProperties;
use lapin::options::{BasicGetOptions, BasicPublishOptions};
use rustix::process::Signal;
use tokio::time::{Instant, sleep, sleep_until};

use crate::support::bridge::{Bridge, EXCHANGE, QUEUE, SOON};
use crate::support::program::Program;
use crate::support::v1;
use crate::support::v2::{Beating, Simulated};
use crate::support::wait::wait_until;
use crate::support::watch::{Watch, never, nobody_down};

/// Grace of every publisher here; ten beats of the live ones.
const GRACE: Duration = Duration::from_secs(12);
const BEAT: Duration = Duration::from_millis(500);

async fn subscriber(bridge: &Bridge) -> Program {
    bridge.subscriber().env("PUBLISHER_GRACE", "*=12s").start_ready().await
}

fn label(publisher: &str) -> [(&str, &str); 1] {
    [("publisher", publisher)]
}

async fn last_seen(subscriber: &Program, publisher: &str) -> Option<f64> {
    let scrape = subscriber.metrics().await.unwrap();
    scrape.value("heartbeat_publisher_last_seen_timestamp_seconds", &label(publisher))
}

/// Sends live heartbeats of a publisher until it is shown as up.
async fn known_alive(bridge: &Bridge, subscriber: &Program, publisher: &mut Simulated) {
    let id = publisher.id.clone();
    wait_until("it is shown as up", SOON, async || {
        bridge.send([publisher.beat()]).await;
        sleep(Duration::from_millis(300)).await;
        match subscriber.metrics().await?.value("heartbeat_publisher_up", &label(&id)) {
            Some(1.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_makes_nobody_look_alive_or_dead() {
    let bridge = Bridge::new().await;
    let mut running = subscriber(&bridge).await;
    let mut dead = Simulated::new("dead");
    let mut ahead = Simulated::new("ahead");
    let mut behind = Simulated::new("behind");
    let mut redelivered = Simulated::new("redelivered");
    ahead.clock_error = jiff::SignedDuration::from_hours(1);
    behind.clock_error = jiff::SignedDuration::from_hours(-1);
    for publisher in [&mut dead, &mut ahead, &mut behind, &mut redelivered] {
        known_alive(&bridge, &running, publisher).await;
    }
    let alive = Beating::start(&bridge, vec![Simulated::new("alive")], BEAT, |_| {});
    running.wait_value(SOON, "heartbeat_publisher_up", &label("alive"), 1.0).await;
    assert_eq!(running.terminate(SOON).await, Some(0), "{}", running.log());

    // While nobody listens the dead ones speak on for a while, and their clocks are stepped.
    let mut last_words = Instant::now();
    for _ in 0..6 {
        bridge.send([dead.beat(), ahead.beat(), behind.beat(), redelivered.beat()]).await;
        last_words = Instant::now();
        sleep(BEAT).await;
    }
    ahead.clock_error = jiff::SignedDuration::from_hours(-1);
    behind.clock_error = jiff::SignedDuration::from_hours(1);
    for _ in 0..2 {
        bridge.send([ahead.beat(), behind.beat()]).await;
        last_words = Instant::now();
        sleep(BEAT).await;
    }
    let said_at = jiff::Timestamp::now();
    let mut never_heard = Simulated::new("never-heard");
    bridge.send([never_heard.beat()]).await;
    take_and_give_back(&bridge).await;
    sleep_until(last_words + GRACE + Duration::from_secs(1)).await;

    // All dead ones are past their grace: from here on none may be shown as up, nor the live one as down.
    running.start_again();
    let mut nobody = nobody_down(&["dead", "ahead", "behind", "redelivered", "never-heard"]);
    let mut dead_ones = ["dead", "ahead", "behind", "redelivered", "never-heard"].map(|id| never(id, 1.0));
    let watch = Watch::start(&running, move |scrape| {
        nobody(scrape)?;
        dead_ones.iter_mut().try_for_each(|check| check(scrape))
    });
    running.wait_ready().await;
    bridge.drained(&running, SOON).await;
    for id in ["dead", "ahead", "behind", "redelivered"] {
        let seen = last_seen(&running, id).await.unwrap_or_else(|| panic!("{id} was never seen"));
        let now = jiff::Timestamp::now().as_millisecond();
        #[expect(clippy::cast_precision_loss, reason = "a time of this century")]
        let (late, age) = (seen - said_at.as_millisecond() as f64 / 1e3, now as f64 / 1e3 - seen);
        assert!(late < 1.5 && age < 60.0, "{id}: last seen {late} s after its last words, {age} s ago");
    }
    assert_eq!(last_seen(&running, "never-heard").await, None);
    running.wait_value(SOON, "heartbeat_publisher_up", &label("alive"), 1.0).await;
    // Heard long enough, each is known to be dead.
    for id in ["dead", "ahead", "behind", "redelivered", "never-heard"] {
        running.wait_value(SOON, "heartbeat_publisher_up", &label(id), 0.0).await;
    }
    watch.end();
    for publisher in [&mut dead, &mut never_heard] {
        known_alive(&bridge, &running, publisher).await;
    }
    alive.end().await;
}

/// Takes all that waits without acknowledging it, so that the broker marks it as redelivered.
async fn take_and_give_back(bridge: &Bridge) {
    let (connection, channel) = bridge.vhost.connect().await;
    let mut taken = Vec::new();
    while let Some(message) = channel.basic_get(QUEUE.into(), BasicGetOptions::default()).await.unwrap() {
        taken.push(message);
    }
    assert!(!taken.is_empty());
    connection.close(200, "given back".into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_and_restarted_subscriber_tells_nobody_dead() {
    let bridge = Bridge::new().await;
    let fleet = (0..30).map(|number| Simulated::new(&format!("p{number}"))).collect();
    let beating = Beating::start(&bridge, fleet, Duration::from_millis(100), |_| {});
    let mut running = subscriber(&bridge).await;
    let watch = Watch::start(&running, nobody_down(&[]));
    for _ in 0..3 {
        running.kill();
        sleep(Duration::from_secs(1)).await;
        running.start_again();
        // Three hundred messages a second, never a pause: it listens all the same.
        running.wait_ready().await;
        for id in ["p0", "p29"] {
            running.wait_value(SOON, "heartbeat_publisher_up", &label(id), 1.0).await;
        }
    }
    // Asleep for longer than the grace: it wakes with a backlog, and judges nobody by it.
    running.signal(Signal::STOP);
    sleep(GRACE + Duration::from_secs(2)).await;
    running.signal(Signal::CONT);
    sleep(GRACE).await;
    for id in ["p0", "p29"] {
        running.wait_value(SOON, "heartbeat_publisher_up", &label(id), 1.0).await;
    }
    let fleet = beating.end().await;
    bridge.drained(&running, SOON).await;
    bridge.assert_newest(&running, &fleet).await;
    watch.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_emptied_is_filled_again_from_the_view() {
    let bridge = Bridge::new().await;
    let running = subscriber(&bridge).await;
    let mut silent = Simulated::new("silent");
    silent.components[0].outcome = "down";
    known_alive(&bridge, &running, &mut silent).await;
    silent.components[0].outcome = "up";
    known_alive(&bridge, &running, &mut silent).await;
    bridge.send([silent.beat()]).await;
    let fleet = (0..10).map(|number| Simulated::new(&format!("p{number}"))).collect();
    let beating = Beating::start(&bridge, fleet, BEAT, |_| {});
    for number in 0..10 {
        running.wait_value(SOON, "heartbeat_publisher_up", &label(&format!("p{number}")), 1.0).await;
    }
    let mut nobody = nobody_down(&["silent"]);
    let mut counted = 0.0;
    let watch = Watch::start(&running, move |scrape| {
        nobody(scrape)?;
        let now = scrape.sum("heartbeat_publisher_heartbeats_total", &[]);
        if now < counted {
            return Err(format!("{counted} heartbeats went back to {now}"));
        }
        counted = now;
        Ok(())
    });
    for _ in 0..3 {
        bridge.redis.flush().await;
        wait_until("all records are there again", SOON, async || {
            let records = bridge.records().await.len();
            if records == 11 { Ok(()) } else { Err(format!("{records} records")) }
        })
        .await;
    }
    let mut fleet = beating.end().await;
    fleet.push(silent);
    bridge.drained(&running, SOON).await;
    bridge.assert_newest(&running, &fleet).await;
    watch.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_original_is_judged_by_when_it_is_heard() {
    let bridge = Bridge::new().await;
    let mut running = bridge
        .subscriber()
        .env("PUBLISHER_GRACE", "*=12s")
        .env("LEGACY_PUBLISHER_IDS", "bare=bare,frozen=frozen")
        .start_ready()
        .await;
    let (_connection, channel) = bridge.vhost.connect().await;
    for key in ["bare", "frozen"] {
        bridge.vhost.bind(EXCHANGE, QUEUE, key).await;
    }
    // One without any components, and one whose process was started an hour ago.
    let bare = include_bytes!("../fixtures/v1-empty.json");
    let original = v1::Publisher::new();
    let hour_ago = v1::v1_time(jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1));
    let frozen = || {
        let message = original.message(&[("db", true)], &[("inbox", true)], &[("ingest", false)]);
        let mut message: serde_json::Value = serde_json::from_slice(&message).unwrap();
        message["timestamp"] = serde_json::json!(hour_ago);
        message.to_string().into_bytes()
    };
    wait_until("both are up", SOON, async || {
        original.publish(&channel, EXCHANGE, "bare", bare).await;
        original.publish(&channel, EXCHANGE, "frozen", &frozen()).await;
        sleep(Duration::from_millis(300)).await;
        let scrape = running.metrics().await?;
        let up = ["bare", "frozen"].map(|id| scrape.value("heartbeat_publisher_up", &label(id)));
        if up == [Some(1.0); 2] { Ok(()) } else { Err(format!("{up:?}")) }
    })
    .await;
    let scrape = running.metrics().await.unwrap();
    let frozen_labels = [("publisher", "frozen"), ("name", "db")];
    assert_eq!(scrape.value("heartbeat_component_up", &frozen_labels), Some(1.0));
    assert!(scrape.matching("heartbeat_component_up", &label("bare")).next().is_none());

    running.terminate(SOON).await;
    let options = BasicPublishOptions::default();
    for (key, body) in [("bare", bare.to_vec()), ("frozen", frozen())] {
        let properties = BasicProperties::default();
        let sent = channel.basic_publish(EXCHANGE.into(), key.into(), options, &body, properties).await;
        sent.unwrap().await.unwrap();
    }
    sleep(GRACE + Duration::from_secs(1)).await;
    running.start_again();
    let mut checks = ["bare", "frozen"].map(|id| never(id, 1.0));
    let watch = Watch::start(&running, move |scrape| checks.iter_mut().try_for_each(|check| check(scrape)));
    running.wait_ready().await;
    bridge.drained(&running, SOON).await;
    for id in ["bare", "frozen"] {
        running.wait_value(SOON, "heartbeat_publisher_up", &label(id), 0.0).await;
    }
    running.wait_absent(SOON, "heartbeat_component_up", &frozen_labels).await;
    watch.end();
}
