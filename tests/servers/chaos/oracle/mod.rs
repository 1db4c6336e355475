//! Judges what is shown and what is stored by the ledger. Pure: scrapes and records in, verdicts out.
//!
//! - I2: no publisher is shown as up, and no component as it is not, when that cannot be known any more.
//! - I3: nobody turns stale whose heartbeats reach the broker, whatever else is broken. Who was stale stays so until the
//!   news of its return comes, and I8 bounds that.
//! - I4: nothing shown or stored goes back, and nothing is shown that was never sent, or otherwise than it was sent.
//! - I1, at the end: every heartbeat that was confirmed is stored, or a newer one is, and none is counted as lost.
//!
//! I6 is judged by `support::watch` at every scrape.

mod stored;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::ledger::{At, Key, Ledger};
use crate::support::scrape::Scrape;

/// What the subscribers are told (`PUBLISHER_GRACE`), and by what the oracle judges.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Silence after which a publisher is stale.
    pub grace: Duration,
    /// What a look, and a loaded machine, may take: the ε of I2, with the time between two scrapes.
    pub slack: Duration,
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When it was seen.
    pub at: At,
    /// What is broken, such as `I2`.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

/// What must have been seen for a run to have proven anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Scrapes that were judged.
    pub scrapes: u64,
    /// Verdicts that a publisher is up.
    pub up: u64,
    /// Verdicts that one is stale, of one that was.
    pub stale: u64,
    /// Publishers without a verdict, while the view was in step.
    pub withheld: u64,
    /// Components that were shown as down.
    pub down: u64,
}

/// What one replica shows of one publisher.
#[derive(Clone, Debug, Default)]
struct Shown {
    up: Option<f64>,
    epoch: Option<String>,
    sequence: Option<u64>,
    /// By kind and name.
    components: BTreeMap<(String, String), f64>,
}

/// The judge.
#[derive(Clone, Debug)]
pub struct Oracle {
    /// The truth.
    pub ledger: Ledger,
    /// What did not hold.
    pub violations: Vec<Violation>,
    /// What was seen.
    pub seen: Seen,
    bounds: Bounds,
    /// By replica: what its process has shown, the number of the life and the sequence.
    shown: Vec<BTreeMap<String, (usize, u64)>>,
    /// By replica: who was stale by its latest verdict, also before a restart.
    stale: Vec<BTreeSet<String>>,
    /// By replica: its process does not run.
    dead: Vec<bool>,
    /// By replica: who is shown as up with a heartbeat, or a proof, made at this time.
    fresh: Vec<BTreeMap<String, At>>,
    /// When a scrape last told of a consumer that is nobody's.
    stranger_at: Option<At>,
    stored: stored::Stored,
}

impl Oracle {
    /// One for so many replicas.
    pub fn new(bounds: Bounds, replicas: usize) -> Self {
        Self {
            ledger: Ledger::default(),
            violations: Vec::new(),
            seen: Seen::default(),
            bounds,
            shown: vec![BTreeMap::new(); replicas],
            stale: vec![BTreeSet::new(); replicas],
            dead: vec![false; replicas],
            fresh: vec![BTreeMap::new(); replicas],
            stranger_at: None,
            stored: stored::Stored::default(),
        }
    }

    /// A replica's process ended: the next may show less, but nothing false. It learns from the store whom the others
    /// take for stale.
    pub fn ended(&mut self, replica: usize) {
        let known = self.stale.iter().flatten().cloned().collect();
        self.stale[replica] = known;
        self.shown[replica].clear();
        self.fresh[replica].clear();
    }

    /// A replica's process does not run for a while: nothing is asked of it.
    pub fn dead(&mut self, replica: usize, dead: bool) {
        self.dead[replica] = dead;
    }

    /// Judges a scrape of a replica that was asked for at `at`.
    pub fn judge(&mut self, at: At, replica: usize, scrape: &Scrape) {
        self.seen.scrapes += 1;
        let synced = scrape.value("heartbeat_subscriber_view_synced", &[]) == Some(1.0);
        if scrape.value("heartbeat_subscriber_foreign_consumers", &[]).is_some_and(|counted| counted > 0.0) {
            self.stranger_at = Some(at);
        }
        self.fresh[replica].clear();
        for (publisher, shown) in read(scrape) {
            self.judge_freshness(at, replica, &publisher, &shown, synced);
            self.judge_content(at, replica, &publisher, &shown);
            self.judge_ports(at, replica, &publisher, &shown);
        }
    }

    fn judge_freshness(&mut self, at: At, replica: usize, publisher: &str, shown: &Shown, synced: bool) {
        let Bounds { grace, slack } = self.bounds;
        let latest = self.ledger.spoke_at_latest(publisher, at);
        match shown.up {
            Some(1.0) => {
                self.seen.up += 1;
                self.stale[replica].remove(publisher);
                if latest.is_none_or(|latest| at > latest + grace + slack) {
                    self.broken(at, "I2", replica, publisher, format!("up, but it last spoke at {latest:?}"));
                }
            }
            Some(_) => {
                self.seen.stale += 1;
                let turned = self.stale[replica].insert(publisher.to_owned());
                let (from, to) = ((at + slack).saturating_sub(grace), at.saturating_sub(slack));
                let spoke = self.ledger.spoke_for_certain(publisher, from, to);
                if let Some(spoke) = spoke.filter(|_| turned) {
                    self.broken(at, "I3", replica, publisher, format!("stale, but it spoke at {spoke:?}"));
                }
            }
            None => self.seen.withheld += u64::from(synced),
        }
        if shown.up != Some(1.0) && !shown.components.is_empty() {
            let components = &shown.components;
            self.broken(at, "I2", replica, publisher, format!("{:?}, but shows {components:?}", shown.up));
        }
    }

    /// What is shown is what was sent under that number, and no older than what was shown before.
    fn judge_content(&mut self, at: At, replica: usize, publisher: &str, shown: &Shown) {
        if !self.ledger.claimed.contains_key(publisher) {
            if !self.ledger.processes.contains_key(publisher) {
                self.broken(at, "I4", replica, publisher, "nobody of this name exists".to_owned());
            }
            return;
        }
        let (Some(epoch), Some(sequence)) = (&shown.epoch, shown.sequence) else {
            return self.broken(at, "I4", replica, publisher, format!("without a number: {shown:?}"));
        };
        let key = Key { publisher: publisher.to_owned(), epoch: epoch.clone(), sequence };
        let Some((life, beat)) = self.ledger.beat(&key) else {
            return self.broken(at, "I4", replica, publisher, format!("{key:?} was never sent"));
        };
        let differs = shown.components.iter().find(|(name, value)| {
            let told = beat.outcomes.get(name).map(String::as_str);
            told != Some(if **value == 1.0 { "up" } else { "down" })
        });
        let differs = differs.map(|(name, value)| {
            format!("{sequence} shows {name:?} as {value}, and said {:?}", beat.outcomes.get(name))
        });
        let claimed = beat.claimed;
        self.seen.down += shown.components.values().filter(|value| **value == 0.0).count() as u64;
        if let Some(differs) = differs {
            self.broken(at, "I2", replica, publisher, differs);
        }
        let before = self.shown[replica].insert(publisher.to_owned(), (life, sequence)).unwrap_or_default();
        if before > (life, sequence) {
            let now = (life, sequence);
            self.broken(at, "I4", replica, publisher, format!("went from {before:?} back to {now:?}"));
        }
        if shown.up == Some(1.0) {
            self.fresh[replica].insert(publisher.to_owned(), claimed);
        }
    }

    /// What a process says of the ports that it checks is true, or was a grace ago.
    fn judge_ports(&mut self, at: At, replica: usize, publisher: &str, shown: &Shown) {
        let Some(process) = self.ledger.processes.get(publisher) else { return };
        let (runs, proven, truth) =
            (process.runs, process.proven.last().copied(), process.components.clone());
        let settled = self.bounds.grace + self.bounds.slack;
        let mut as_they_are = true;
        for ((_, name), value) in &shown.components {
            let Some((up, since)) = truth.get(name) else {
                self.broken(at, "I4", replica, publisher, format!("{name} is not checked"));
                continue;
            };
            self.seen.down += u64::from(*value == 0.0);
            let differs = (*value == 1.0) != *up;
            as_they_are &= !differs;
            if differs && at > *since + settled {
                let invariant = if *up { "I3" } else { "I2" };
                let what = format!("{name} is shown as {value}, and is otherwise since {since:?}");
                self.broken(at, invariant, replica, publisher, what);
            }
        }
        if let Some(proven) = proven.filter(|_| runs && shown.up == Some(1.0) && as_they_are) {
            self.fresh[replica].insert(publisher.to_owned(), proven);
        }
    }

    /// Who is alive and is not shown as up, on some replica that runs, with something made since then. Nobody: all is well.
    pub fn not_fresh_since(&self, since: At) -> Vec<String> {
        let mut missing = Vec::new();
        for (replica, fresh) in self.fresh.iter().enumerate().filter(|(replica, _)| !self.dead[*replica]) {
            let late = self.ledger.alive().filter(|id| fresh.get(*id).is_none_or(|made| *made < since));
            missing.extend(late.map(|id| format!("{id} on replica {replica}")));
        }
        missing
    }

    /// Until when RabbitMQ gave heartbeats to a consumer that was nobody's any more, by what the replicas told, if that was
    /// after this time.
    ///
    /// It gives a channel whose connection is gone thirty seconds to end (`WORKER_WAIT`), of which most take none, and to
    /// its consumer its share as long; it is counted, and nobody is called silent.
    pub fn haunted_until(&self, since: At) -> At {
        const WORKER_WAIT: Duration = Duration::from_secs(30);
        self.stranger_at.map_or(since, |at| at.clamp(since, since + WORKER_WAIT))
    }

    /// Whether every replica has shown this heartbeat, or a newer one.
    pub fn is_known_to_all(&self, key: &Key) -> bool {
        let Some((life, _)) = self.ledger.beat(key) else { return false };
        let knows = |shown: &BTreeMap<String, (usize, u64)>| {
            shown.get(&key.publisher).is_some_and(|newest| *newest >= (life, key.sequence))
        };
        self.shown.iter().all(knows)
    }

    fn broken(&mut self, at: At, invariant: &'static str, replica: usize, publisher: &str, what: String) {
        self.violation(at, invariant, format!("replica {replica} shows {publisher}: {what}"));
    }

    /// Notes a violation that was found elsewhere.
    pub fn violation(&mut self, at: At, invariant: &'static str, what: String) {
        // One lie is told at every scrape; the first few tell of it.
        if self.violations.len() < 20 {
            self.violations.push(Violation { at, invariant, what });
        }
    }
}

/// What a scrape says of each publisher.
fn read(scrape: &Scrape) -> BTreeMap<String, Shown> {
    let mut all: BTreeMap<String, Shown> = BTreeMap::new();
    for sample in &scrape.samples {
        let Some(publisher) = sample.labels.get("publisher") else { continue };
        let shown = all.entry(publisher.clone()).or_default();
        match sample.name.as_str() {
            "heartbeat_publisher_up" => shown.up = Some(sample.value),
            "heartbeat_publisher_info" => shown.epoch = Some(sample.labels["epoch"].clone()),
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number")]
            "heartbeat_publisher_sequence" => shown.sequence = Some(sample.value as u64),
            "heartbeat_component_up" => {
                let name = (sample.labels["kind"].clone(), sample.labels["name"].clone());
                shown.components.insert(name, sample.value);
            }
            _ => {}
        }
    }
    all
}
