//! What the receiver was shown last, so that what is gone is withdrawn: a last value repeated for ever is
//! the field's best-known lie.
//!
//! Of each series there is one bit. A withdrawn series gets one point that says that there is no value, and
//! then none; until that point has arrived, it is owed.

use std::sync::Arc;

use crate::heartbeat::{ComponentKey, PublisherId, Reason};

/// One bit for each of some series: those that have a value, and those whose withdrawal is owed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) valued: u64,
    pub(super) withdrawn: u64,
}

impl Marks {
    /// From what was shown before to what has a value now.
    pub(super) fn turn(before: Self, valued: u64) -> Self {
        Self { valued, withdrawn: (before.valued | before.withdrawn) & !valued }
    }

    /// The marks of an export that ended: what was owed is paid, or is owed still.
    fn settle(&mut self, delivered: bool) {
        if delivered {
            self.withdrawn = 0;
        } else {
            self.valued |= self.withdrawn;
        }
    }

    fn is_blank(self) -> bool {
        self.valued | self.withdrawn == 0
    }
}

/// Whether bit `index` is set.
pub(super) fn has(bits: u64, index: usize) -> bool {
    bits >> index & 1 == 1
}

/// The version and epoch of a publisher, which are the labels of its info.
pub(super) type Info = (Arc<str>, Arc<str>);

/// One publisher as it was shown.
#[derive(Debug)]
pub(super) struct ShownPublisher {
    pub(super) id: PublisherId,
    pub(super) rows: Marks,
    pub(super) info: Option<Info>,
    /// Infos of former epochs, whose withdrawal is owed.
    pub(super) infos_withdrawn: Vec<Info>,
    /// Sorted by key.
    pub(super) components: Vec<ShownComponent>,
}

/// One component as it was shown.
#[derive(Debug)]
pub(super) struct ShownComponent {
    pub(super) key: ComponentKey,
    pub(super) rows: Marks,
    /// A bit for each of [`Reason::ALL`].
    pub(super) reasons: Marks,
}

/// The bit of a reason.
pub(super) fn bit_of(reason: Reason) -> u64 {
    1 << (reason as u32)
}

/// Everything that was shown, sorted by publisher.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub(super) publishers: Vec<ShownPublisher>,
    /// Exports in a row that did not arrive.
    failed: u32,
}

/// Exports in a row that may fail before withdrawals are owed no longer. A receiver that heard nothing for so
/// long has let the series end by itself, and what is owed must not grow for ever.
const OWED_EXPORTS: u32 = 10;

impl Shown {
    /// Takes in how the export ended in which these were shown.
    pub(super) fn settle(&mut self, delivered: bool) {
        self.failed = if delivered { 0 } else { self.failed + 1 };
        let delivered = delivered || self.failed >= OWED_EXPORTS;
        if delivered {
            self.failed = 0;
        }
        self.publishers.retain_mut(|publisher| {
            publisher.rows.settle(delivered);
            if delivered {
                publisher.infos_withdrawn.clear();
            }
            publisher.components.retain_mut(|component| {
                component.rows.settle(delivered);
                component.reasons.settle(delivered);
                !(component.rows.is_blank() && component.reasons.is_blank())
            });
            let owes = !publisher.infos_withdrawn.is_empty() || publisher.info.is_some();
            owes || !publisher.rows.is_blank() || !publisher.components.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_withdrawal_is_owed_until_it_has_arrived() {
        let mut marks = Marks::turn(Marks::default(), 0b11);
        marks.settle(true);
        marks = Marks::turn(marks, 0b01);
        assert_eq!(marks, Marks { valued: 0b01, withdrawn: 0b10 });
        marks.settle(false);
        marks = Marks::turn(marks, 0b01);
        assert_eq!(marks.withdrawn, 0b10, "it did not arrive");
        marks.settle(true);
        assert_eq!(Marks::turn(marks, 0b01).withdrawn, 0, "it arrived, once");
    }

    #[test]
    fn what_never_arrived_is_withdrawn_all_the_same() {
        let mut marks = Marks::turn(Marks::default(), 0b1);
        marks.settle(false);
        assert_eq!(Marks::turn(marks, 0).withdrawn, 0b1, "perhaps it did");
    }

    #[test]
    fn every_reason_has_a_bit_of_its_own() {
        let bits = Reason::ALL.iter().fold(0u64, |bits, reason| bits | bit_of(*reason));
        assert_eq!(bits.count_ones() as usize, Reason::ALL.len());
    }
}
