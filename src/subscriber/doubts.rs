//! Components that turned unknown though their publisher beats: a hung prober, or one of several originals that
//! fell silent. No message says so, so it is seen by looking. Pure.

use std::collections::BTreeMap;

use crate::heartbeat::{Component, ComponentKey, Outcome, PublisherId, Timestamp};
use crate::state::change::Turned;
use crate::state::moment::Doubted;

/// Those that were in doubt at the look before, as they were last told.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    known: BTreeMap<(PublisherId, ComponentKey), Doubted>,
}

impl Doubts {
    /// Compares with the look before. `now_told` gives a component as its publisher tells it now, if that
    /// publisher is fresh: only then is a doubt over, and not just beside the point.
    pub(super) fn look(
        &mut self,
        now: Timestamp,
        doubted: impl IntoIterator<Item = Doubted>,
        now_told: impl Fn(&PublisherId, &ComponentKey) -> Option<Component>,
    ) -> Vec<(PublisherId, Turned)> {
        let mut turned = Vec::new();
        let mut over = std::mem::take(&mut self.known);
        for doubt in doubted {
            let id = (doubt.publisher.clone(), doubt.component.key.clone());
            if over.remove(&id).is_none() && doubt.component.outcome != Outcome::Unknown {
                let old = in_store_time(&doubt);
                turned.push((doubt.publisher.clone(), Turned { old: Some(old), new: unknown(&doubt, now) }));
            }
            self.known.insert(id, doubt);
        }
        for ((publisher, key), doubt) in over {
            // Where it is another than before, the message that ended the doubt was told of.
            let same = |told: &Component| told.outcome == doubt.component.outcome;
            let told = now_told(&publisher, &key).filter(same);
            let Some(told) = told.filter(|told| told.outcome != Outcome::Unknown) else { continue };
            // What it is now began with the check that ended the doubt.
            let new = Component { changed_at: Some(now), checked_at: now, ..told };
            turned.push((publisher, Turned { old: Some(unknown(&doubt, now)), new }));
        }
        turned
    }
}

/// As it was, with its times in the store's clock.
fn in_store_time(doubt: &Doubted) -> Component {
    let shifted = |at: Timestamp| at.plus_ms(doubt.clock_offset_ms.saturating_neg());
    let component = &doubt.component;
    Component {
        changed_at: component.changed_at.map(shifted),
        checked_at: shifted(component.checked_at),
        ..component.clone()
    }
}

/// As it is shown while it is in doubt.
fn unknown(doubt: &Doubted, now: Timestamp) -> Component {
    Component {
        outcome: Outcome::Unknown,
        reason: Some(doubt.reason),
        changed_at: Some(doubt.since),
        checked_at: now,
        ..doubt.component.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heartbeat::Reason;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_ms(1_000_000 + seconds * 1000)
    }

    fn component(outcome: Outcome) -> Component {
        // Its publisher's clock is an hour ahead.
        let changed_at = Some(at(3_600));
        Component { changed_at, ..Component::checked("db", outcome, at(3_610)) }
    }

    fn doubted(outcome: Outcome) -> Doubted {
        Doubted {
            publisher: PublisherId::new("p").unwrap(),
            component: component(outcome),
            clock_offset_ms: 3_600_000,
            reason: Reason::Stale,
            since: at(40),
        }
    }

    fn told(turned: &[(PublisherId, Turned)]) -> Vec<(Outcome, Outcome, u64)> {
        let of = |(_, turned): &(PublisherId, Turned)| {
            let old = turned.old.as_ref().unwrap();
            (old.outcome, turned.new.outcome, turned.lasted().unwrap().as_secs())
        };
        turned.iter().map(of).collect()
    }

    #[test]
    fn a_component_that_is_not_checked_any_more_is_told_once_and_so_is_its_return() {
        let mut doubts = Doubts::default();
        let fresh = |_: &PublisherId, _: &ComponentKey| Some(component(Outcome::Up));
        let first = doubts.look(at(41), vec![doubted(Outcome::Up)], fresh);
        assert_eq!(told(&first), [(Outcome::Up, Outcome::Unknown, 40)]);
        assert_eq!(first[0].1.new.reason, Some(Reason::Stale));
        assert_eq!(doubts.look(at(42), vec![doubted(Outcome::Up)], fresh), []);
        let back = doubts.look(at(50), Vec::new(), fresh);
        assert_eq!(told(&back), [(Outcome::Unknown, Outcome::Up, 10)]);
        assert_eq!(doubts.look(at(51), Vec::new(), fresh), []);
        // What it is by then is told with its message.
        doubts.look(at(60), vec![doubted(Outcome::Down)], fresh);
        assert_eq!(doubts.look(at(61), Vec::new(), fresh), []);
    }

    #[test]
    fn a_publisher_that_falls_silent_ends_no_doubt_and_what_was_unknown_is_no_news() {
        let mut doubts = Doubts::default();
        let stale = |_: &PublisherId, _: &ComponentKey| None;
        doubts.look(at(41), vec![doubted(Outcome::Up)], stale);
        assert_eq!(doubts.look(at(50), Vec::new(), stale), []);
        assert_eq!(doubts.look(at(60), vec![doubted(Outcome::Unknown)], stale), []);
    }
}
