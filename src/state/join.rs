//! Two forms of one record that do not follow from each other: the store went back to an older one, as after a
//! failover, and somebody went on from there while somebody else knew more. What both know is kept.

use super::components::Components;
use super::record::{Detail, LIVES_MAX, Life, Record};
use super::snapshot::PublisherCounts;

/// Whether a stored form follows from one that was stored before: it knows of every heartbeat that the other knows of.
///
/// Its number does not tell. A store that went back, as in a failover that lost its latest writes, goes on from an older
/// form, and comes to higher numbers there than those that were lost.
pub fn follows(later: &Record, earlier: &Record) -> bool {
    if later.is_forgotten() {
        return true;
    }
    if earlier
        .rare
        .forgotten_at
        .is_some_and(|forgotten_at| later.last_seen.is_none_or(|seen| seen <= forgotten_at))
    {
        return false;
    }
    let knows = |life: &Life| match later.life_index(&life.epoch) {
        Some(index) => later.lives[index].sequence.has_all(&life.sequence),
        // It made room for others.
        None => later.lives.len() >= LIVES_MAX,
    };
    earlier.lives.iter().all(knows) && knows_as_late(later, earlier)
}

/// Of each component of an original, which has no numbers, whether it was not checked before the earlier form.
fn knows_as_late(later: &Record, earlier: &Record) -> bool {
    if !matches!((&later.detail, &earlier.detail), (Detail::Legacy, Detail::Legacy)) {
        return true;
    }
    let known: Vec<_> = later.components.iter().collect();
    earlier.components.iter().all(|state| {
        let at = known.binary_search_by(|known| known.component.key.cmp(&state.component.key));
        at.ok().is_none_or(|at| known[at].component.checked_at >= state.component.checked_at)
    })
}

/// What both records together know. Counters take the larger of each, so that none goes back; what
/// only one of them counted is then missing in it.
pub fn join(a: &Record, b: &Record) -> Record {
    let (newer, older) = if is_newer(a, b) { (a, b) } else { (b, a) };
    let mut joined = newer.clone();
    joined.revision = newer.revision.max(older.revision);
    joined.first_received = newer.first_received.min(older.first_received);
    joined.last_seen = newer.last_seen.max(older.last_seen);
    joined.clock_offset_ms = newer.clock_offset_ms.or(older.clock_offset_ms);
    joined.rare.set(|rare| rare.conflict_at = newer.rare.conflict_at.max(older.rare.conflict_at));
    joined.counts = larger(newer.counts, older.counts);
    for life in &older.lives {
        join_life(&mut joined, life);
    }
    let over = [a, b].into_iter().filter_map(|record| record.rare.forgotten_at).max();
    if let Some(forgotten_at) = over {
        // Only a later sign of life ends a tombstone.
        if newer.is_forgotten() || joined.last_seen.is_none_or(|seen| seen <= forgotten_at) {
            return joined.forget(forgotten_at);
        }
    }
    if matches!((&newer.detail, &older.detail), (Detail::Legacy, Detail::Legacy)) && !older.is_forgotten() {
        joined.components = join_components(&newer.components, &older.components);
    }
    joined
}

/// Whether the first is the later one: of one process by its number, whenever which of them came, and otherwise by
/// when the publisher was last heard.
fn is_newer(a: &Record, b: &Record) -> bool {
    let number = |record: &Record| match record.detail {
        Detail::V2 { sequence, .. } => sequence,
        Detail::Legacy => 0,
    };
    let by_number = a.shown == b.shown && !a.is_forgotten() && !b.is_forgotten();
    let rank =
        |record: &Record| (if by_number { number(record) } else { 0 }, record.last_seen, record.revision);
    rank(a) >= rank(b)
}

fn larger(a: PublisherCounts, b: PublisherCounts) -> PublisherCounts {
    PublisherCounts {
        heartbeats: a.heartbeats.max(b.heartbeats),
        lost: a.lost.max(b.lost),
        duplicates: a.duplicates.max(b.duplicates),
        superseded: a.superseded.max(b.superseded),
        restarts: a.restarts.max(b.restarts),
    }
}

fn join_life(joined: &mut Record, life: &Life) {
    let Some(index) = joined.life_index(&life.epoch) else {
        joined.add_life(life.clone());
        return;
    };
    let known = &mut joined.lives[index];
    known.sequence.join(&life.sequence);
    known.offset_ms = known.offset_ms.or(life.offset_ms);
    known.started_at = known.started_at.or(life.started_at);
    known.began = known.began.or(life.began);
    known.last_seen = known.last_seen.max(life.last_seen);
}

/// Of each component what was checked later.
fn join_components(a: &Components, b: &Components) -> Components {
    let mut joined: Vec<_> = a.iter().collect();
    for state in b.iter() {
        match joined.binary_search_by(|known| known.component.key.cmp(&state.component.key)) {
            Ok(index) if joined[index].component.checked_at < state.component.checked_at => {
                joined[index] = state;
            }
            Ok(_) => {}
            Err(index) => joined.insert(index, state),
        }
    }
    Components::pack(joined)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::apply::{Receipt, apply};
    use super::*;
    use crate::heartbeat::{Epoch, Heartbeat, Message, PublisherId, PublisherTotals, Timestamp};

    fn beat(sequence: u64) -> Message {
        Message::V2(Box::new(Heartbeat {
            publisher: PublisherId::new("p").unwrap(),
            epoch: Epoch::parse("e").unwrap(),
            started_at: Timestamp::EPOCH,
            uptime: std::time::Duration::from_secs(sequence),
            sequence,
            sent_at: Timestamp::from_unix_ms(sequence.cast_signed() * 1000),
            interval: std::time::Duration::from_secs(1),
            version: "1".into(),
            totals: PublisherTotals::default(),
            components: Vec::new(),
            maintenance: Vec::new(),
            trace: None,
        }))
    }

    fn took(numbers: &[u64]) -> Option<Record> {
        let mut record = None;
        for number in numbers {
            let at = Timestamp::from_unix_ms(number.cast_signed() * 1000);
            let receipt = Receipt { live: true, ..Receipt::at(at) };
            record = Some(apply(record.as_ref(), &beat(*number), &receipt).0);
        }
        record
    }

    proptest! {
        /// As far as its window reaches, the joined record has seen what either has; nothing in it goes back.
        #[test]
        fn what_either_has_seen_is_seen(
            before in 1u64..20, a in prop::collection::vec(20u64..80, 0..30), b in prop::collection::vec(20u64..80, 0..30),
        ) {
            let with = |more: &[u64]| [&[before], more].concat();
            let (a, b) = (with(&a), with(&b));
            let (first, second) = (took(&a).unwrap(), took(&b).unwrap());
            let joined = join(&first, &second);
            prop_assert_eq!(&joined.lives, &join(&second, &first).lives);
            prop_assert_eq!(&join(&joined, &first), &joined);
            prop_assert!(joined.last_seen >= first.last_seen && joined.last_seen >= second.last_seen);
            let window = &joined.lives[0].sequence;
            prop_assert_eq!(window.highest, *a.iter().chain(&b).max().unwrap());
            for number in window.highest.saturating_sub(64)..=window.highest {
                let seen = a.contains(&number) || b.contains(&number);
                prop_assert_eq!(window.saw(number), seen, "{}", number);
            }
        }
    }

    proptest! {
        /// What goes on from a form follows from it; what goes on beside it does not, unless it came to know the same.
        #[test]
        fn one_form_follows_from_another_if_it_has_seen_the_same(
            before in prop::collection::vec(1u64..80, 1..30), a in prop::collection::vec(1u64..150, 0..9),
            b in prop::collection::vec(1u64..150, 0..9),
        ) {
            let with = |more: &[u64]| [&before[..], more].concat();
            let (first, second) = (took(&with(&a)).unwrap(), took(&with(&b)).unwrap());
            prop_assert!(follows(&first, &took(&before).unwrap()));
            let window = &second.lives[0].sequence;
            let remembered = window.highest.saturating_sub(64)..=window.highest;
            let knows = with(&a).iter().all(|number| {
                window.saw(*number) || (*number <= window.highest && !remembered.contains(number))
            });
            prop_assert_eq!(follows(&second, &first), knows || first.lives[0].sequence == *window);
            prop_assert!(follows(&join(&first, &second), &first) && follows(&join(&first, &second), &second));
        }
    }

    /// One had it live and early, the other late, from a backlog.
    #[test]
    fn of_one_process_the_higher_number_is_shown() {
        let early = took(&[1, 2]).unwrap();
        let backlog = Receipt::at(Timestamp::from_unix_ms(9_000));
        let late = apply(None, &beat(6), &backlog).0;
        assert!(late.last_seen < early.last_seen);
        for joined in [join(&early, &late), join(&late, &early)] {
            assert!(matches!(joined.detail, Detail::V2 { sequence: 6, .. }), "{joined:?}");
            assert_eq!(joined.last_seen, early.last_seen);
        }
    }

    #[test]
    fn a_tombstone_ends_by_a_later_sign_of_life_alone() {
        let (old, new) = (took(&[1, 2]).unwrap(), took(&[1, 2, 9]).unwrap());
        let tombstone = old.forget(Timestamp::from_unix_ms(5_000));
        assert!(join(&old, &tombstone).is_forgotten());
        assert!(join(&tombstone, &old).is_forgotten());
        assert!(!join(&tombstone, &new).is_forgotten());
    }
}
