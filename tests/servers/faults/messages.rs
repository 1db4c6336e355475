//! Messages that come more than once, in another order, or again a day later.

use crate::support::bridge::{Bridge, SOON, report};
use crate::support::program::Program;
use crate::support::v2::{Chance, Simulated};
use crate::support::wait::wait_until;
use crate::support::watch::Watch;

use super::stage::never_back;

#[tokio::test(flavor = "multi_thread")]
async fn thrice_shuffled_and_sent_again_counts_once() {
    let bridge = Bridge::new().await;
    let subscriber = bridge.subscriber().start_ready().await;
    let watch = Watch::start(&subscriber, never_back());
    let mut fleet: Vec<Simulated> = (0..20).map(|number| Simulated::new(&format!("p{number:02}"))).collect();
    // Half a window of sequence numbers each, so that what is missing is not given up on.
    let once: Vec<Vec<u8>> =
        (0..30).flat_map(|_| fleet.iter_mut().map(Simulated::beat).collect::<Vec<_>>()).collect();
    let mut bodies = [once.clone(), once.clone(), once].concat();
    let mut chance = Chance::new(crate::support::bridge::figure("HEARTBEAT_TEST_SEED", 1));
    for at in (1..bodies.len()).rev() {
        bodies.swap(at, usize::try_from(chance.below(at as u64 + 1)).unwrap());
    }
    bridge.send(&bodies).await;
    taken(&subscriber, 1800.0).await;
    let outcome = async |outcome: &str| {
        let scrape = subscriber.metrics().await.unwrap();
        scrape.value("heartbeat_subscriber_messages_total", &[("outcome", outcome)]).unwrap()
    };
    let firsts = outcome("stored").await + outcome("superseded").await;
    report(&format!(
        "26 three times, shuffled: {} late, {} again",
        outcome("superseded").await,
        outcome("duplicate").await
    ));
    // What was shuffled below the first number that was seen is late, not lost; nothing counts twice.
    assert_eq!((firsts, outcome("duplicate").await), (600.0, 1200.0));
    let records = bridge.records().await;
    for publisher in &fleet {
        let record = &records[&publisher.id];
        assert_eq!(record["v2"]["sequence"], publisher.sequence, "{record}");
        assert_eq!((record["heartbeats"].as_u64(), record["lost"].as_u64()), (Some(30), Some(0)), "{record}");
    }

    // All of it once more, as after a restore of the broker's disk.
    bridge.send(&bodies).await;
    taken(&subscriber, 3600.0).await;
    assert_eq!(outcome("duplicate").await, 3000.0);
    for (id, record) in bridge.records().await {
        assert_eq!(record["v2"], records[&id]["v2"], "{id} was changed by what was sent again");
    }
    watch.end();
}

/// Waits until so many messages have ended, one way or another.
async fn taken(subscriber: &Program, messages: f64) {
    wait_until("all are taken in", SOON, async || {
        match subscriber.metrics().await?.sum("heartbeat_subscriber_messages_total", &[]) {
            ended if ended == messages => Ok(()),
            ended => Err(format!("{ended} of {messages}")),
        }
    })
    .await;
}
