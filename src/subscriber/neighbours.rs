//! Queues that other subscribers of the same Redis consume and this one does not. Pure.
//!
//! Whose heartbeats go to such a queue is heard by them alone, so silence is proven only while they hear it too; and
//! when the last of them dies, nobody does.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::heartbeat::Timestamp;
use crate::state::hearing::Spans;
use crate::store::Presence;

/// A queue whose last subscriber ended in order is waited for so long: it may be started again. Less than the alert
/// waits that wakes somebody where nobody listens, since queues are given up on purpose so. One whose last subscriber
/// was killed is waited for as long as that is remembered, a day.
const RETURNS: Duration = Duration::from_secs(150);

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
            confirmed: None,
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
        assert_eq!(elsewhere(&own, std::slice::from_ref(&ended), at(154)).len(), 1);
        assert_eq!(elsewhere(&own, &[ended], at(155)).len(), 0);
        assert_eq!(elsewhere(&own, &[killed], at(5_000)).len(), 1);
    }
}
