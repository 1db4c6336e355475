//! The oracle catches a lie of each kind, and lets the truth pass.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Bounds, Oracle};
use crate::chaos::ledger::{At, Fate, Key};
use crate::support::scrape::Scrape;

const BOUNDS: Bounds = Bounds { grace: Duration::from_secs(10), slack: Duration::from_secs(1) };

fn at(seconds: u64) -> At {
    Duration::from_secs(seconds)
}

fn key(epoch: &str, sequence: u64) -> Key {
    Key { publisher: "p".into(), epoch: epoch.into(), sequence }
}

/// One publisher with a component; five heartbeats were made at 1 s to 5 s and confirmed at once, the fourth said down.
fn oracle() -> Oracle {
    let mut oracle = Oracle::new(BOUNDS, 2);
    for sequence in 1..=5 {
        claim(&mut oracle, "e", sequence, at(sequence), Fate::Confirmed(at(sequence)));
    }
    oracle
}

fn claim(oracle: &mut Oracle, epoch: &str, sequence: u64, when: At, fate: Fate) {
    let outcome = if sequence == 4 { "down" } else { "up" };
    let outcomes = BTreeMap::from([(("host".to_owned(), "db".to_owned()), outcome.to_owned())]);
    oracle.ledger.claim(when, &key(epoch, sequence), outcomes);
    oracle.ledger.settle(&key(epoch, sequence), fate);
}

fn shows(epoch: &str, sequence: u64, up: Option<u8>, component: Option<u8>) -> Scrape {
    let mut text = format!(
        "heartbeat_subscriber_view_synced 1\nheartbeat_publisher_sequence{{publisher=\"p\"}} {sequence}\n\
         heartbeat_publisher_info{{publisher=\"p\",version=\"1\",epoch=\"{epoch}\"}} 1\n"
    );
    if let Some(up) = up {
        text += &format!("heartbeat_publisher_up{{publisher=\"p\"}} {up}\n");
    }
    if let Some(value) = component {
        let labels = "publisher=\"p\",kind=\"host\",name=\"db\",queue=\"\"";
        text += &format!("heartbeat_component_up{{{labels}}} {value}\n");
    }
    Scrape::parse(&text).unwrap()
}

/// The invariants that a scrape at a time breaks.
fn judged(oracle: &mut Oracle, when: At, scrape: &Scrape) -> Vec<&'static str> {
    let before = oracle.violations.len();
    oracle.judge(when, 0, scrape);
    oracle.violations[before..].iter().map(|violation| violation.invariant).collect()
}

#[test]
fn the_truth_passes() {
    let mut oracle = oracle();
    assert_eq!(judged(&mut oracle, at(4), &shows("e", 3, Some(1), Some(1))), [""; 0]);
    assert_eq!(judged(&mut oracle, at(4), &shows("e", 4, Some(1), Some(0))), [""; 0]);
    assert_eq!(judged(&mut oracle, at(14), &shows("e", 5, Some(1), Some(1))), [""; 0]);
    assert_eq!(judged(&mut oracle, at(15), &shows("e", 5, None, None)), [""; 0], "no verdict is no lie");
    assert_eq!(judged(&mut oracle, at(16), &shows("e", 5, Some(0), None)), [""; 0]);
    assert_eq!((oracle.seen.up, oracle.seen.stale, oracle.seen.withheld, oracle.seen.down), (3, 1, 1, 1));
}

#[test]
fn up_past_the_grace_is_a_lie() {
    let mut oracle = oracle();
    assert_eq!(judged(&mut oracle, at(17), &shows("e", 5, Some(1), Some(1))), ["I2"]);
    // Something later may have come: the benefit of the doubt.
    claim(&mut oracle, "e", 6, at(6), Fate::Unsure(at(8)));
    assert_eq!(judged(&mut oracle, at(17), &shows("e", 5, Some(1), Some(1))), [""; 0]);
    assert_eq!(judged(&mut oracle, at(20), &shows("e", 5, Some(1), Some(1))), ["I2"]);
    // What was refused is none.
    claim(&mut oracle, "e", 7, at(19), Fate::Refused);
    assert_eq!(judged(&mut oracle, at(20), &shows("e", 5, Some(1), Some(1))), ["I2"]);
}

#[test]
fn what_was_held_on_the_way_may_come_when_it_is_released() {
    let mut oracle = oracle();
    oracle.ledger.hold(at(5));
    claim(&mut oracle, "e", 6, at(6), Fate::Unsure(at(9)));
    assert_eq!(judged(&mut oracle, at(20), &shows("e", 6, Some(1), Some(1))), [""; 0]);
    oracle.ledger.release(at(20));
    assert_eq!(judged(&mut oracle, at(32), &shows("e", 6, Some(1), Some(1))), [""; 0]);
    assert_eq!(judged(&mut oracle, at(34), &shows("e", 6, Some(1), Some(1))), ["I2"]);
}

#[test]
fn a_component_that_is_shown_while_its_publisher_is_not_up_is_a_lie() {
    let mut oracle = oracle();
    assert_eq!(judged(&mut oracle, at(16), &shows("e", 5, Some(0), Some(1))), ["I2"]);
    assert_eq!(judged(&mut oracle, at(16), &shows("e", 5, None, Some(1))), ["I2"]);
}

#[test]
fn a_component_otherwise_than_it_was_sent_is_a_lie() {
    let mut oracle = oracle();
    assert_eq!(judged(&mut oracle, at(5), &shows("e", 4, Some(1), Some(1))), ["I2"]);
    assert_eq!(judged(&mut oracle, at(5), &shows("e", 5, Some(1), Some(0))), ["I2"]);
}

#[test]
fn turning_stale_while_heartbeats_reach_the_broker_is_a_lie() {
    let mut oracle = oracle();
    assert_eq!(judged(&mut oracle, at(13), &shows("e", 5, Some(0), None)), ["I3"]);
    assert_eq!(judged(&mut oracle, at(13), &shows("e", 5, Some(0), None)), [""; 0], "told once");
    assert_eq!(judged(&mut oracle, at(14), &shows("e", 5, Some(1), Some(1))), [""; 0]);
    assert_eq!(judged(&mut oracle, at(15), &shows("e", 5, Some(0), None)), [""; 0]);
    // It speaks again, and the news of it takes a while, also beyond a restart.
    claim(&mut oracle, "e", 6, at(16), Fate::Confirmed(at(16)));
    assert_eq!(judged(&mut oracle, at(18), &shows("e", 5, Some(0), None)), [""; 0]);
    oracle.ended(0);
    assert_eq!(judged(&mut oracle, at(18), &shows("e", 5, Some(0), None)), [""; 0]);
    // One that may not have reached it proves nothing, and one that has only just reached it, neither.
    assert_eq!(judged(&mut oracle, at(18), &shows("e", 6, Some(1), Some(1))), [""; 0]);
    claim(&mut oracle, "e", 7, at(20), Fate::Unsure(at(21)));
    claim(&mut oracle, "e", 8, at(26), Fate::Confirmed(at(26)));
    assert_eq!(judged(&mut oracle, at(26), &shows("e", 6, Some(0), None)), [""; 0]);
}

#[test]
fn going_back_is_a_lie_save_after_a_restart() {
    let mut oracle = oracle();
    assert_eq!(judged(&mut oracle, at(5), &shows("e", 5, Some(1), Some(1))), [""; 0]);
    assert_eq!(judged(&mut oracle, at(5), &shows("e", 3, Some(1), Some(1))), ["I4"]);
    oracle.ended(0);
    assert_eq!(judged(&mut oracle, at(5), &shows("e", 3, Some(1), Some(1))), [""; 0]);
    claim(&mut oracle, "f", 1, at(6), Fate::Confirmed(at(6)));
    assert_eq!(judged(&mut oracle, at(6), &shows("f", 1, Some(1), Some(1))), [""; 0]);
    assert_eq!(judged(&mut oracle, at(6), &shows("e", 5, Some(1), Some(1))), ["I4"]);
}

#[test]
fn what_was_never_sent_is_a_lie() {
    let mut oracle = oracle();
    assert_eq!(judged(&mut oracle, at(5), &shows("e", 6, Some(1), Some(1))), ["I4"]);
    assert_eq!(judged(&mut oracle, at(5), &shows("other", 1, Some(1), Some(1))), ["I4"]);
    let stranger = Scrape::parse("heartbeat_publisher_sequence{publisher=\"q\"} 1").unwrap();
    assert_eq!(judged(&mut oracle, at(5), &stranger), ["I4"]);
}

fn process(oracle: &mut Oracle, when: At, up: Option<u8>, port: Option<u8>) -> Vec<&'static str> {
    let mut scrape = shows("whatever", 9, up, port);
    for sample in &mut scrape.samples {
        sample.labels.entry("publisher".into()).and_modify(|id| *id = "oslo".into());
    }
    judged(oracle, when, &scrape)
}

#[test]
fn a_process_and_its_ports_are_judged_by_their_lives() {
    let mut oracle = Oracle::new(BOUNDS, 1);
    oracle.ledger.process(at(0), "oslo", true);
    oracle.ledger.component(at(0), "oslo", "db", true);
    assert_eq!(process(&mut oracle, at(50), Some(1), Some(1)), [""; 0]);
    oracle.ledger.component(at(50), "oslo", "db", false);
    assert_eq!(process(&mut oracle, at(60), Some(1), Some(1)), [""; 0]);
    assert_eq!(process(&mut oracle, at(62), Some(1), Some(1)), ["I2"]);
    assert_eq!(process(&mut oracle, at(62), Some(1), Some(0)), [""; 0]);
    oracle.ledger.component(at(70), "oslo", "db", true);
    assert_eq!(process(&mut oracle, at(82), Some(1), Some(0)), ["I3"]);
    oracle.ledger.process(at(90), "oslo", false);
    assert_eq!(process(&mut oracle, at(100), Some(1), Some(1)), [""; 0]);
    assert_eq!(process(&mut oracle, at(102), Some(1), Some(1)), ["I2"]);
    oracle.ledger.proven(at(98), "oslo");
    assert_eq!(process(&mut oracle, at(105), Some(0), None), ["I3"]);
    assert_eq!(process(&mut oracle, at(106), Some(1), None), ["I2"]);
    assert_eq!(process(&mut oracle, at(109), Some(0), None), [""; 0]);
}

#[test]
fn fresh_is_what_was_made_since() {
    let mut oracle = oracle();
    oracle.judge(at(5), 0, &shows("e", 5, Some(1), Some(1)));
    oracle.judge(at(5), 1, &shows("e", 3, Some(1), Some(1)));
    assert_eq!(oracle.not_fresh_since(at(3)), [""; 0]);
    assert_eq!(oracle.not_fresh_since(at(4)), ["p on replica 1"]);
    oracle.judge(at(5), 1, &shows("e", 5, None, None));
    assert_eq!(oracle.not_fresh_since(at(3)), ["p on replica 1"]);
    oracle.ledger.beats("p", false);
    assert_eq!(oracle.not_fresh_since(at(3)), [""; 0], "nobody waits for the dead");
}

#[test]
fn known_to_all_is_what_each_has_shown() {
    let mut oracle = oracle();
    oracle.judge(at(5), 0, &shows("e", 5, Some(1), Some(1)));
    assert!(!oracle.is_known_to_all(&key("e", 3)));
    oracle.judge(at(5), 1, &shows("e", 3, Some(1), Some(1)));
    assert!(oracle.is_known_to_all(&key("e", 3)) && !oracle.is_known_to_all(&key("e", 4)));
    oracle.ended(1);
    assert!(!oracle.is_known_to_all(&key("e", 3)));
}

fn record(highest: u64, heartbeats: u64, lost: u64) -> BTreeMap<String, Value> {
    let record = json!({
        "heartbeats": heartbeats, "lost": lost, "shown": "e", "lives": [{"epoch": "e", "highest": highest}],
    });
    BTreeMap::from([("p".to_owned(), record)])
}

/// What a look at the store in the end breaks.
fn ends(mut oracle: Oracle, records: &BTreeMap<String, Value>) -> Vec<&'static str> {
    oracle.judge_end(at(20), records);
    oracle.violations.iter().map(|violation| violation.invariant).collect()
}

#[test]
fn what_was_confirmed_must_be_stored() {
    assert_eq!(ends(oracle(), &record(5, 5, 0)), [""; 0]);
    assert_eq!(ends(oracle(), &record(4, 4, 0)), ["I1"]);
    assert_eq!(ends(oracle(), &BTreeMap::new()), ["I1"]);
    assert_eq!(ends(oracle(), &record(5, 4, 1)), ["I1"], "counted as lost, and was not");
    let mut unsure = oracle();
    unsure.ledger.settle(&key("e", 5), Fate::Unsure(at(6)));
    assert_eq!(ends(unsure.clone(), &record(4, 4, 0)), [""; 0], "perhaps the broker never had it");
    assert_eq!(ends(unsure, &record(5, 4, 1)), [""; 0]);
    let mut deleted = oracle();
    deleted.ledger.queue_deleted(at(5));
    assert_eq!(ends(deleted.clone(), &record(4, 4, 0)), [""; 0]);
    assert_eq!(ends(deleted, &record(3, 3, 0)), ["I1"], "that one came before");
    let mut killed = oracle();
    killed.ledger.killed_cut_off(at(5));
    assert_eq!(ends(killed.clone(), &record(5, 4, 1)), [""; 0]);
    assert_eq!(ends(killed.clone(), &record(5, 3, 2)), ["I1"]);
    assert_eq!(ends(killed, &record(4, 4, 0)), ["I1"], "the newest always comes again");
    let mut newer = oracle();
    claim(&mut newer, "f", 1, at(6), Fate::Confirmed(at(6)));
    assert_eq!(ends(newer, &record(5, 5, 0)), ["I1"], "a newer life is not shown");
}

#[test]
fn a_store_that_goes_back_or_invents_is_a_lie() {
    let mut oracle = oracle();
    oracle.judge_records(at(5), &record(5, 5, 0));
    assert_eq!(oracle.violations, []);
    oracle.judge_records(at(5), &record(4, 5, 0));
    oracle.judge_records(at(5), &record(6, 6, 0));
    oracle.judge_records(at(5), &BTreeMap::new());
    let found: Vec<_> = oracle.violations.iter().map(|violation| violation.invariant).collect();
    assert_eq!(found, ["I4", "I4", "I4"]);
}

#[test]
fn a_consumer_that_is_nobodys_excuses_no_longer_than_it_is_counted_nor_than_half_a_minute() {
    let mut oracle = oracle();
    assert_eq!(oracle.haunted_until(at(10)), at(10));
    let counts =
        |counted: u8| Scrape::parse(&format!("heartbeat_subscriber_foreign_consumers {counted}\n")).unwrap();
    judged(&mut oracle, at(12), &counts(1));
    judged(&mut oracle, at(14), &counts(0));
    assert_eq!([5, 10, 20].map(|since| oracle.haunted_until(at(since))), [12, 12, 20].map(at));
    judged(&mut oracle, at(60), &counts(1));
    assert_eq!(oracle.haunted_until(at(10)), at(40));
}
