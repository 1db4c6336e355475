//! What is asked of a world, whatever it is made of, between rounds and when all has come to rest.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::world::{Publisher, Truth};
use crate::support::bridge::{SOON, counters};
use crate::support::program::Program;
use crate::support::v2::Simulated;
use crate::support::wait::wait_until;
use crate::support::watch::Watch;

/// I8: when the last fault is lifted, all must be well within ten seconds and one beat.
pub const RECOVERY: Duration = Duration::from_secs(11);

/// I9: in quiet all replicas show the same within this.
const AGREEMENT: Duration = Duration::from_secs(2);

/// The parts of a world that are judged.
#[derive(Clone, Copy)]
pub struct Reckoning<'a> {
    /// What is true.
    pub truth: &'a Truth,
    /// Each of all scrapes of one subscriber.
    pub watches: &'a [Watch],
    /// The subscribers.
    pub subscribers: &'a [Mutex<Program>],
    /// Publishers that are processes.
    pub publishers: &'a [Publisher],
    /// How to run it again.
    pub again: &'a str,
}

impl Reckoning<'_> {
    /// Something does not hold.
    pub fn broken(&self, invariant: &'static str, what: String) {
        self.truth.oracle().violation(self.truth.now(), invariant, what);
    }

    /// Panics where something did not hold, with what happened around the first.
    pub fn halt_on_violations(&self) {
        let broken = self.watches.iter().flat_map(|watch| watch.seen().broken);
        broken.for_each(|what| self.broken("I6", what));
        let violations = self.truth.oracle().violations.clone();
        let Some(first) = violations.first() else { return };
        let mut text = String::from("the oracle has caught a lie or a loss\n");
        for violation in &violations {
            let (at, what) = (violation.at.as_secs_f64(), &violation.what);
            writeln!(text, "{at:8.2} {} {what}", violation.invariant).unwrap();
        }
        writeln!(text, "what happened around the first:").unwrap();
        for line in self.truth.around(first.at, Duration::from_secs(60)) {
            writeln!(text, "{line}").unwrap();
        }
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        panic!("{text}load: {load}again: {}", self.again);
    }

    /// In quiet all recovers; then the processes that publish end in order.
    pub async fn come_to_rest(&self) {
        if let Err(missing) = self.truth.recovered(self.truth.now(), RECOVERY).await {
            self.broken("I8", format!("in quiet: {missing:?}"));
        }
        for publisher in self.publishers {
            publisher.program.lock().await.terminate(SOON).await;
            self.truth.oracle().ledger.process(self.truth.now(), &publisher.id, false);
        }
    }

    /// I9: how long it took until all replicas showed the same.
    pub async fn agree(&self) -> Duration {
        let quiet = Instant::now();
        wait_until("all replicas show the same", SOON, async || {
            let first = counters(&*self.subscribers[0].lock().await).await?;
            for other in &self.subscribers[1..] {
                let other = counters(&*other.lock().await).await?;
                let differ: Vec<_> =
                    first.iter().filter(|(key, value)| other.get(*key) != Some(value)).collect();
                if !differ.is_empty() || first.len() != other.len() {
                    return Err(format!("{differ:?}"));
                }
            }
            Ok(())
        })
        .await;
        let took = quiet.elapsed();
        if took > AGREEMENT {
            self.broken("I9", format!("the replicas agreed after {took:?}"));
        }
        took
    }

    /// I1: what is stored in the end, ours and the contract's.
    pub fn judge_stored(
        &self,
        records: &BTreeMap<String, Value>,
        contract_keys: &BTreeMap<String, String>,
        fleet: &[Simulated],
    ) {
        self.truth.oracle().judge_end(self.truth.now(), records);
        for (key, at) in fleet.iter().flat_map(Simulated::contract_keys) {
            if contract_keys.get(&key) != Some(&at) {
                self.broken("I1", format!("{key} is {:?} and should be {at}", contract_keys.get(&key)));
            }
        }
    }
}
