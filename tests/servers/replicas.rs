//! Two of our subscribers on one queue: both show everything, with the same counters, and either may die.

use std::time::{Duration, Instant};

use crate::support::bridge::{Bridge, COUNTED, SOON, counters, wait_three_beats};
use crate::support::program::Program;
use crate::support::proxy::{Proxy, Toxics};
use crate::support::v2::{Beating, Simulated};
use crate::support::wait::wait_until;
use crate::support::watch::{Watch, nobody_down};

/// In quiet both must show the same, within a second; a loaded machine gets more time, but no other result.
/// Tells how long it took.
#[allow(clippy::print_stderr)]
async fn agree(one: &Program, other: &Program, publishers: usize) {
    let quiet = Instant::now();
    wait_until("both show the same", SOON, async || {
        let (a, b) = (counters(one).await?, counters(other).await?);
        if a == b && a.len() == publishers * COUNTED.len() {
            return Ok(());
        }
        let differ: Vec<_> = a.iter().filter(|(key, value)| b.get(*key) != Some(value)).take(5).collect();
        Err(format!("{} and {} figures, {differ:?}", a.len(), b.len()))
    })
    .await;
    eprintln!("{publishers} publishers agree {:?} after the last was taken in", quiet.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn both_show_everything_and_either_may_die() {
    const PUBLISHERS: usize = 100;
    let bridge = Bridge::new().await;
    let setup = || bridge.subscriber().env("PUBLISHER_GRACE", "*=10s");
    let (mut one, mut other) = (setup().start_ready().await, setup().start_ready().await);
    let fleet = (0..PUBLISHERS).map(|number| Simulated::new(&format!("p{number:02}"))).collect();
    let beating = Beating::start(&bridge, fleet, Duration::from_millis(500), |_| {});
    let last = [("publisher", "p99")];
    for subscriber in [&one, &other] {
        subscriber.wait_value(SOON, "heartbeat_publisher_up", &last, 1.0).await;
    }
    for subscriber in [&one, &other] {
        let taken = [("outcome", "stored")];
        wait_until("both take part", SOON, async || {
            let stored = subscriber.metrics().await?.value("heartbeat_subscriber_messages_total", &taken);
            if stored > Some(50.0) { Ok(()) } else { Err(format!("{stored:?}")) }
        })
        .await;
    }
    let watches = [Watch::start(&one, nobody_down(&[])), Watch::start(&other, nobody_down(&[]))];
    for round in 0..2 {
        let (dying, staying) = if round == 0 { (&mut one, &other) } else { (&mut other, &one) };
        dying.kill();
        let before = counters(staying).await.unwrap();
        wait_three_beats(staying, &before).await;
        dying.start_again();
        dying.wait_ready().await;
    }
    let fleet = beating.end().await;
    bridge.drained(&one, SOON).await;
    bridge.drained(&other, SOON).await;
    agree(&one, &other, PUBLISHERS).await;
    for subscriber in [&one, &other] {
        bridge.assert_newest(subscriber, &fleet).await;
        let foreign =
            subscriber.metrics().await.unwrap().value("heartbeat_subscriber_foreign_consumers", &[]);
        assert_eq!(foreign, Some(0.0), "a replica was taken for a stranger");
    }
    for watch in watches {
        watch.end();
    }
}

/// Cut off from Redis, a replica takes its share of the heartbeats and cannot tell of it. Two publishers that beat in
/// turn each have all of theirs go to one and the same replica, so for one of them the other hears nothing at all.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_takes_that_is_cut_off_is_not_silence() {
    let bridge = Bridge::new().await;
    let path = Proxy::start(([127, 0, 0, 1], bridge.redis.port).into());
    let setup = || bridge.subscriber().env("PUBLISHER_GRACE", "*=10s");
    let cut_off = setup().env("REDIS_PORT", &path.port().to_string()).start_ready().await;
    let other = setup().start_ready().await;
    let beat = Duration::from_millis(500);
    let fleet = vec![Simulated::small("one"), Simulated::small("two")];
    let beating = Beating::start(&bridge, fleet, beat, |_| {});
    for id in ["one", "two"] {
        other.wait_value(SOON, "heartbeat_publisher_up", &[("publisher", id)], 1.0).await;
    }
    // Long enough for both replicas to have heard for a whole grace.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let fleet = beating.end().await;
    let watch = Watch::start(&other, nobody_down(&[]));
    // Silent for less than their grace, they go on when one replica is cut off.
    tokio::time::sleep(Duration::from_secs(4)).await;
    path.set_both(Toxics::swallow());
    let beating = Beating::start(&bridge, fleet, beat, |_| {});
    tokio::time::sleep(Duration::from_secs(14)).await;
    path.clear();
    for subscriber in [&cut_off, &other] {
        for id in ["one", "two"] {
            subscriber.wait_value(SOON, "heartbeat_publisher_up", &[("publisher", id)], 1.0).await;
        }
    }
    let fleet = beating.end().await;
    watch.end();
    bridge.drained(&cut_off, SOON).await;
    bridge.drained(&other, SOON).await;
    // What the one stored last the other shows as soon as it has followed.
    for publisher in &fleet {
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let newest = publisher.sequence as f64;
        let id = [("publisher", publisher.id.as_str())];
        other.wait_value(SOON, "heartbeat_publisher_sequence", &id, newest).await;
    }
    bridge.assert_newest(&other, &fleet).await;
}
