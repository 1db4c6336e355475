//! Knows each heartbeat before it is sent and when each publisher truly lived, and judges by that alone: every
//! ack, every write, every look at a view. It does not use the code that it judges.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::broker::{Content, Message};
use super::fleet::{Emission, at};
use crate::heartbeat::{Component, Epoch, Outcome, PublisherId, Timestamp};
use crate::state::record::{Detail, LIVES_MAX};
use crate::state::{Record, Snapshot};

/// Shortest grace of a publisher, in milliseconds (design, section 1).
const GRACE_MS: i64 = 30_000;

/// How far off an estimate of the emission may be: a delivery counts as live if nothing was seen waiting for
/// a second, and the queue is looked at once a second.
const SLACK_MS: i64 = 2_700;

/// What is true.
#[derive(Default)]
pub(super) struct Oracle {
    /// How often what happened.
    pub(super) seen: BTreeMap<&'static str, u64>,
    emitted: HashMap<PublisherId, Vec<Emission>>,
    /// The highest number that was ever stored, by publisher and epoch.
    stored: HashMap<(PublisherId, String), u64>,
    /// The latest stored form, since the store last went back.
    latest: HashMap<PublisherId, Record>,
    /// Heartbeats that were acknowledged for a newer one, by a process that was killed before it stored that
    /// they came. The newer one came again; these are missing, though nothing that they told is.
    gone: HashMap<PublisherId, BTreeSet<(Epoch, u64)>>,
    poison_acked: u64,
    /// The store went back: what it counted before is lost to it.
    pub(super) forgot: bool,
    /// The contract's keys as the heartbeats told them.
    contract: HashMap<String, Timestamp>,
    /// Whose clock was stepped: a newer heartbeat then tells other times of the past than the older ones did.
    stepped: BTreeSet<PublisherId>,
}

impl Oracle {
    pub(super) fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// A heartbeat is about to be sent.
    pub(super) fn claims(&mut self, emission: &Emission) {
        let Component { key, outcome, checked_at, .. } = &emission.component;
        if !self.stepped.contains(&emission.publisher) {
            let status = if *outcome == Outcome::Up { "ok" } else { "not_ok" };
            let held = self.contract.entry(format!("service:{}:{status}", key.name)).or_insert(*checked_at);
            *held = (*held).max(*checked_at);
        }
        self.emitted.entry(emission.publisher.clone()).or_default().push(emission.clone());
    }

    /// A publisher's clock was set anew.
    pub(super) fn steps(&mut self, id: &PublisherId, component: &str) {
        self.saw("publisher's clock stepped");
        self.stepped.insert(id.clone());
        self.contract.retain(|key, _| !key.starts_with(&format!("service:{component}:")));
    }

    fn last_emission(&self, id: &PublisherId) -> Option<&Emission> {
        self.emitted.get(id)?.last()
    }

    /// Processes that a publisher has had. Of more than a record remembers, an old one may come back as new.
    fn lives(&self, id: &PublisherId) -> usize {
        let emitted = self.emitted.get(id).into_iter().flatten();
        emitted.map(|emission| emission.epoch.as_str()).collect::<BTreeSet<_>>().len()
    }

    /// I4: what is stored never goes back; and it never claims to have heard what was not said.
    pub(super) fn stores(&mut self, record: Record) {
        for life in &record.lives {
            let key = (record.id.clone(), life.epoch.to_string());
            let highest = self.stored.entry(key).or_default();
            *highest = (*highest).max(life.sequence.highest);
        }
        let last = self.last_emission(&record.id).expect("nobody is stored who never spoke");
        if let Some(seen) = record.last_seen {
            let ahead = seen.ms_since(at(last.at));
            assert!(
                ahead <= SLACK_MS,
                "{} seems {ahead} ms younger than its last word: {record:?}",
                record.id
            );
        }
        if let Some(before) = self.latest.get(&record.id) {
            assert!(record.revision > before.revision, "{before:?} then {record:?}");
            assert!(record.last_seen >= before.last_seen, "last seen went back: {before:?} then {record:?}");
            let (was, is) = (before.counts, record.counts);
            assert!(is.heartbeats >= was.heartbeats && is.lost >= was.lost, "{before:?} then {record:?}");
            let others = is.duplicates >= was.duplicates && is.superseded >= was.superseded;
            assert!(others, "{before:?} then {record:?}");
            let remembers_all = self.lives(&record.id) <= LIVES_MAX;
            for life in before.lives.iter().filter(|_| remembers_all) {
                let same = record.lives.iter().find(|other| other.epoch == life.epoch);
                assert!(same.is_none_or(|same| same.sequence.highest >= life.sequence.highest));
            }
            if before.shown == record.shown {
                assert!(shown_sequence(&record) >= shown_sequence(before), "{before:?} then {record:?}");
            }
        }
        self.latest.insert(record.id.clone(), record);
    }

    /// The store goes back: nothing that was stored counts any more.
    pub(super) fn store_went_back(&mut self) {
        self.saw("store went back");
        self.forgot = true;
        self.latest.clear();
    }

    /// I1: what is acknowledged is stored, or is told by a newer one that the same process holds, which it may
    /// do while it cannot store.
    pub(super) fn acked(&mut self, message: &Message, holds: &[Message], kept: u64) {
        let Content::Heartbeat(emission) = &*message.content else {
            self.poison_acked += 1;
            assert!(self.poison_acked <= kept, "a refused message is acknowledged, and not kept");
            return;
        };
        let id = (emission.publisher.clone(), emission.epoch.as_str().to_owned());
        let stored = self.stored.get(&id).is_some_and(|highest| *highest >= emission.sequence);
        let newer = |held: &Message| match &*held.content {
            Content::Heartbeat(held) => {
                held.publisher == emission.publisher
                    && held.epoch == emission.epoch
                    && held.sequence > emission.sequence
            }
            Content::Poison => false,
        };
        // Of more lives than a record remembers, one may be taken in and forgotten in the same step.
        let told = !stored && holds.iter().any(newer);
        if told {
            self.saw("let go");
        }
        assert!(
            stored || told || self.lives(&emission.publisher) > LIVES_MAX,
            "acknowledged, and neither stored nor told by another: {emission:?}"
        );
    }

    /// A process is killed that had `let_go` these, and had not yet stored that they came.
    pub(super) fn killed(&mut self, let_go: Vec<(PublisherId, Epoch, u64)>) {
        for (id, epoch, sequence) in let_go {
            self.saw("killed after letting go");
            self.gone.entry(id).or_default().insert((epoch, sequence));
        }
    }

    /// I2: nobody is shown up who has been silent for longer than the grace.
    pub(super) fn looks(&mut self, now: i64, shown: &Snapshot) {
        for publisher in &shown.publishers {
            let Some(last) = self.last_emission(&publisher.id) else {
                panic!("{} never spoke", publisher.id)
            };
            let silent = now - last.at;
            let (id, up) = (&publisher.id, publisher.up);
            assert!(
                up != Some(true) || silent <= GRACE_MS + SLACK_MS,
                "{id} is shown up, silent for {silent} ms"
            );
            if up == Some(false) {
                self.saw("seen stale");
            }
            for component in publisher.components() {
                let known = matches!(component.outcome, Some(Outcome::Up | Outcome::Down));
                assert!(!known || publisher.up == Some(true), "{id} is not up, and its component is known");
            }
        }
    }

    /// Everything has come to rest: the newest is stored, each heartbeat is counted once, and none as lost.
    pub(super) fn at_rest(
        &self,
        alive: &HashMap<PublisherId, bool>,
        records: &[Record],
        views: &[Snapshot],
        contract: &HashMap<String, Timestamp>,
    ) {
        let records: HashMap<&PublisherId, &Record> =
            records.iter().map(|record| (&record.id, record)).collect();
        for (id, emitted) in &self.emitted {
            let Some(record) = records.get(id) else {
                // The store went back, whoever knew it was killed, and it says nothing any more: nobody is left to tell.
                let shown =
                    views.iter().flat_map(|view| &view.publishers).any(|publisher| publisher.id == *id);
                assert!(self.forgot && !alive[id] && !shown, "{id} is not stored");
                continue;
            };
            let last = emitted.last().expect("it spoke");
            // Of one that died, and began each time with another clock, nobody can tell which life was the last
            // if none was heard live. It is stale whichever is shown.
            if alive[id] {
                let newest = (last.epoch.as_str(), Some(last.sequence));
                assert_eq!((&*record.shown, shown_sequence(record)), newest, "{id}: {record:?}");
                let told = record.components.iter().next().expect("it has one").component;
                let said = &last.component;
                assert_eq!((told.outcome, told.checked_at), (said.outcome, said.checked_at), "{id}");
            } else {
                let stored = self.stored.get(&(id.clone(), last.epoch.to_string()));
                assert_eq!(stored, Some(&last.sequence), "{id}: {record:?}");
            }
            if self.forgot || self.lives(id) > LIVES_MAX {
                continue;
            }
            let gone = self.gone.get(id).map_or(0, |gone| gone.len() as u64);
            let (said, counts) = (emitted.len() as u64, record.counts);
            // What comes a window behind, and was sent before the first that was heard, is too old to tell.
            let too_old: u64 = record.lives.iter().map(|life| life.sequence.first - 1).sum();
            assert!(
                counts.heartbeats <= said && counts.heartbeats + gone + too_old >= said,
                "{id}: {said} said, {gone} gone with a process that was killed, {too_old} before the first, {counts:?}"
            );
            assert!(counts.lost <= gone, "{id}: {gone} gone with a process that was killed, {counts:?}");
        }
        for (key, at) in &self.contract {
            assert_eq!(contract.get(key), Some(at), "{key}");
        }
    }
}

fn shown_sequence(record: &Record) -> Option<u64> {
    match record.detail {
        Detail::V2 { sequence, .. } => Some(sequence),
        Detail::Legacy => None,
    }
}
