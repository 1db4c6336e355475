//! Which heartbeats of one epoch were seen: the newest, and a window of the 64 before it.

use super::elsewhere::{Elsewhere, Missing};
use crate::heartbeat::Timestamp;

/// Sequence numbers of one epoch. A number is lost when it leaves the window unseen; one that may be elsewhere
/// only when it was waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceWindow {
    /// The number heard first. What came before it may have been sent before anybody listened.
    pub first: u64,
    /// The highest number seen.
    pub highest: u64,
    /// Bit `i` is set if `highest - 1 - i` was seen.
    pub seen: u64,
    /// What may be elsewhere; `None` where nothing may.
    pub missing: Option<Box<Missing>>,
}

/// What a number means to a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Higher than all before; so many numbers are given up as lost.
    Newer {
        /// Numbers that will not be waited for any longer.
        lost: u64,
    },
    /// Older than the newest, and not seen before as far as is remembered.
    Late,
    /// Seen before, or too old to tell.
    Duplicate,
}

/// Numbers that a window remembers below the highest.
pub const WINDOW: u64 = 64;

impl SequenceWindow {
    /// A window that begins with its first number.
    pub fn new(first: u64) -> Self {
        Self { first, highest: first, seen: 0, missing: None }
    }

    /// Takes in a number that came `at`, and says what it is. What is missing now may be `elsewhere`.
    pub fn insert(&mut self, number: u64, elsewhere: Elsewhere, at: Timestamp) -> Arrival {
        let follows = number == self.highest.saturating_add(1) && !self.has_gaps();
        if elsewhere != Elsewhere::Nobody && !(follows && self.missing.is_none()) {
            let missing = self.missing.get_or_insert_with(|| Box::new(Missing::new(at)));
            missing.doubt(elsewhere, number.max(self.highest), at);
        }
        if number > self.highest {
            return Arrival::Newer { lost: self.advance(number).saturating_add(self.give_up(at)) };
        }
        let behind = self.highest - number;
        if behind > WINDOW {
            let came_after_all = self.missing.as_mut().is_some_and(|missing| missing.take(number));
            self.tidy();
            return if came_after_all { Arrival::Late } else { Arrival::Duplicate };
        }
        if self.saw(number) {
            return Arrival::Duplicate;
        }
        self.seen |= 1u64 << (behind - 1);
        self.tidy();
        Arrival::Late
    }

    /// Takes in what another window of the same epoch has seen. Nothing is called lost for that.
    pub(super) fn join(&mut self, other: &Self) {
        let first = self.first.min(other.first);
        let (mut newer, older) = if self.highest >= other.highest {
            (self.clone(), other.clone())
        } else {
            (other.clone(), self.clone())
        };
        newer.first = first;
        let lowest = older.highest.saturating_sub(WINDOW);
        for number in (lowest..=older.highest).filter(|number| older.saw(*number)) {
            newer.insert(number, Elsewhere::Nobody, Timestamp::EPOCH);
        }
        *self = newer;
    }

    /// Whether it has seen what another window of the same epoch has, as far as it remembers.
    pub(super) fn has_all(&self, other: &Self) -> bool {
        let Some(ahead) = self.highest.checked_sub(other.highest) else { return false };
        // With the highest itself as the lowest bit.
        let seen = |window: &Self| (u128::from(window.seen) << 1) | 1;
        let remembered = (1u128 << (WINDOW + 1)) - 1;
        let theirs = if ahead > WINDOW { 0 } else { (seen(other) << ahead) & remembered };
        theirs & !seen(self) == 0
    }

    /// Moves the window up and counts what is given up thereby.
    fn advance(&mut self, number: u64) -> u64 {
        let step = number - self.highest;
        // Numbers that leave: those of the old window, and those that a jump skips altogether.
        let first_kept = number.saturating_sub(WINDOW);
        let lowest_old = self.highest.saturating_sub(WINDOW).max(self.first);
        let mut lost = 0;
        for old in lowest_old..first_kept.min(self.highest) {
            if !self.saw(old) {
                lost += self.leaves(old..old + 1);
            }
        }
        lost += self.leaves(self.highest + 1..first_kept);
        // The former highest becomes bit `step - 1`.
        self.seen = match step {
            1..=63 => (self.seen << step) | (1 << (step - 1)),
            64 => 1 << 63,
            _ => 0,
        };
        self.highest = number;
        lost
    }

    /// Numbers leave the window unseen; returns how many of them are lost.
    fn leaves(&mut self, numbers: std::ops::Range<u64>) -> u64 {
        let Some(missing) = &mut self.missing else { return numbers.end.saturating_sub(numbers.start) };
        let doubted = numbers.start..numbers.end.min(missing.doubted_to.saturating_add(1));
        for number in doubted.start.max(doubted.end.saturating_sub(Missing::span()))..doubted.end {
            missing.add(number);
        }
        numbers.end.saturating_sub(numbers.start.max(doubted.end))
    }

    /// Gives up what is missing for long; returns how much of it is lost.
    fn give_up(&mut self, at: Timestamp) -> u64 {
        let kept_from = self.highest.saturating_sub(WINDOW);
        let Some(missing) = &mut self.missing else { return 0 };
        let lost = missing.give_up(at, kept_from);
        self.tidy();
        lost
    }

    /// Where nothing is missing, nothing is in doubt.
    fn tidy(&mut self) {
        let kept_from = self.highest.saturating_sub(WINDOW);
        let gaps = self.has_gaps();
        let is_over = |missing: &Missing| missing.is_empty() && (!gaps || missing.doubted_to < kept_from);
        if self.missing.as_deref().is_some_and(is_over) {
            self.missing = None;
        }
    }

    /// Whether a number of the window was not seen.
    fn has_gaps(&self) -> bool {
        let counted = self.highest.saturating_sub(self.first).min(WINDOW);
        let all = u64::MAX.checked_shr(u32::try_from(WINDOW - counted).unwrap_or(0)).unwrap_or(0);
        !self.seen & all != 0
    }

    pub(super) fn saw(&self, number: u64) -> bool {
        match self.highest.checked_sub(number) {
            Some(0) => true,
            Some(behind) if behind <= WINDOW => self.seen & (1 << (behind - 1)) != 0,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_ms(i64::try_from(seconds).unwrap() * 1000)
    }

    /// One replica alone.
    fn insert(window: &mut SequenceWindow, number: u64) -> Arrival {
        window.insert(number, Elsewhere::Nobody, Timestamp::EPOCH)
    }

    fn lost(arrival: Arrival) -> u64 {
        match arrival {
            Arrival::Newer { lost } => lost,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_gap_is_lost_only_when_it_leaves_the_window() {
        let mut window = SequenceWindow::new(1);
        assert_eq!(insert(&mut window, 3), Arrival::Newer { lost: 0 });
        for number in 4..=66 {
            assert_eq!(insert(&mut window, number), Arrival::Newer { lost: 0 }, "{number}");
        }
        assert_eq!(insert(&mut window, 67), Arrival::Newer { lost: 1 });
        assert_eq!(insert(&mut window, 2), Arrival::Duplicate);
    }

    #[test]
    fn a_late_one_is_not_lost() {
        let mut window = SequenceWindow::new(1);
        insert(&mut window, 3);
        assert_eq!(insert(&mut window, 2), Arrival::Late);
        assert_eq!(insert(&mut window, 2), Arrival::Duplicate);
        assert_eq!(insert(&mut window, 200), Arrival::Newer { lost: 200 - 64 - 4 });
    }

    #[test]
    fn what_was_before_the_first_is_not_lost() {
        let mut window = SequenceWindow::new(50);
        assert_eq!(insert(&mut window, 49), Arrival::Late);
        assert_eq!(insert(&mut window, 51 + 64), Arrival::Newer { lost: 0 });
        assert_eq!(insert(&mut window, 51 + 65), Arrival::Newer { lost: 1 });
    }

    /// Two replicas cut off from the store: this one takes every other heartbeat, one a second, and then stores.
    #[test]
    fn what_the_other_replica_has_is_not_lost_and_comes_after_all() {
        let mut window = SequenceWindow::new(1);
        for number in (3..=301).step_by(2) {
            assert_eq!(window.insert(number, Elsewhere::HeldBack, at(number)), Arrival::Newer { lost: 0 });
        }
        // The other one stores what it has, save one that is truly lost.
        for number in (2..=300).step_by(2).filter(|number| *number != 40) {
            let mut again = || window.insert(number, Elsewhere::Replica, at(302));
            assert_eq!((again(), again()), (Arrival::Late, Arrival::Duplicate), "{number}");
        }
        let lost: Vec<u64> = (302..=500)
            .filter(|number| lost(window.insert(*number, Elsewhere::Nobody, at(*number))) == 1)
            .collect();
        // Waited for since 301, when the last came that could not be stored.
        assert_eq!((&lost[..], &window.missing), ([421].as_slice(), &None));
    }

    #[test]
    fn what_a_stranger_took_is_never_lost() {
        let mut window = SequenceWindow::new(1);
        window.insert(100, Elsewhere::Stranger, at(0));
        window.insert(150, Elsewhere::Replica, at(0));
        assert_eq!(window.insert(90, Elsewhere::Nobody, at(0)), Arrival::Late);
        // 101 to 149 were missing when only a replica could have had them.
        assert_eq!(lost(window.insert(1000, Elsewhere::Nobody, at(61))), 1000 - 64 - 151);
        assert_eq!(lost(window.insert(1001, Elsewhere::Nobody, at(122))), 49 + 1);
    }

    /// A number from anywhere, such as a hostile message's, costs neither time nor memory.
    #[test]
    fn a_jump_to_the_end_of_all_numbers_is_bounded() {
        let mut window = SequenceWindow::new(1);
        window.insert(u64::MAX, Elsewhere::Replica, at(0));
        assert_eq!(window.missing.as_ref().unwrap().words.len() as u64 * 64, Missing::span());
        assert_eq!(window.insert(u64::MAX - 65, Elsewhere::Nobody, at(0)), Arrival::Late);
        assert_eq!(lost(insert(&mut SequenceWindow::new(1), u64::MAX)), u64::MAX - 64 - 2);
    }

    /// Every number with what is known of it.
    struct Naive {
        first: u64,
        seen: BTreeSet<u64>,
        missing: BTreeSet<u64>,
        left_to: u64,
        doubted_to: u64,
        stranger_to: u64,
        waited_to: u64,
        since: u64,
    }

    impl Naive {
        fn insert(&mut self, number: u64, elsewhere: Elsewhere, at: u64) -> Arrival {
            let highest = *self.seen.last().unwrap();
            let to = number.max(highest);
            let first = self.first.max(highest.saturating_sub(WINDOW));
            let gaps = |seen: &BTreeSet<u64>, to: u64| (first..to).any(|number| !seen.contains(&number));
            let doubted = self.doubted_to > 0 || number != highest + 1 || gaps(&self.seen, highest);
            if elsewhere != Elsewhere::Nobody && doubted {
                if self.doubted_to == 0 {
                    self.since = at;
                }
                self.doubted_to = self.doubted_to.max(to);
            }
            let elsewhere = if doubted { elsewhere } else { Elsewhere::Nobody };
            match elsewhere {
                Elsewhere::HeldBack => self.since = self.since.max(at),
                Elsewhere::Stranger => {
                    self.since = self.since.max(at);
                    self.stranger_to = self.stranger_to.max(to);
                }
                _ => {}
            }
            if number <= highest {
                let within = highest - number <= WINDOW && !self.seen.contains(&number);
                let arrival = if within || self.missing.remove(&number) {
                    self.seen.insert(number);
                    Arrival::Late
                } else {
                    Arrival::Duplicate
                };
                if arrival == Arrival::Late || highest - number > WINDOW {
                    self.tidy();
                }
                return arrival;
            }
            self.seen.insert(number);
            let kept_from = number.saturating_sub(WINDOW);
            let left = self.left_to.max(self.first)..kept_from;
            let unseen: Vec<u64> = left.filter(|left| !self.seen.contains(left)).collect();
            self.left_to = kept_from;
            let (doubted, mut lost): (Vec<u64>, Vec<u64>) =
                unseen.into_iter().partition(|left| *left <= self.doubted_to);
            self.missing.extend(doubted);
            if self.doubted_to > 0 && at >= self.since + 60 {
                let given_up = self.missing.iter().copied().filter(|missing| *missing <= self.waited_to);
                let given_up: Vec<u64> = given_up.collect();
                self.missing.retain(|missing| *missing > self.waited_to);
                lost.extend(given_up.into_iter().filter(|missing| *missing > self.stranger_to));
                (self.waited_to, self.since) = (kept_from.saturating_sub(1), at);
            }
            self.tidy();
            Arrival::Newer { lost: lost.len() as u64 }
        }

        fn tidy(&mut self) {
            let highest = *self.seen.last().unwrap();
            let kept_from = highest.saturating_sub(WINDOW);
            let gaps = (self.first.max(kept_from)..highest).any(|number| !self.seen.contains(&number));
            if self.missing.is_empty() && (!gaps || self.doubted_to < kept_from) {
                (self.doubted_to, self.stranger_to, self.waited_to) = (0, 0, 0);
            }
        }
    }

    proptest! {
        /// Number by number, with doubts that come and go.
        #[test]
        fn agrees_with_a_naive_model(
            first in 1u64..100,
            numbers in prop::collection::vec((1u64..600, 0u8..9, 0u64..20), 0..300),
        ) {
            let mut window = SequenceWindow::new(first);
            let mut naive = Naive {
                first, seen: BTreeSet::from([first]), missing: BTreeSet::new(), left_to: 0,
                doubted_to: 0, stranger_to: 0, waited_to: 0, since: 0,
            };
            let mut now = 0;
            for (number, doubt, passed) in numbers {
                now += passed;
                let elsewhere = match doubt {
                    0 => Elsewhere::Replica,
                    1 => Elsewhere::HeldBack,
                    2 => Elsewhere::Stranger,
                    _ => Elsewhere::Nobody,
                };
                let (is, expected) =
                    (window.insert(number, elsewhere, at(now)), naive.insert(number, elsewhere, now));
                prop_assert_eq!(is, expected, "{}", number);
            }
        }
    }
}
