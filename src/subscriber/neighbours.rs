//! Queues that other subscribers of the same Redis consume and this one does not. Pure.
//!
//! Whose heartbeats go to such a queue is heard by them alone, so silence is proven only while they hear it too; and
//! when the last of them dies, nobody does.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::heartbeat::Timestamp;
use crate::state::hearing::Spans;
use crate::store::Presence;

/// A queue whose last subscriber ended in order is waited for so long: it may be started again. One whose
/// last subscriber was killed is waited for as long as that is remembered, a day.
const RETURNS: Duration = Duration::from_secs(600);

/// Each queue elsewhere, and when it was heard.
pub(super) fn elsewhere(own: &Presence, others: &[Presence], now: Timestamp) -> BTreeMap<String, Spans> {
    let mut heard: BTreeMap<String, Spans> = BTreeMap::new();
    for other in others.iter().filter(|other| !other.left || now < other.at.plus(RETURNS)) {
        for queue in other.queues.iter().filter(|queue| !own.consumes(queue)) {
            heard.entry(queue.clone()).or_default().add_all(other.heard.iter());
        }
    }
    heard
}

/// Whether one of the queues should be left to another subscriber: this one is served from the most, and another
/// from at least two fewer. The next in the line gets it, and goes on likewise, so that none has two more than
/// another in the end.
pub(super) fn has_too_many<'a>(own: &Presence, others: impl Iterator<Item = &'a Presence>) -> bool {
    let alike = others.filter(|other| other.queues == own.queues);
    let mut someone_has_less = false;
    for other in alike {
        if (other.active, &other.replica) > (own.active, &own.replica) {
            return false;
        }
        someone_has_less |= other.active + 1 < own.active;
    }
    someone_has_less
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::state::hearing::Span;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_ms(1_000_000 + seconds * 1000)
    }

    pub(in crate::subscriber) fn presence(replica: &str, at: Timestamp, queues: &[&str]) -> Presence {
        Presence {
            replica: replica.to_owned(),
            at,
            heard: Spans::default(),
            broker: "rabbitmq:5672".to_owned(),
            queues: queues.iter().map(|queue| (*queue).to_owned()).collect(),
            consumers: 2,
            consuming: true,
            active: 0,
            left: false,
        }
    }

    fn heard(replica: &str, since: i64, until: i64, queues: &[&str]) -> Presence {
        Presence { heard: Spans::unbroken(at(since), at(until)), ..presence(replica, at(until), queues) }
    }

    #[test]
    fn what_others_consume_beside_ours_is_heard_by_them() {
        let own = presence("a", at(10), &["one", "two"]);
        let others = [heard("b", 0, 5, &["two", "three"]), heard("c", 4, 10, &["three"])];
        let found = elsewhere(&own, &others, at(10));
        let of = |heard: &Spans| heard.iter().collect::<Vec<_>>();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["three"]);
        assert_eq!(of(&found["three"]), [Span { since: at(0), until: at(10) }]);
        assert!(elsewhere(&others[0], &[presence("d", at(10), &["two"])], at(10)).is_empty());
    }

    #[test]
    fn a_queue_whose_subscriber_was_killed_is_remembered_longer_than_one_that_was_given_up() {
        let own = presence("a", at(10), &["one"]);
        let killed = heard("b", 0, 5, &["two"]);
        let ended = Presence { left: true, consuming: false, ..killed.clone() };
        assert_eq!(elsewhere(&own, std::slice::from_ref(&ended), at(600)).len(), 1);
        assert_eq!(elsewhere(&own, &[ended], at(605)).len(), 0);
        assert_eq!(elsewhere(&own, &[killed], at(5_000)).len(), 1);
    }

    /// However the queues are shared out at first, handing them on one by one ends with equal shares.
    #[test]
    fn queues_that_are_left_to_the_next_end_up_in_equal_shares() {
        for (queues, replicas) in [(3u32, 2usize), (3, 3), (8, 3), (2, 3), (7, 1)] {
            let names: Vec<String> = (0..queues).map(|queue| queue.to_string()).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            // Each queue's line of consumers; the first is served. Each replica's queues, the last one taken last.
            let mut lines: Vec<Vec<usize>> = vec![(0..replicas).collect(); names.len()];
            let mut taken: Vec<Vec<usize>> = vec![Vec::new(); replicas];
            taken[0] = (0..names.len()).collect();
            let mut moves = 0;
            loop {
                let all: Vec<Presence> = (0..replicas)
                    .map(|replica| Presence {
                        active: u32::try_from(taken[replica].len()).unwrap(),
                        ..presence(&replica.to_string(), at(0), &names)
                    })
                    .collect();
                let giver = (0..replicas).find(|one| {
                    has_too_many(&all[*one], all.iter().filter(|other| other.replica != all[*one].replica))
                });
                let Some(giver) = giver else { break };
                let queue = taken[giver].pop().unwrap();
                lines[queue].rotate_left(1);
                taken[lines[queue][0]].push(queue);
                moves += 1;
                assert!(moves < 100, "{queues} queues, {replicas} replicas: {taken:?}");
            }
            let counts: Vec<usize> = taken.iter().map(Vec::len).collect();
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
        }
    }
}
