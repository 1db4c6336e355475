//! The numbers of a record's forms, by which one who writes tells whether it is still the form that it knows.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// The lower bits of a revision are drawn; those above count the writes.
const DRAWN_BITS: u32 = 16;

/// Gives revisions.
///
/// After a failover that lost some writes, somebody goes on from an older form, and would come by plain counting to
/// numbers that have been given before: whoever still knows one of those would take the stored form for its own, and
/// write over it what it does not know. So a part of each is drawn, and two forms that do not follow from each other
/// have the same one once in 65,536 times. What Redis' scripts and JSON hold exactly is enough for 2^37 writes.
#[derive(Debug)]
pub struct Revisions(SmallRng);

impl Revisions {
    /// Draws by a seed: two processes must not have the same.
    pub fn seeded(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    /// One that is higher than `before`.
    pub fn after(&mut self, before: u64) -> u64 {
        (((before >> DRAWN_BITS) + 1) << DRAWN_BITS) | u64::from(self.0.random::<u16>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_rise_and_histories_that_part_do_not_meet() {
        let (mut ours, mut others) = (Revisions::seeded(1), Revisions::seeded(2));
        let (mut our_last, mut their_last, mut met) = (7, 7, 0);
        for writes in 1..=10_000 {
            let (our_next, their_next) = (ours.after(our_last), others.after(their_last));
            assert!(our_next > our_last && our_next >> DRAWN_BITS == writes);
            met += u32::from(our_next == their_next);
            (our_last, their_last) = (our_next, their_next);
        }
        assert!(met <= 3, "{met} times");
    }
}
