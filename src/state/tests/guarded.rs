//! What a stranger can do with genuine messages of a publisher that is guarded: send them again, or late.

use proptest::prelude::*;

use super::*;

fn guarded(ms: i64) -> Receipt {
    Receipt { guarded: true, ..live(ms) }
}

/// So many lives of a publisher, each of three beats, all heard; returns every message and when the last one came.
fn lives(bench: &mut Bench, count: i64, clock_ms: i64) -> (Vec<Message>, i64) {
    let (mut sent, mut last) = (Vec::new(), 0);
    for life in 0..count {
        let began = life * HOUR_MS;
        let mut publisher = Publisher::start(began, clock_ms);
        for beat in 1..=3 {
            last = began + beat * INTERVAL_MS;
            sent.push(publisher.beat(last));
            bench.take(sent.last().unwrap(), guarded(last));
        }
    }
    (sent, last)
}

#[test]
fn a_life_beyond_those_remembered_is_not_brought_back() {
    let mut bench = Bench::default();
    let (sent, last) = lives(&mut bench, 12, 0);
    let record = bench.record.clone().unwrap();
    assert_eq!(record.lives.len(), record::LIVES_MAX);
    // The same without a guard: the dead rises.
    let mut open = Bench { record: Some(record.clone()) };
    assert_eq!(open.take(&sent[0], live(last + HOUR_MS)), Effect::Stored);
    assert_eq!(open.up(last + HOUR_MS), Some(true));

    assert_eq!(bench.take(&sent[0], guarded(last + HOUR_MS)), Effect::Superseded);
    assert_eq!(bench.up(last + HOUR_MS), Some(false));
    assert_eq!(bench.record.unwrap().lives, record.lives, "nothing is pushed out by it");
}

#[test]
fn a_tombstone_is_not_brought_back_unless_it_is_told_to() {
    let mut bench = Bench::default();
    let (sent, last) = lives(&mut bench, 12, 0);
    let tombstone = bench.record.unwrap().forget(at(last + 1));
    let mut bench = Bench { record: Some(tombstone.clone()) };
    assert_eq!(bench.take(&sent[0], guarded(last + HOUR_MS)), Effect::Superseded);
    assert!(bench.record.unwrap().is_forgotten());
    // The operator says that the clock was set back: the next life counts, and those that are remembered do not.
    let mut bench = Bench { record: Some(tombstone.without_starts()) };
    assert_eq!(bench.take(sent.last().unwrap(), guarded(last + HOUR_MS)), Effect::Superseded);
    let mut early = Publisher::start(last + HOUR_MS, -30 * HOUR_MS);
    assert_eq!(bench.take(&early.beat(last + HOUR_MS + 1), guarded(last + HOUR_MS + 1)), Effect::Stored);
}

#[test]
fn a_restart_with_the_clock_set_back_is_heard_once_the_clock_is_right() {
    let mut bench = Bench::default();
    let (_, last) = lives(&mut bench, 2, 0);
    let mut publisher = Publisher::start(last + 1000, -24 * HOUR_MS);
    let message = publisher.beat(last + 2000);
    let Message::V2(heartbeat) = &message else { panic!("version 2") };
    assert!(may_be_replayed(bench.record.as_ref().unwrap(), heartbeat));
    assert_eq!(bench.take(&message, guarded(last + 2000)), Effect::Superseded);
    publisher.clock_ms = 0;
    assert_eq!(bench.take(&publisher.beat(last + 3000), guarded(last + 3000)), Effect::Stored);
}

#[test]
fn a_clock_that_was_ahead_and_was_set_right_holds_nobody_up() {
    let mut bench = Bench::default();
    let mut publisher = Publisher::start(0, 24 * HOUR_MS);
    bench.take(&publisher.beat(INTERVAL_MS), guarded(INTERVAL_MS));
    publisher.clock_ms = 0;
    bench.take(&publisher.beat(2 * INTERVAL_MS), guarded(2 * INTERVAL_MS));
    let mut next = Publisher::start(3 * INTERVAL_MS, 0);
    assert_eq!(bench.take(&next.beat(4 * INTERVAL_MS), guarded(4 * INTERVAL_MS)), Effect::Stored);
}

#[test]
fn a_heartbeat_that_was_held_back_is_as_old_as_it_is() {
    for (is_guarded, alive) in [(true, false), (false, true)] {
        let mut bench = Bench::default();
        let (_, last) = lives(&mut bench, 1, 7_000);
        let mut publisher = Publisher::start(last, 7_000);
        bench.take(&publisher.beat(last + 1000), guarded(last + 1000));
        let withheld = publisher.beat(last + 2000);
        let late = last + HOUR_MS;
        // Whoever sends it again gets a new stamp of the broker, too.
        let receipt = Receipt { guarded: is_guarded, broker_at: Some(at(late)), ..live(late) };
        assert_eq!(bench.take(&withheld, receipt), Effect::Stored);
        assert_eq!(bench.up(late), Some(alive));
    }
}

#[test]
fn neither_a_paused_machine_nor_a_stepped_clock_delays_anybody() {
    let mut bench = Bench::default();
    let mut publisher = Publisher::start(0, 0);
    bench.take(&publisher.beat(INTERVAL_MS), guarded(INTERVAL_MS));
    // An hour's pause: its own time stood still, and its wall clock is set right.
    publisher.began += HOUR_MS;
    let mut now = HOUR_MS + 2 * INTERVAL_MS;
    bench.take(&publisher.beat(now), guarded(now));
    assert_eq!(bench.record.as_ref().unwrap().last_seen, Some(at(now)));
    // The wall clock is set back.
    publisher.clock_ms = -HOUR_MS;
    now += INTERVAL_MS;
    bench.take(&publisher.beat(now), guarded(now));
    assert_eq!(bench.record.unwrap().last_seen, Some(at(now)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever was delivered is sent again, as often and in whatever order, after the publisher's death: it stays dead.
    #[test]
    fn the_dead_stay_dead(
        count in 1i64..14,
        clock_ms in -HOUR_MS..HOUR_MS,
        again in prop::collection::vec((any::<prop::sample::Index>(), 1i64..HOUR_MS, any::<bool>()), 1..40),
    ) {
        let mut bench = Bench::default();
        let (sent, last) = lives(&mut bench, count, clock_ms);
        let seen = bench.record.as_ref().unwrap().last_seen;
        prop_assert_eq!(seen, Some(at(last)));
        let mut now = last;
        for (which, wait, is_live) in again {
            now += wait;
            bench.take(which.get(&sent), Receipt { live: is_live, ..guarded(now) });
            prop_assert_eq!(bench.record.as_ref().unwrap().last_seen, seen);
        }
    }
}
