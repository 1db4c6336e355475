//! Version 1 messages: several originals may share one id, so their components merge, each by its
//! own time, and each turns stale by its own age.

use std::sync::Arc;
use std::time::Duration;

use super::apply::{Effect, Receipt, by_wall_clock};
use super::components::{ComponentState, Components};
use super::hash::fnv1a;
use super::record::{Detail, GAPS_MAX, Life, Record};
use super::sequence::SequenceWindow;
use crate::heartbeat::{
    Component, LegacyComponent, LegacyHeartbeat, Outcome, PublisherId, Reason, Timestamp,
};

/// Originals whose clocks agree this closely are taken to run on one, in milliseconds.
const SAME_CLOCK_MS: i64 = 2_000;

/// Applies a version 1 message to the record of `id`.
pub(super) fn apply_legacy(
    record: Option<&Record>,
    id: &PublisherId,
    heartbeat: &LegacyHeartbeat,
    receipt: &Receipt,
) -> (Record, Effect) {
    let mut record = record.cloned().unwrap_or_else(|| Record::new(id.clone(), receipt.at));
    if matches!(record.detail, Detail::V2 { .. }) && !record.is_forgotten() {
        // A version 2 publisher bears this id: an original may not speak in its name.
        record.counts.superseded += 1;
        record.counts.heartbeats += 1;
        return (record, Effect::Superseded);
    }

    let newest = heartbeat.components.iter().map(LegacyComponent::checked_at).max();
    let life = process_of(heartbeat);
    let known = record.life_index(&life);
    let offset_ms = known.and_then(|index| record.lives[index].offset_ms).or_else(|| common_offset(&record));
    let at = match (receipt.live, receipt.broker_at) {
        (true, _) => Some(receipt.at),
        (false, Some(broker)) => Some(broker.min(receipt.at)),
        (false, None) => {
            newest.zip(offset_ms).and_then(|(newest, offset)| by_wall_clock(receipt, newest.plus_ms(offset)))
        }
    };

    if let Some(forgotten_at) = record.rare.forgotten_at {
        if at.is_none_or(|at| at <= forgotten_at) {
            return (record, Effect::Superseded);
        }
        record.rare.set(|rare| rare.forgotten_at = None);
        record.first_received = receipt.at;
        record.last_seen = None;
        record.detail = Detail::Legacy;
    }

    note_life(&mut record, known, life, newest, at, receipt);
    record.saw(at);
    if receipt.live {
        record.clock_offset_ms = newest.map(|newest| newest.ms_since(receipt.at));
    }
    let mut news = receipt.live;
    let held = record.components.clone();
    let mut components: Vec<_> = held.iter().collect();
    for said in &heartbeat.components {
        // Within one message the newest entry was checked when the message was made, or just before.
        let age_ms = newest.map_or(0, |newest| newest.ms_since(said.checked_at()));
        let seen = at.map(|at| at.plus_ms(-age_ms));
        news |= merge(&mut components, said, seen);
    }
    record.components = Components::pack(components);
    if news {
        record.rare.set(|rare| rare.trace = receipt.trace);
        record.counts.heartbeats += 1;
        return (record, Effect::Stored);
    }
    record.counts.duplicates += 1;
    (record, Effect::Duplicate)
}

/// Names the process that sent a message: by its frozen start time, and by what it checks, since
/// two may have started in the same second. Each has a clock of its own.
fn process_of(heartbeat: &LegacyHeartbeat) -> Arc<str> {
    let names = heartbeat.components.iter().flat_map(|component| {
        let key = &component.key;
        key.kind.as_str().bytes().chain([0]).chain(key.name.bytes()).chain([0])
    });
    let hash = fnv1a(names);
    format!("{}#{hash:016x}", heartbeat.life).into()
}

/// The offset of the clocks on which all known originals agree, if they do.
fn common_offset(record: &Record) -> Option<i64> {
    let mut offsets = record.lives.iter().filter_map(|life| life.offset_ms);
    let first = offsets.next()?;
    let (low, high) = offsets.fold((first, first), |(low, high), next| (low.min(next), high.max(next)));
    (high.saturating_sub(low) <= SAME_CLOCK_MS).then_some(low)
}

fn note_life(
    record: &mut Record,
    known: Option<usize>,
    process: Arc<str>,
    newest: Option<Timestamp>,
    at: Option<Timestamp>,
    receipt: &Receipt,
) {
    let index = known.unwrap_or_else(|| {
        record.add_life(Life {
            epoch: Arc::clone(&process),
            sequence: SequenceWindow::new(1),
            offset_ms: None,
            started_at: None,
            began: at,
            last_seen: None,
            gaps: Box::default(),
        })
    });
    let life = &mut record.lives[index];
    // A gap says how often the process speaks only where it could be heard all the time.
    if let (true, Some(last)) = (receipt.live, life.last_seen)
        && last >= receipt.live_since
        && receipt.at > last
    {
        let gap = u64::try_from(receipt.at.ms_since(last)).unwrap_or(0);
        let oldest = (life.gaps.len() + 1).saturating_sub(GAPS_MAX);
        life.gaps = life.gaps.iter().skip(oldest).copied().chain([Duration::from_millis(gap)]).collect();
    }
    life.last_seen = life.last_seen.max(at);
    if receipt.live
        && let Some(newest) = newest
    {
        life.offset_ms = Some(receipt.at.ms_since(newest));
    }
    record.shown = process;
}

/// Merges one component in; says whether it brought anything new.
fn merge<'a>(
    components: &mut Vec<ComponentState<&'a str>>,
    said: &'a LegacyComponent,
    seen: Option<Timestamp>,
) -> bool {
    let key = said.key.borrowed();
    let at = match components.binary_search_by(|state| state.component.key.cmp(&key)) {
        Err(at) => {
            components.insert(at, ComponentState { component: first_state(said), seen });
            return true;
        }
        Ok(at) => at,
    };
    let state = &mut components[at];
    let held = &mut state.component;
    let before = (held.last_up_at, held.last_down_at);
    held.last_up_at = held.last_up_at.max(said.ok_at);
    held.last_down_at = held.last_down_at.max(said.not_ok_at);
    let mut news = before != (held.last_up_at, held.last_down_at);

    // Later in the store's clock wins, where both can be told in it; else by the component's own
    // time. On equal times not ok wins.
    let by_store = seen.zip(state.seen).map(|(new, old)| new.cmp(&old));
    let order = by_store.unwrap_or_else(|| said.checked_at().cmp(&held.checked_at));
    let takes = order.is_gt() || (order.is_eq() && said.outcome() == Outcome::Down);
    if takes && (held.checked_at != said.checked_at() || held.outcome != said.outcome()) {
        if held.outcome != said.outcome() {
            held.changed_at = Some(said.checked_at());
        }
        held.outcome = said.outcome();
        held.reason = reason(said.outcome());
        held.checked_at = said.checked_at();
        news = true;
    }
    if takes {
        state.seen = state.seen.max(seen);
    }
    news
}

fn first_state(said: &LegacyComponent) -> Component<&str> {
    Component {
        key: said.key.borrowed(),
        target: None,
        outcome: said.outcome(),
        reason: reason(said.outcome()),
        checked_at: said.checked_at(),
        changed_at: None,
        last_up_at: said.ok_at,
        last_down_at: said.not_ok_at,
        last_unknown_at: None,
        duration_seconds: None,
        checks_total: None,
        failures_total: None,
        figures: None,
        certificate_not_after: None,
    }
}

fn reason(outcome: Outcome) -> Option<Reason> {
    (outcome != Outcome::Up).then_some(Reason::Reported)
}
