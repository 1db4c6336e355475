//! Which heartbeats of one epoch were seen: the newest, and a window of the 64 before it.

/// Sequence numbers of one epoch. A number is lost when it leaves the window unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceWindow {
    /// The number heard first. What came before it may have been sent before anybody listened.
    pub first: u64,
    /// The highest number seen.
    pub highest: u64,
    /// Bit `i` is set if `highest - 1 - i` was seen.
    pub seen: u64,
}

/// What a number means to a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Higher than all before; so many numbers left the window unseen.
    Newer {
        /// Numbers that will not be waited for any longer.
        lost: u64,
    },
    /// Older than the newest, and not seen before as far as the window tells.
    Late,
    /// Seen before, or too old to tell.
    Duplicate,
}

/// Numbers that a window remembers below the highest.
pub const WINDOW: u64 = 64;

impl SequenceWindow {
    /// A window that begins with its first number.
    pub fn new(first: u64) -> Self {
        Self { first, highest: first, seen: 0 }
    }

    /// Takes a number in and says what it is.
    pub fn insert(&mut self, number: u64) -> Arrival {
        if number > self.highest {
            return Arrival::Newer { lost: self.advance(number) };
        }
        let behind = self.highest - number;
        if behind == 0 || behind > WINDOW {
            return Arrival::Duplicate;
        }
        let bit = 1u64 << (behind - 1);
        if self.seen & bit != 0 {
            return Arrival::Duplicate;
        }
        self.seen |= bit;
        Arrival::Late
    }

    /// Marks all that is missing as seen: a stranger may have taken it, so nobody may call it lost.
    pub fn excuse(&mut self) {
        self.seen = u64::MAX;
    }

    /// Moves the window up and counts what falls out of it unseen.
    fn advance(&mut self, number: u64) -> u64 {
        let step = number - self.highest;
        // Numbers that leave: those of the old window, and those that a jump skips altogether.
        let first_kept = number.saturating_sub(WINDOW);
        let lowest_old = self.highest.saturating_sub(WINDOW);
        let leaving_old = (lowest_old..first_kept.min(self.highest))
            .filter(|old| *old >= self.first && !self.saw(*old))
            .count() as u64;
        let skipped = first_kept.saturating_sub(self.highest + 1);
        // The former highest becomes bit `step - 1`.
        self.seen = match step {
            1..=63 => (self.seen << step) | (1 << (step - 1)),
            64 => 1 << 63,
            _ => 0,
        };
        self.highest = number;
        leaving_old + skipped
    }

    fn saw(&self, number: u64) -> bool {
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

    #[test]
    fn a_gap_is_lost_only_when_it_leaves_the_window() {
        let mut window = SequenceWindow::new(1);
        assert_eq!(window.insert(3), Arrival::Newer { lost: 0 });
        for number in 4..=66 {
            assert_eq!(window.insert(number), Arrival::Newer { lost: 0 }, "{number}");
        }
        assert_eq!(window.insert(67), Arrival::Newer { lost: 1 });
        assert_eq!(window.insert(2), Arrival::Duplicate);
    }

    #[test]
    fn a_late_one_is_not_lost() {
        let mut window = SequenceWindow::new(1);
        window.insert(3);
        assert_eq!(window.insert(2), Arrival::Late);
        assert_eq!(window.insert(2), Arrival::Duplicate);
        assert_eq!(window.insert(200), Arrival::Newer { lost: 200 - 64 - 4 });
    }

    #[test]
    fn what_was_before_the_first_is_not_lost() {
        let mut window = SequenceWindow::new(50);
        assert_eq!(window.insert(49), Arrival::Late);
        assert_eq!(window.insert(51 + 64), Arrival::Newer { lost: 0 });
        assert_eq!(window.insert(51 + 65), Arrival::Newer { lost: 1 });
    }

    proptest! {
        /// Against a set of all numbers: after everything, lost = what the set misses below the window.
        #[test]
        fn agrees_with_a_naive_model(first in 1u64..100, numbers in prop::collection::vec(1u64..400, 0..300)) {
            let mut window = SequenceWindow::new(first);
            let mut model = BTreeSet::from([first]);
            let (mut highest, mut lost) = (first, 0);
            for number in numbers {
                let expected_known = model.contains(&number) || (number < highest && highest - number > WINDOW);
                match window.insert(number) {
                    Arrival::Newer { lost: more } => {
                        prop_assert!(number > highest);
                        lost += more;
                        highest = number;
                        model.insert(number);
                    }
                    Arrival::Late => {
                        prop_assert!(!expected_known && number < highest);
                        model.insert(number);
                    }
                    Arrival::Duplicate => prop_assert!(expected_known),
                }
                let gone = (first..highest.saturating_sub(WINDOW)).filter(|n| !model.contains(n)).count() as u64;
                prop_assert_eq!(lost, gone);
            }
        }
    }
}
