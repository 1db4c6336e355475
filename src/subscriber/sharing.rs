//! Which subscriber leaves a queue to another, where each queue has a single active consumer. Pure.
//!
//! The broker serves the first to come from all of them, and whoever comes later waits. What is left goes to the next in
//! the queue's line, who goes on likewise, so that in the end none has two queues more than another.

use crate::store::Presence;

/// Meetings in a row that find queues shared out unevenly before one is left to another: what was changed by the
/// one before shows by then.
const UNEVEN: u32 = 5;

/// A queue that was left counts for another once that is served from it, or after so many meetings: where little is
/// sent that takes its time, and the next would be left too soon.
const UNSERVED: u32 = 120;

/// What is remembered from one meeting to the next.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    uneven: u32,
    since_left: u32,
    /// From how many queues the others were served when the latest was left to them.
    left_at: Option<u32>,
}

impl Sharing {
    /// Whether a queue is to be left now. `there` are those who consume, beside this one.
    pub(super) fn meets<'a>(&mut self, own: &Presence, there: impl Iterator<Item = &'a Presence>) -> bool {
        let alike: Vec<&Presence> = there.filter(|other| other.queues == own.queues).collect();
        let theirs = alike.iter().map(|other| other.active).sum();
        self.since_left = self.since_left.saturating_add(1);
        if self.left_at.is_some_and(|before| theirs > before) || self.since_left >= UNSERVED {
            self.left_at = None;
        }
        self.uneven = if has_too_many(own, &alike) { self.uneven + 1 } else { 0 };
        if self.uneven < UNEVEN || self.left_at.is_some() {
            return false;
        }
        *self = Self { uneven: 0, since_left: 0, left_at: Some(theirs) };
        true
    }
}

/// Whether this one is served from the most, and another from at least two fewer.
fn has_too_many(own: &Presence, others: &[&Presence]) -> bool {
    let most = others.iter().all(|other| (other.active, &other.replica) < (own.active, &own.replica));
    most && others.iter().any(|other| other.active + 1 < own.active)
}

#[cfg(test)]
mod tests {
    use super::super::neighbours::tests::presence;
    use super::*;
    use crate::heartbeat::Timestamp;

    /// Subscribers of these queues, served from so many of them.
    fn served(queues: &[&str], active: &[usize]) -> Vec<Presence> {
        let of = |(number, active): (usize, &usize)| Presence {
            active: u32::try_from(*active).unwrap(),
            ..presence(&number.to_string(), Timestamp::EPOCH, queues)
        };
        active.iter().enumerate().map(of).collect()
    }

    /// However the queues are shared out at first, leaving them one by one ends with equal shares.
    #[test]
    fn queues_that_are_left_to_the_next_end_up_in_equal_shares() {
        for (queues, replicas) in [(3, 2), (3, 3), (8, 3), (2, 3), (7, 1)] {
            let names: Vec<String> = (0..queues).map(|queue: usize| queue.to_string()).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            // Each queue's line of consumers; the first is served. Each replica's queues, the one taken last at the end.
            let mut lines: Vec<Vec<usize>> = vec![(0..replicas).collect(); queues];
            let mut taken: Vec<Vec<usize>> = vec![Vec::new(); replicas];
            taken[0] = (0..queues).collect();
            let mut sharing: Vec<Sharing> = (0..replicas).map(|_| Sharing::default()).collect();
            let (mut moves, mut quiet) = (0, 0);
            while quiet < 2 * UNEVEN {
                let all = served(&names, &taken.iter().map(Vec::len).collect::<Vec<_>>());
                quiet += 1;
                for one in 0..replicas {
                    let others = all.iter().filter(|other| other.replica != all[one].replica);
                    if sharing[one].meets(&all[one], others) {
                        let queue = taken[one].pop().unwrap();
                        lines[queue].rotate_left(1);
                        taken[lines[queue][0]].push(queue);
                        (moves, quiet) = (moves + 1, 0);
                    }
                }
                assert!(moves < 100, "{queues} queues, {replicas} replicas: {taken:?}");
            }
            let counts: Vec<usize> = taken.iter().map(Vec::len).collect();
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
        }
    }

    #[test]
    fn the_next_is_left_only_when_the_one_before_is_seen_to_be_served() {
        let queues = ["a", "b", "c", "d", "e"];
        let mut sharing = Sharing::default();
        let meetings = |sharing: &mut Sharing, active: [usize; 2]| {
            let all = served(&queues, &active);
            (0..100).position(|_| sharing.meets(&all[0], all[1..].iter()))
        };
        assert_eq!(meetings(&mut sharing, [5, 0]), Some(4));
        // Nothing is sent there, so nobody is seen to be served.
        assert_eq!(meetings(&mut sharing, [4, 0]), None);
        assert_eq!(meetings(&mut sharing, [4, 1]), Some(0));
        assert_eq!(meetings(&mut sharing, [3, 2]), None);
        // A queue on which nothing is ever sent is not waited for without end.
        let mut sharing = Sharing::default();
        assert_eq!(meetings(&mut sharing, [5, 0]), Some(4));
        assert_eq!(meetings(&mut sharing, [4, 0]), None);
        assert_eq!(meetings(&mut sharing, [4, 0]), Some(19));
    }

    #[test]
    fn others_with_other_queues_are_none_to_share_with() {
        let mut sharing = Sharing::default();
        let all = served(&["a", "b", "c"], &[3]);
        let other = served(&["a", "b"], &[0]);
        assert!((0..10).all(|_| !sharing.meets(&all[0], other.iter())));
    }
}
