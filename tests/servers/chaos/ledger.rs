//! What truly happened, written down before it happens: every heartbeat is claimed before it is sent. Pure.
//!
//! Times are since the begin of the run. Where the truth lies between two bounds, both are kept, and each question
//! is answered by the one that gives the benefit of the doubt.

use std::collections::BTreeMap;
use std::time::Duration;

/// Since the begin of the run.
pub type At = Duration;

/// After a hold on the way to the broker has ended, what was held may still come for so long.
const COMES_WITHIN: Duration = Duration::from_secs(2);

/// What became of a heartbeat, as far as its sender knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It may be on its way.
    Open,
    /// The broker took it, and said so then.
    Confirmed(At),
    /// Nobody knows. If the broker took it, then not after this.
    Unsure(At),
    /// The broker does not have it.
    Refused,
}

/// One heartbeat.
#[derive(Clone, Debug)]
pub struct Beat {
    /// When it was made.
    pub claimed: At,
    /// What it says: the outcome of each component by kind and name.
    pub outcomes: BTreeMap<(String, String), String>,
    /// What became of it.
    pub fate: Fate,
    /// The queue was deleted, perhaps with it.
    pub deleted: bool,
}

impl Beat {
    /// The broker has it, and hands it on.
    pub fn is_confirmed(&self) -> bool {
        matches!(self.fate, Fate::Confirmed(_)) && !self.deleted
    }
}

/// One life of a publisher.
#[derive(Clone, Debug, Default)]
pub struct Life {
    /// Its epoch.
    pub epoch: String,
    /// By sequence, from 1.
    pub beats: Vec<Beat>,
}

/// One publisher whose every heartbeat is claimed.
#[derive(Clone, Debug, Default)]
pub struct Claimed {
    /// Oldest first.
    pub lives: Vec<Life>,
    /// It is alive and beats.
    pub beats: bool,
    /// Heartbeats that may count as lost, though they were confirmed and a newer one is stored.
    pub excused: u64,
}

/// One publisher that is a process of its own: only its life and death are known, and what it says of its confirms.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// It runs.
    pub runs: bool,
    /// When it may last have sent anything, if it does not run.
    pub ended: At,
    /// For each of these times, a heartbeat that was made then or later is confirmed.
    pub proven: Vec<At>,
    /// Since when each of its components is up, or down.
    pub components: BTreeMap<String, (bool, At)>,
}

/// The truth.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// By id.
    pub claimed: BTreeMap<String, Claimed>,
    /// By id.
    pub processes: BTreeMap<String, Process>,
    /// How many holds on the way to the broker there are, and since when.
    holds: usize,
    held_since: At,
}

/// Which heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Whose.
    pub publisher: String,
    /// Its life.
    pub epoch: String,
    /// Its number.
    pub sequence: u64,
}

impl Ledger {
    /// Writes a heartbeat down. Panics if it is not the next one of its life: that would be the test's mistake.
    pub fn claim(&mut self, at: At, key: &Key, outcomes: BTreeMap<(String, String), String>) {
        let publisher = self.claimed.entry(key.publisher.clone()).or_default();
        publisher.beats = true;
        if publisher.lives.last().is_none_or(|life| life.epoch != key.epoch) {
            publisher.lives.push(Life { epoch: key.epoch.clone(), beats: Vec::new() });
        }
        let life = publisher.lives.last_mut().unwrap();
        assert_eq!(life.beats.len() as u64 + 1, key.sequence, "{key:?}");
        life.beats.push(Beat { claimed: at, outcomes, fate: Fate::Open, deleted: false });
    }

    /// Writes down what became of one.
    pub fn settle(&mut self, key: &Key, fate: Fate) {
        let beat = self.beat_mut(key).unwrap_or_else(|| panic!("{key:?} was never claimed"));
        beat.fate = fate;
    }

    /// It beats no more, or again.
    pub fn beats(&mut self, publisher: &str, beats: bool) {
        self.claimed.entry(publisher.to_owned()).or_default().beats = beats;
    }

    /// From now on something on the way to the broker may hold what was sent.
    pub fn hold(&mut self, at: At) {
        if self.holds == 0 {
            self.held_since = at;
        }
        self.holds += 1;
    }

    /// That is over: what was held has come, or never will.
    pub fn release(&mut self, at: At) {
        self.holds -= 1;
        let (since, until) = (self.held_since, at + COMES_WITHIN);
        for beat in self.claimed.values_mut().flat_map(|p| &mut p.lives).flat_map(|life| &mut life.beats) {
            if let Fate::Unsure(may_come) = &mut beat.fate
                && *may_come >= since
            {
                *may_come = until;
            }
        }
        for process in self.processes.values_mut().filter(|process| !process.runs) {
            if process.ended >= since {
                process.ended = until;
            }
        }
    }

    /// The queue went with all that it held: what was sent since then may be gone.
    pub fn queue_deleted(&mut self, since: At) {
        let lives = self.claimed.values_mut().flat_map(|publisher| &mut publisher.lives);
        let beats = lives.flat_map(|life| &mut life.beats);
        beats.filter(|beat| beat.claimed >= since).for_each(|beat| beat.deleted = true);
    }

    /// A subscriber that was cut off from Redis since then is killed. What newer heartbeats superseded in its memory
    /// it has acknowledged, and nobody else has seen: the newest of each comes again, the others count as lost.
    pub fn killed_cut_off(&mut self, since: At) {
        for publisher in self.claimed.values_mut() {
            let beats = publisher.lives.iter().flat_map(|life| &life.beats);
            publisher.excused += beats.filter(|beat| beat.claimed >= since).count() as u64;
        }
    }

    /// A process ended or was stopped, or runs.
    pub fn process(&mut self, at: At, publisher: &str, runs: bool) {
        let process = self.processes.entry(publisher.to_owned()).or_default();
        (process.runs, process.ended) = (runs, at);
    }

    /// A heartbeat of a process that was made then or later is confirmed.
    pub fn proven(&mut self, at: At, publisher: &str) {
        let process = self.processes.entry(publisher.to_owned()).or_default();
        process.proven.push(at);
    }

    /// A component of a process is up from now on, or down.
    pub fn component(&mut self, at: At, publisher: &str, name: &str, up: bool) {
        let process = self.processes.entry(publisher.to_owned()).or_default();
        process.components.insert(name.to_owned(), (up, at));
    }

    /// The heartbeat, and the number of its life.
    pub fn beat(&self, key: &Key) -> Option<(usize, &Beat)> {
        let lives = &self.claimed.get(&key.publisher)?.lives;
        let life = lives.iter().rposition(|life| life.epoch == key.epoch)?;
        let index = usize::try_from(key.sequence.checked_sub(1)?).ok()?;
        lives[life].beats.get(index).map(|beat| (life, beat))
    }

    fn beat_mut(&mut self, key: &Key) -> Option<&mut Beat> {
        let lives = &mut self.claimed.get_mut(&key.publisher)?.lives;
        let life = lives.iter_mut().rfind(|life| life.epoch == key.epoch)?;
        life.beats.get_mut(usize::try_from(key.sequence.checked_sub(1)?).ok()?)
    }

    /// When a publisher may last have spoken, at the latest; `None` if it never did.
    pub fn spoke_at_latest(&self, publisher: &str, now: At) -> Option<At> {
        if let Some(process) = self.processes.get(publisher) {
            return Some(if process.runs { now } else { process.ended.min(now) });
        }
        let beats = self.claimed.get(publisher)?.lives.iter().flat_map(|life| &life.beats);
        beats
            .filter_map(|beat| match beat.fate {
                Fate::Open => Some(now),
                Fate::Confirmed(at) => Some(at),
                // While there is a hold, what it holds may come at any moment.
                Fate::Unsure(until) if self.holds > 0 && until >= self.held_since => Some(now),
                Fate::Unsure(until) => Some(until.min(now)),
                Fate::Refused => None,
            })
            .max()
    }

    /// A moment after `from` and until `to` at which it is certain that the publisher spoke, and that the broker took
    /// it; the latest.
    pub fn spoke_for_certain(&self, publisher: &str, from: At, to: At) -> Option<At> {
        let within = |at: &At| from < *at && *at <= to;
        if let Some(process) = self.processes.get(publisher) {
            return process.proven.iter().copied().rfind(within);
        }
        let beats = self.claimed.get(publisher)?.lives.iter().flat_map(|life| &life.beats);
        beats.filter(|beat| beat.is_confirmed()).map(|beat| beat.claimed).filter(within).max()
    }

    /// Who is alive, and should be shown so.
    pub fn alive(&self) -> impl Iterator<Item = &str> {
        let claimed = self.claimed.iter().filter(|(_, p)| p.beats).map(|(id, _)| id.as_str());
        claimed.chain(self.processes.iter().filter(|(_, p)| p.runs).map(|(id, _)| id.as_str()))
    }
}
