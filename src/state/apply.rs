//! What a message does to the record of its publisher: the decision of the bridge, in one place.
//!
//! The same function serves every store. It is total: any message on any record gives a record.

use std::sync::Arc;
use std::time::Duration;

use super::components::{ComponentState, Components};
use super::elsewhere::Elsewhere;
use super::legacy::apply_legacy;
use super::maintenance::kept;
use super::record::{Detail, Life, Record};
use super::sequence::{Arrival, SequenceWindow};
use crate::heartbeat::{Heartbeat, Message, Timestamp};
use crate::trace::TraceContext;

/// How a message came.
#[derive(Clone, Copy, Debug)]
pub struct Receipt {
    /// When, in the store's clock.
    pub at: Timestamp,
    /// Whether it came straight from its publisher: nothing had been waiting (see [`super::live`]).
    pub live: bool,
    /// Since when deliveries have been live without a break, in the store's clock.
    pub live_since: Timestamp,
    /// When the broker took it, by a broker whose timestamps are declared trusted.
    pub broker_at: Option<Timestamp>,
    /// Who else may have heartbeats that are missing: they do not count as lost then.
    pub elsewhere: Elsewhere,
    /// Whether it had to prove whose it is: then it is held against what a stranger could send again, or late.
    pub guarded: bool,
    /// The trace that it is taken in, where that is to be remembered.
    pub trace: Option<TraceContext>,
}

impl Receipt {
    /// Of a message of which nothing else is known.
    pub fn at(at: Timestamp) -> Self {
        Self {
            at,
            live: false,
            live_since: at,
            broker_at: None,
            elsewhere: Elsewhere::Nobody,
            guarded: false,
            trace: None,
        }
    }
}

/// What became of a message: the outcome of the subscriber's counter, save for rejections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// It is, or contributes to, the newest state.
    Stored,
    /// It had been taken before.
    Duplicate,
    /// Something newer is known.
    Superseded,
}

/// Slack between the clocks' estimates when two lives of one publisher are compared, in
/// milliseconds. An old process may finish its last heartbeat while its successor starts.
const OVERLAP_MS: i64 = 2_000;

/// How far ahead of its receipt a backlog message may seem, in milliseconds, before the clock
/// that says so is taken to have been stepped: what a clock drifts and a delivery takes.
const CLOCK_SLACK_MS: i64 = 2_000;

/// Applies a message to the record of its publisher. `record` is `None` for one never heard of.
pub fn apply(record: Option<&Record>, message: &Message, receipt: &Receipt) -> (Record, Effect) {
    match message {
        Message::V1(heartbeat) => apply_legacy(record, &heartbeat.service, heartbeat, receipt),
        Message::V2(heartbeat) => apply_heartbeat(record, heartbeat, receipt),
    }
}

/// When a heartbeat was emitted, in the store's clock, as far as that can be told.
///
/// `own` is the process's offset with the time of the emission by its monotonic clock; `wall` is
/// the offset of its wall clock with the time of the emission by that.
fn emitted(receipt: &Receipt, own: Option<(i64, i64)>, wall: Option<(i64, Timestamp)>) -> Option<Timestamp> {
    if receipt.live {
        return Some(receipt.at);
    }
    if let Some(broker) = receipt.broker_at {
        return Some(broker.min(receipt.at));
    }
    if let Some((offset, own)) = own {
        return Some(Timestamp::from_unix_ms(own.saturating_add(offset)).min(receipt.at));
    }
    let (offset, wall) = wall?;
    by_wall_clock(receipt, wall.plus_ms(offset.saturating_neg()))
}

/// An estimate that rests on a wall clock. One that lies in the future proves that the clock was
/// stepped while the message waited, so it says nothing.
pub(super) fn by_wall_clock(receipt: &Receipt, estimate: Timestamp) -> Option<Timestamp> {
    (estimate.ms_since(receipt.at) <= CLOCK_SLACK_MS).then_some(estimate.min(receipt.at))
}

/// Whether a heartbeat may have been sent before, by a process that ended so long ago that it is forgotten: nobody
/// knows its process, and by its own word that began no later than one that is known.
///
/// A process that starts now says a later time, unless the clock was set back since the one before it spoke.
pub fn may_be_replayed(record: &Record, heartbeat: &Heartbeat) -> bool {
    record.life_index(heartbeat.epoch.as_str()).is_none()
        && record.latest_start().is_some_and(|latest| heartbeat.started_at <= latest)
}

/// Whether a heartbeat was made well before it came, though it came as if it were new: somebody held it back. Both
/// clocks of its publisher must say so, since the wall clock may have been set back and a virtual machine may have been
/// paused.
pub fn is_delayed(record: &Record, heartbeat: &Heartbeat, receipt: &Receipt) -> bool {
    let came = if receipt.live { Some(receipt.at) } else { receipt.broker_at };
    let life = record.life_index(heartbeat.epoch.as_str()).map(|index| &record.lives[index]);
    let own =
        life.and_then(|life| life.offset_ms).map(|offset| offset.saturating_add(millis(heartbeat.uptime)));
    let wall = record.clock_offset_ms.map(|offset| heartbeat.sent_at.plus_ms(offset.saturating_neg()));
    let (Some(came), Some(own), Some(wall)) = (came, own, wall) else { return false };
    let made = wall.max(Timestamp::from_unix_ms(own));
    came.ms_since(made) > CLOCK_SLACK_MS
}

fn apply_heartbeat(record: Option<&Record>, heartbeat: &Heartbeat, receipt: &Receipt) -> (Record, Effect) {
    let fresh = || Record::new(heartbeat.publisher.clone(), receipt.at);
    let mut record = record.cloned().unwrap_or_else(fresh);
    if receipt.guarded && may_be_replayed(&record, heartbeat) {
        // Not even remembered: eight of its kind would push out all that is known.
        record.counts.superseded += u64::from(!record.is_forgotten());
        return (record, Effect::Superseded);
    }
    let delayed = receipt.guarded && is_delayed(&record, heartbeat, receipt);
    let receipt = &if delayed { Receipt { live: false, broker_at: None, ..*receipt } } else { *receipt };
    let known = record.life_index(heartbeat.epoch.as_str());
    let uptime_ms = millis(heartbeat.uptime);
    let at = emitted(
        receipt,
        known.and_then(|index| record.lives[index].offset_ms).map(|offset| (offset, uptime_ms)),
        record.clock_offset_ms.map(|offset| (offset, heartbeat.sent_at)),
    );

    if let Some(forgotten_at) = record.rare.forgotten_at {
        if known.is_some_and(|index| record.lives[index].sequence.highest >= heartbeat.sequence)
            || at.is_none_or(|at| at <= forgotten_at)
        {
            return (record, Effect::Superseded);
        }
        // It lives after all. Its past epochs stay known, so that none of them comes back.
        record.rare.set(|rare| rare.forgotten_at = None);
        record.first_received = receipt.at;
        record.last_seen = None;
    }

    let effect = match known {
        Some(index) => known_life(&mut record, index, heartbeat, at, receipt),
        None => new_life(&mut record, heartbeat, at, receipt),
    };
    if effect != Effect::Duplicate {
        record.counts.heartbeats += 1;
    }
    if receipt.live && effect == Effect::Stored {
        record.clock_offset_ms = Some(heartbeat.sent_at.ms_since(receipt.at));
    }
    if effect == Effect::Stored {
        // Of one that was never heard live, the clock is taken to be right.
        let behind_ms = record.clock_offset_ms.unwrap_or(0).saturating_neg();
        record.rare.set(|rare| {
            rare.trace = receipt.trace;
            rare.maintenance = kept(&heartbeat.maintenance, behind_ms);
        });
    }
    (record, effect)
}

/// A heartbeat of a process that the record knows: it never goes back.
fn known_life(
    record: &mut Record,
    index: usize,
    heartbeat: &Heartbeat,
    at: Option<Timestamp>,
    receipt: &Receipt,
) -> Effect {
    let life = &mut record.lives[index];
    match life.sequence.insert(heartbeat.sequence, receipt.elsewhere, receipt.at) {
        Arrival::Duplicate => {
            record.counts.duplicates += 1;
            return Effect::Duplicate;
        }
        Arrival::Late => {
            record.counts.superseded += 1;
            return Effect::Superseded;
        }
        Arrival::Newer { lost } => record.counts.lost = record.counts.lost.saturating_add(lost),
    }
    note_sign_of_life(life, heartbeat, at, receipt);
    let epoch = Arc::clone(&life.epoch);

    if epoch != record.shown && !overtakes(record, index, at, receipt) {
        record.counts.superseded += 1;
        return Effect::Superseded;
    }
    record.shown = epoch;
    take(record, heartbeat, at);
    Effect::Stored
}

/// Whether a process that is not the shown one, but goes on, is to be shown from now on.
///
/// Two that both go on are a conflict, and the one that began later is shown; one that outlives
/// the shown one takes over.
fn overtakes(record: &mut Record, index: usize, at: Option<Timestamp>, receipt: &Receipt) -> bool {
    let (Some(at), Some(shown)) = (at, record.shown_life()) else {
        return record.shown_life().is_none();
    };
    let shown_is_dead = shown.last_seen.is_some_and(|seen| seen.plus(record.default_grace()) < at);
    if shown_is_dead {
        return true;
    }
    let life = &record.lives[index];
    let both_until = shown.last_seen.map_or(at, |seen| seen.min(at));
    let both_since = life.began.max(shown.began);
    let later = life.began > shown.began;
    if both_since.is_none_or(|since| both_until.ms_since(since) > OVERLAP_MS) {
        record.rare.set(|rare| rare.conflict_at = rare.conflict_at.max(Some(receipt.at)));
    }
    later
}

/// A heartbeat of a process never heard of: taken if it is later than what is stored.
fn new_life(record: &mut Record, heartbeat: &Heartbeat, at: Option<Timestamp>, receipt: &Receipt) -> Effect {
    let later = match (at, record.last_seen, &record.detail) {
        (Some(at), Some(last), _) => at >= last,
        (Some(_), None, _) => true,
        (None, Some(_), _) => false,
        // Neither was ever heard live. The wall clock of one publisher is all there is.
        (None, None, Detail::V2 { sent_at, .. }) => heartbeat.sent_at >= *sent_at,
        (None, None, Detail::Legacy) => true,
    };
    let uptime_ms = millis(heartbeat.uptime);
    let mut life = Life {
        epoch: heartbeat.epoch.as_str().into(),
        sequence: SequenceWindow::new(heartbeat.sequence),
        offset_ms: None,
        started_at: None,
        began: at.map(|at| at.plus_ms(uptime_ms.saturating_neg())),
        last_seen: None,
        gaps: Box::default(),
    };
    note_sign_of_life(&mut life, heartbeat, at, receipt);
    let had_life = record.shown_life().is_some();
    let epoch = Arc::clone(&life.epoch);
    record.add_life(life);
    if !later {
        record.counts.superseded += 1;
        return Effect::Superseded;
    }
    if had_life && matches!(record.detail, Detail::V2 { .. }) {
        record.counts.restarts += 1;
    }
    record.shown = epoch;
    take(record, heartbeat, at);
    Effect::Stored
}

fn note_sign_of_life(life: &mut Life, heartbeat: &Heartbeat, at: Option<Timestamp>, receipt: &Receipt) {
    let own_ms = millis(heartbeat.uptime);
    life.last_seen = life.last_seen.max(at);
    life.started_at = Some(heartbeat.started_at);
    if receipt.live {
        life.offset_ms = Some(receipt.at.unix_ms() - own_ms);
        life.began = Some(receipt.at.plus_ms(own_ms.saturating_neg()));
    }
}

/// Shows this snapshot from now on.
fn take(record: &mut Record, heartbeat: &Heartbeat, at: Option<Timestamp>) {
    record.saw(at);
    record.detail = Detail::V2 {
        started_at: heartbeat.started_at,
        sent_at: heartbeat.sent_at,
        sequence: heartbeat.sequence,
        interval_ms: u64::try_from(heartbeat.interval.as_millis()).unwrap_or(u64::MAX),
        version: Arc::clone(&heartbeat.version),
        totals: heartbeat.totals,
    };
    // A component is as old as its check was when the snapshot was made, by one and the same
    // clock: whether that clock is right does not matter.
    let checked =
        |checked_at: Timestamp| at.map(|at| at.plus_ms(-heartbeat.sent_at.ms_since(checked_at).max(0)));
    let states = heartbeat.components.iter().map(|component| ComponentState {
        component: component.borrowed(),
        seen: checked(component.checked_at),
    });
    record.components = Components::pack(states.collect());
}

fn millis(duration: Duration) -> i64 {
    // Ten thousand years are enough for an uptime, and keep all sums in range.
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).min(1 << 48)
}
