//! Whether all who consume our queue are heard of. Pure.
//!
//! A replica that is cut off from the store goes on taking its share of the heartbeats, and cannot tell what is in
//! them. The broker still counts it, so its silence shows, and from then on the silence of a publisher proves nothing.

use std::collections::HashMap;

use crate::heartbeat::Timestamp;
use crate::store::Presence;

/// What is remembered from one meeting to the next.
#[derive(Debug, Default)]
pub(super) struct Company {
    /// Replicas that the broker counts no more, by when they were last heard of: killed, or ended.
    gone: HashMap<String, Timestamp>,
}

impl Company {
    /// When that replica was last heard of which has been silent for longest, of those that consume our queue with us.
    /// `counted` are the consumers beside this one by the broker, `ours` the replicas that said that they are among
    /// them, lately or not.
    ///
    /// `None` where nobody beside us consumes: what the silent took before has come again, to us.
    pub(super) fn silent_since<'a>(
        &mut self,
        counted: u32,
        ours: impl Iterator<Item = &'a Presence>,
    ) -> Option<Timestamp> {
        let mut ours: Vec<&Presence> = ours.collect();
        self.gone.retain(|id, at| ours.iter().any(|one| one.replica == *id && one.at == *at));
        ours.retain(|one| !self.gone.contains_key(&one.replica));
        ours.sort_by_key(|one| std::cmp::Reverse(one.at));
        let counted = usize::try_from(counted).unwrap_or(usize::MAX).min(ours.len());
        for one in ours.split_off(counted) {
            self.gone.insert(one.replica.clone(), one.at);
        }
        ours.last().map(|one| one.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::hearing::Spans;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_ms(1_000_000 + seconds * 1000)
    }

    fn presence(replica: &str, seconds: i64) -> Presence {
        Presence {
            replica: replica.to_owned(),
            at: at(seconds),
            heard: Spans::default(),
            broker: "rabbitmq:5672".to_owned(),
            queues: vec!["/queue".to_owned()],
            consumers: 2,
            consuming: true,
            active: 0,
            left: false,
        }
    }

    #[test]
    fn one_that_is_counted_and_says_nothing_is_silent() {
        let mut company = Company::default();
        let others = [presence("a", 10), presence("b", 4)];
        assert_eq!(company.silent_since(2, others.iter()), Some(at(4)));
        assert_eq!(company.silent_since(0, [].iter()), None);
    }

    #[test]
    fn one_that_is_counted_no_more_is_gone_and_its_successor_is_another() {
        let mut company = Company::default();
        let killed = presence("a", 4);
        assert_eq!(company.silent_since(1, [killed.clone()].iter()), Some(at(4)));
        assert_eq!(company.silent_since(0, [killed.clone()].iter()), None);
        // The successor consumes a moment before it is heard of.
        assert_eq!(company.silent_since(1, [killed.clone()].iter()), None);
        assert_eq!(company.silent_since(1, [killed.clone(), presence("b", 9)].iter()), Some(at(9)));
        // One whose connection to the broker was away for a moment is back.
        assert_eq!(company.silent_since(1, [presence("a", 9)].iter()), Some(at(9)));
    }

    #[test]
    fn what_is_remembered_ends_with_the_replica() {
        let mut company = Company::default();
        company.silent_since(0, [presence("a", 4)].iter());
        company.silent_since(0, [].iter());
        assert!(company.gone.is_empty());
    }
}
