//! SIGKILL at random moments: nothing is lost, nothing older stands over newer.
//!
//! The long form: `HEARTBEAT_TEST_KILLS=50 HEARTBEAT_TEST_PUBLISHERS=5000 cargo test --test servers kills --
//! --nocapture`; `HEARTBEAT_TEST_SEED` chooses other moments.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::bridge::{Bridge, SOON, figure, report};
use crate::support::v2::{Chance, Simulated};
use crate::support::wait::wait_until;
use crate::support::watch::Watch;

/// Draining a large backlog with an unoptimised build on a machine that does other things.
const DRAIN_BOUND: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_killed_at_random_loses_nothing() {
    let wanted = figure("HEARTBEAT_TEST_KILLS", 10);
    let publishers = figure("HEARTBEAT_TEST_PUBLISHERS", 1000);
    let mut chance = Chance::new(figure("HEARTBEAT_TEST_SEED", 1));
    let bridge = Bridge::new().await;
    // Less than the backlog, so that how far it is taken can be seen from the queue.
    let window = (publishers / 2).to_string();
    let mut fleet: Vec<Simulated> = (0..publishers).map(|number| publisher(number, &mut chance)).collect();
    let (mut kills, mut attempts, mut unacked_in_all, mut sent) = (0, 0, 0u64, 0u64);
    let mut stored = BTreeMap::new();
    let mut keys = BTreeMap::new();
    let mut subscriber = None;
    while kills < wanted {
        attempts += 1;
        assert!(attempts <= wanted * 6, "of {attempts} kills only {kills} found unacked deliveries");
        if u64::from(bridge.depth_without_consumers().await) < publishers {
            sent += refill(&bridge, &mut fleet, &mut chance).await;
        }
        let left = u32::try_from(chance.below(bridge.depth_without_consumers().await.into())).unwrap();
        let running = match subscriber.take() {
            None => bridge.subscriber().env("RABBITMQ_PREFETCH", &window).start(),
            Some(mut ended) => {
                crate::support::program::Program::start_again(&mut ended);
                ended
            }
        };
        let mut running = running;
        // A random part of the backlog is taken, however fast this machine is.
        wait_until("so much of the backlog is taken", SOON, async || match bridge.depth().await {
            (ready, consumers) if consumers > 0 && ready <= left => Ok(()),
            other => Err(format!("{other:?}, {left} shall be left")),
        })
        .await;
        // Frozen first, so that the queue can be looked at as the kill finds it.
        running.signal(Signal::STOP);
        let (ready, consumers) = bridge.depth().await;
        running.kill();
        subscriber = Some(running);
        let left = bridge.depth_without_consumers().await;
        let unacked = u64::from(left.saturating_sub(ready));
        if consumers > 0 && unacked > 0 {
            kills += 1;
            unacked_in_all += unacked;
        }
        never_back(&bridge, &mut stored, &mut keys).await;
    }
    let mut running = subscriber.unwrap();
    running.start_again();
    let watch = Watch::only(&running, "heartbeat_subscriber_", |_| Ok(()));
    running.wait_ready().await;
    // One more of each, after everything: also who was never chosen has one.
    let last: Vec<Vec<u8>> = fleet.iter_mut().map(|publisher| beat(publisher, &mut chance)).collect();
    sent += last.len() as u64;
    bridge.send(last).await;
    bridge.drained(&running, DRAIN_BOUND).await;
    bridge.assert_newest(&running, &fleet).await;
    let seen = watch.end();
    report(&format!(
        "{publishers} publishers, {sent} messages, {kills} kills with {unacked_in_all} unacked deliveries in all \
         ({attempts} kills in all); slowest scrape {:?}",
        seen.slowest
    ));
}

fn publisher(number: u64, chance: &mut Chance) -> Simulated {
    let mut publisher = Simulated::small(&format!("p{number:05}"));
    let wrong = i64::try_from(chance.below(7200)).unwrap() - 3600;
    publisher.clock_error = jiff::SignedDuration::from_secs(wrong - 100_000);
    publisher
}

/// The next heartbeat, each a second of the publisher's own time after the one before.
fn beat(publisher: &mut Simulated, chance: &mut Chance) -> Vec<u8> {
    publisher.components[0].outcome =
        ["up", "up", "down", "unknown"][usize::try_from(chance.below(4)).unwrap()];
    let uptime = Duration::from_secs(100 + publisher.sequence);
    publisher.beat_at(uptime)
}

async fn refill(bridge: &Bridge, fleet: &mut [Simulated], chance: &mut Chance) -> u64 {
    let count = fleet.len() as u64 * 3;
    let bodies: Vec<Vec<u8>> = (0..count)
        .map(|_| {
            let chosen = usize::try_from(chance.below(fleet.len() as u64)).unwrap();
            beat(&mut fleet[chosen], chance)
        })
        .collect();
    bridge.send(bodies).await;
    count
}

/// Nothing in Redis goes back, from kill to kill.
async fn never_back(
    bridge: &Bridge,
    stored: &mut BTreeMap<String, (u64, u64)>,
    keys: &mut BTreeMap<String, String>,
) {
    for (id, record) in bridge.records().await {
        let now = (record["v2"]["sequence"].as_u64().unwrap(), record["heartbeats"].as_u64().unwrap());
        let before = stored.insert(id.clone(), now).unwrap_or_default();
        assert!(before.0 <= now.0 && before.1 <= now.1, "{id} went from {before:?} back to {now:?}");
    }
    for (key, at) in bridge.contract_keys().await {
        let before = keys.insert(key.clone(), at.clone()).unwrap_or_default();
        assert!(before <= at, "{key} went from {before} back to {at}");
    }
}
