//! Which publishers turned stale, came back, or were forgotten, and which replica says so. Pure.
//!
//! Every replica judges by itself and comes to the same verdicts. One speaks for all, so that a record is
//! told once: the one with the lowest id that is there. The others keep what they noticed for a while, in
//! case the speaker was gone already.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::heartbeat::{PublisherId, Timestamp};
use crate::state::moment::Judged;
use crate::trace::TraceContext;

/// What happened to a publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Its deadline passed.
    Stale,
    /// It is heard of again.
    Back,
    /// It is not shown any more.
    Forgotten,
}

/// One publisher whose verdict turned.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Turn {
    pub(super) publisher: PublisherId,
    pub(super) what: What,
    /// When, in the store's clock.
    pub(super) at: Timestamp,
    /// When this replica noticed.
    pub(super) noticed: Timestamp,
    pub(super) last_seen: Option<Timestamp>,
    /// How long the former verdict held, as far as this replica knows.
    pub(super) lasted: Option<Duration>,
    /// The trace of its newest heartbeat.
    pub(super) trace: Option<TraceContext>,
}

/// What is known of one publisher's verdict, in little: there is one for each.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// Since when, where that was seen to begin.
    since: Timestamp,
    began_here: bool,
    /// The latest that was given: one that is withheld for a while does not turn anything.
    up: Option<bool>,
    /// What the latest look gave.
    fresh: bool,
    /// Which of two kinds of looks that was, the even or the odd ones.
    odd: bool,
}

impl Known {
    /// How long it held.
    fn lasted(&self, until: Timestamp) -> Option<Duration> {
        self.began_here.then(|| Duration::from_millis(u64::try_from(until.ms_since(self.since)).unwrap_or(0)))
    }
}

/// A speaker that was there so long after a turn was noticed here has noticed it too, and has told it.
const TELLS_WITHIN: Duration = Duration::from_secs(3);

/// Turns that are kept at most.
const KEPT_MAX: usize = 10_000;

/// All verdicts, from one look to the next.
#[derive(Debug)]
pub(super) struct Verdicts {
    known: HashMap<PublisherId, Known>,
    odd: bool,
    /// The first look: what was silent before then was told before then, by whoever listened.
    began: Option<Timestamp>,
    speaks: bool,
    /// While another replica speaks: when it was last there, and what it should have told.
    speaker_at: Timestamp,
    unsaid: VecDeque<Turn>,
}

impl Default for Verdicts {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            odd: false,
            began: None,
            speaks: true,
            speaker_at: Timestamp::EPOCH,
            unsaid: VecDeque::new(),
        }
    }
}

impl Verdicts {
    /// Takes in whether another replica speaks, and when it last said that it was there. Returns what it
    /// may not have told, if it is gone.
    pub(super) fn speaker(&mut self, other: Option<Timestamp>) -> Vec<Turn> {
        match other {
            Some(at) => {
                self.speaks = false;
                self.speaker_at = at;
                self.unsaid.retain(|turn| turn.noticed.plus(TELLS_WITHIN) > at);
                Vec::new()
            }
            None => {
                self.speaks = true;
                // Told twice in the worst case, rather than never.
                self.unsaid.drain(..).collect()
            }
        }
    }

    /// Whether this replica tells what turns.
    pub(super) fn speaks(&self) -> bool {
        self.speaks
    }

    /// Whether a publisher was fresh at the latest look.
    pub(super) fn is_up(&self, publisher: &PublisherId) -> bool {
        self.known.get(publisher).is_some_and(|known| known.fresh)
    }

    /// Compares with the look before. Returns every turn, for this replica's own log.
    pub(super) fn look(&mut self, now: Timestamp, judged: impl IntoIterator<Item = Judged>) -> Vec<Turn> {
        let began = *self.began.get_or_insert(now);
        self.odd = !self.odd;
        let (mut turns, mut shown) = (Vec::new(), 0);
        for Judged { record, up, deadline } in judged {
            let turn = |what, at, lasted| {
                let (publisher, last_seen, trace) = (record.id.clone(), record.last_seen, record.rare.trace);
                Turn { publisher, what, at, noticed: now, last_seen, lasted, trace }
            };
            if record.is_forgotten() {
                let known = self.known.remove(&record.id);
                turns.extend(known.map(|known| turn(What::Forgotten, now, known.lasted(now))));
                continue;
            }
            shown += 1;
            let before = self.known.get(&record.id).copied();
            let was = before.and_then(|known| known.up);
            let what = match (was, up) {
                (Some(true), Some(false)) => Some(What::Stale),
                (None, Some(false)) if deadline >= began => Some(What::Stale),
                (Some(false), Some(true)) => Some(What::Back),
                _ => None,
            };
            // It was stale from its deadline on, whenever that was noticed.
            let at = if what == Some(What::Stale) { deadline.min(now) } else { now };
            turns.extend(what.map(|what| turn(what, at, before.and_then(|known| known.lasted(at)))));
            let turned = up.is_some() && up != was;
            let fresh = up == Some(true);
            let up = up.or(was);
            let known = match before {
                Some(before) if !turned => Known { up, fresh, odd: self.odd, ..before },
                _ => Known { since: at, began_here: before.is_some(), up, fresh, odd: self.odd },
            };
            self.known.insert(record.id.clone(), known);
        }
        if self.known.len() > shown {
            self.drop_those_gone(now, &mut turns);
        }
        if !self.speaks {
            self.unsaid.extend(turns.iter().cloned());
            while self.unsaid.len() > KEPT_MAX {
                self.unsaid.pop_front();
            }
        }
        turns
    }

    /// Those of whom not even a tombstone was left at the latest look.
    fn drop_those_gone(&mut self, now: Timestamp, turns: &mut Vec<Turn>) {
        let odd = self.odd;
        for (publisher, known) in self.known.extract_if(|_, known| known.odd != odd) {
            let (what, lasted) = (What::Forgotten, known.lasted(now));
            turns.push(Turn { publisher, what, at: now, noticed: now, last_seen: None, lasted, trace: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Record;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_unix_ms(1_000_000 + ms)
    }

    fn judged(id: &str, up: Option<bool>) -> Judged {
        let record = Record { last_seen: Some(at(0)), ..Record::new(PublisherId::new(id).unwrap(), at(0)) };
        Judged { record: record.into(), up, deadline: at(9_000) }
    }

    fn forgotten(id: &str, when: Timestamp) -> Judged {
        let Judged { record, deadline, .. } = judged(id, None);
        Judged { record: record.forget(when).into(), up: Some(false), deadline }
    }

    fn told(turns: &[Turn]) -> Vec<(&str, What, Option<u64>)> {
        let lasted = |turn: &Turn| turn.lasted.map(|lasted| lasted.as_secs());
        turns.iter().map(|turn| (turn.publisher.as_str(), turn.what, lasted(turn))).collect()
    }

    #[test]
    fn each_turn_is_told_once_with_how_long_it_was_before() {
        let mut verdicts = Verdicts::default();
        let mut look = |second: i64, up| verdicts.look(at(second * 1000), vec![judged("a", up)]);
        assert_eq!(look(0, Some(true)), []);
        // Withheld for a while: nothing turned.
        assert_eq!(look(5, None), []);
        let stale = look(10, Some(false));
        assert_eq!(told(&stale), [("a", What::Stale, None)]);
        assert_eq!(stale[0].at, at(9_000), "since its deadline");
        assert_eq!(look(11, Some(false)), []);
        assert_eq!(told(&look(39, Some(true))), [("a", What::Back, Some(30))]);
        let gone = verdicts.look(at(50_000), [forgotten("a", at(49_000))]);
        assert_eq!(told(&gone), [("a", What::Forgotten, Some(11))]);
        assert_eq!(gone[0].last_seen, Some(at(0)));
        assert_eq!(verdicts.look(at(51_000), [forgotten("a", at(49_000))]), []);
        // It comes back as one that was never heard of.
        assert_eq!(verdicts.look(at(52_000), [judged("a", Some(true))]), []);
    }

    #[test]
    fn who_left_no_tombstone_is_forgotten_as_well() {
        let mut verdicts = Verdicts::default();
        let all = || ["a", "b", "c"].map(|id| judged(id, Some(true)));
        for second in 0..3 {
            assert_eq!(verdicts.look(at(second * 1_000), all()), []);
        }
        let left = all().into_iter().filter(|judged| judged.record.id.as_str() != "b");
        assert_eq!(told(&verdicts.look(at(3_000), left.clone())), [("b", What::Forgotten, None)]);
        assert_eq!(verdicts.look(at(4_000), left), []);
    }

    /// It turns nothing, and still nobody may call its components up.
    #[test]
    fn who_has_no_verdict_is_not_up() {
        let mut verdicts = Verdicts::default();
        let p = PublisherId::new("p").unwrap();
        verdicts.look(at(0), vec![judged("p", Some(true))]);
        assert!(verdicts.is_up(&p));
        assert_eq!(verdicts.look(at(1_000), vec![judged("p", None)]), []);
        assert!(!verdicts.is_up(&p));
    }

    #[test]
    fn who_takes_over_tells_what_the_speaker_may_not_have_told() {
        let mut verdicts = Verdicts::default();
        assert!(verdicts.speaks());
        verdicts.look(at(0), vec![judged("a", Some(true)), judged("b", Some(true))]);
        assert_eq!(verdicts.speaker(Some(at(1_000))), []);
        assert!(!verdicts.speaks());
        verdicts.look(at(9_000), vec![judged("a", Some(false)), judged("b", Some(true))]);
        // It was there long after that, and has told it.
        verdicts.speaker(Some(at(12_000)));
        verdicts.look(at(13_000), vec![judged("a", Some(true)), judged("b", Some(true))]);
        assert_eq!(told(&verdicts.speaker(None)), [("a", What::Back, Some(4))]);
        assert!(verdicts.speaks());
        assert_eq!(verdicts.speaker(None), []);
    }

    #[test]
    fn what_another_has_surely_told_is_not_kept() {
        let mut verdicts = Verdicts::default();
        verdicts.speaker(Some(at(0)));
        verdicts.look(at(0), vec![judged("a", Some(true))]);
        verdicts.look(at(10_000), vec![judged("a", Some(false))]);
        verdicts.speaker(Some(at(11_000)));
        assert_eq!(verdicts.unsaid.len(), 1, "perhaps it died in the middle of it");
        verdicts.speaker(Some(at(13_000)));
        assert_eq!(verdicts.unsaid.len(), 0);
    }

    #[test]
    fn a_restart_does_not_tell_again_who_was_stale_before() {
        let mut verdicts = Verdicts::default();
        assert_eq!(verdicts.look(at(60_000), vec![judged("a", Some(false))]), []);
        assert_eq!(
            told(&verdicts.look(at(61_000), vec![judged("a", Some(true))])),
            [("a", What::Back, None)]
        );
        // Not to be judged at first, and its silence proven since then.
        let mut verdicts = Verdicts::default();
        verdicts.look(at(5_000), vec![judged("a", None)]);
        assert_eq!(
            told(&verdicts.look(at(10_000), vec![judged("a", Some(false))])),
            [("a", What::Stale, None)]
        );
    }
}
