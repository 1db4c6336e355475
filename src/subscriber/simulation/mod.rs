//! The subscriber's core against a simulated world: publishers, a broker, a store, and replicas that are killed,
//! paused and cut off between any two steps. Nothing waits and no clock runs, so that a hundred thousand
//! interruptions take seconds, and a seed tells the whole story again.
//!
//! In reading order: [`world`] takes one random step after the other; [`fleet`] are the publishers, [`broker`] and
//! [`redis`] the servers, [`process`] one subscriber; [`oracle`] knows what is true and judges each step.
//!
//! The long form: `HEARTBEAT_TEST_SIMULATED_KILLS=100000 cargo test --release --lib simulation -- --nocapture`;
//! `HEARTBEAT_TEST_SEED` chooses another beginning.

mod broker;
mod chance;
mod fleet;
mod oracle;
mod process;
mod redis;
mod world;

use std::collections::BTreeMap;

use world::{Shape, World};

/// A figure of a long form, from the environment.
fn figure(variable: &str, default: u64) -> u64 {
    let given = std::env::var_os(variable).and_then(|text| text.into_string().ok());
    given.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}: not a number")))
}

/// What a run must have seen, or it has proved nothing.
const SOMETIMES: &[&str] = &[
    "killed",
    "killed with deliveries unacked",
    "killed with a batch on its way",
    "killed with acks unwritten",
    "killed after letting go",
    "redelivered",
    "sent twice",
    "sent out of order",
    "batch stored, answer lost",
    "batch lost",
    "sent again as it was",
    "conflict",
    "let go",
    "channel lost",
    "paused",
    "store away",
    "one cut off from the store",
    "store went back",
    "poison",
    "publisher restarted",
    "publisher restarted with its clock back",
    "publisher's clock stepped",
    "publisher dead",
    "seen stale",
    "backlog of a dead publisher",
];

#[test]
#[expect(clippy::print_stdout, reason = "the runner shows it with --nocapture, and beside a failure")]
fn interrupted_anywhere_it_neither_lies_nor_loses() {
    let wanted = figure("HEARTBEAT_TEST_SIMULATED_KILLS", 400);
    let first = figure("HEARTBEAT_TEST_SEED", 1);
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    let (mut worlds, mut steps) = (0, 0);
    while seen.get("killed").copied().unwrap_or(0) < wanted {
        let seed = first + worlds;
        let mut world = World::new(seed, Shape::of(seed));
        // The runner shows it beside a failure.
        println!("seed {seed}");
        world.run();
        world.come_to_rest();
        worlds += 1;
        steps += world.steps;
        for (what, times) in world.oracle.seen {
            *seen.entry(what).or_default() += times;
        }
    }
    println!("{worlds} worlds from seed {first}, {steps} steps: {seen:#?}");
    for what in SOMETIMES {
        assert!(seen.contains_key(what), "it proves little: never once: {what}");
    }
}
