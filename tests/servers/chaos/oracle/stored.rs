//! What Redis holds, judged by the ledger.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Oracle;
use crate::chaos::ledger::{At, Beat, Claimed};

/// What the store held at the last look.
#[derive(Clone, Debug, Default)]
pub(super) struct Stored {
    /// By publisher: heartbeats counted, and the highest number of each epoch.
    held: BTreeMap<String, (u64, BTreeMap<String, u64>)>,
    /// Something was done to the store that may take its latest writes away.
    may_go_back: bool,
}

impl Oracle {
    /// From now on the store may go back, as one does whose primary died before its replicas had heard all; or that is
    /// over, and what had been there before must be there again.
    pub fn store_may_go_back(&mut self, may: bool) {
        self.stored.may_go_back = may;
    }

    /// Judges the records as they are now: nothing in them goes back (I4), and nothing is in them that was not sent.
    pub fn judge_records(&mut self, at: At, records: &BTreeMap<String, Value>) {
        if self.stored.may_go_back {
            return;
        }
        for (publisher, record) in records {
            let now = (record["heartbeats"].as_u64().unwrap_or_default(), highest(record));
            let before = self.stored.held.insert(publisher.clone(), now.clone()).unwrap_or_default();
            let back = before.1.iter().find(|(epoch, highest)| {
                // A record remembers its latest epochs alone, so one that is gone is no loss.
                now.1.get(*epoch).is_some_and(|now| now < highest)
            });
            if before.0 > now.0 || back.is_some() {
                self.violation(at, "I4", format!("the store's {publisher} went from {before:?} to {now:?}"));
            }
            if let Some(claimed) = self.ledger.claimed.get(publisher)
                && let Some(invented) = invented(claimed, &now.1)
            {
                self.violation(at, "I4", format!("the store's {publisher} has {invented}"));
            }
        }
        let gone: Vec<_> = self.stored.held.keys().filter(|id| !records.contains_key(*id)).cloned().collect();
        for publisher in gone {
            self.stored.held.remove(&publisher);
            self.violation(at, "I4", format!("the store has lost {publisher}"));
        }
    }

    /// Judges the records when all is taken in (I1): every confirmed heartbeat is there, or a newer one, and none is
    /// counted as lost save those that were never confirmed, or are excused.
    pub fn judge_end(&mut self, at: At, records: &BTreeMap<String, Value>) {
        self.judge_records(at, records);
        let mut wrong = Vec::new();
        for (publisher, claimed) in &self.ledger.claimed {
            let Some(record) = records.get(publisher) else {
                wrong.push(format!("{publisher} is not stored"));
                continue;
            };
            let highest = highest(record);
            for life in &claimed.lives {
                let newest = life.beats.iter().rposition(Beat::is_confirmed).map_or(0, |at| at as u64 + 1);
                // The epochs that a record has forgotten are older than eight others.
                if let Some(held) = highest.get(&life.epoch).filter(|held| **held < newest) {
                    wrong.push(format!("{publisher} {}: {newest} is confirmed, {held} stored", life.epoch));
                }
            }
            if let Some(life) = claimed.lives.last()
                && record["shown"] != life.epoch.as_str()
            {
                wrong.push(format!("{publisher}: {} lives, {} is stored", life.epoch, record["shown"]));
            }
            let lost = record["lost"].as_u64().unwrap_or_default();
            let unconfirmed = unconfirmed(claimed);
            if lost > unconfirmed + claimed.excused {
                let excused = claimed.excused;
                wrong.push(format!("{publisher}: {lost} lost, {unconfirmed} unconfirmed, {excused} excused"));
            }
        }
        wrong.into_iter().for_each(|what| self.violation(at, "I1", what));
    }
}

/// The highest number of each epoch in a record.
fn highest(record: &Value) -> BTreeMap<String, u64> {
    let lives = record["lives"].as_array().into_iter().flatten();
    let of = |life: &Value| Some((life["epoch"].as_str()?.to_owned(), life["highest"].as_u64()?));
    lives.filter_map(of).collect()
}

/// A number that its publisher never used.
fn invented(claimed: &Claimed, highest: &BTreeMap<String, u64>) -> Option<String> {
    let found = highest.iter().find(|(epoch, highest)| {
        let life = claimed.lives.iter().find(|life| life.epoch == **epoch);
        life.is_none_or(|life| (life.beats.len() as u64) < **highest)
    });
    found.map(|(epoch, highest)| format!("{epoch} {highest}, which was never sent"))
}

/// Heartbeats of a publisher that the broker may not have had.
fn unconfirmed(claimed: &Claimed) -> u64 {
    let beats = claimed.lives.iter().flat_map(|life| &life.beats);
    beats.filter(|beat| !beat.is_confirmed()).count() as u64
}
