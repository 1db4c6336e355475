//! Whether all who consume our queue are heard of, and get what is sent to them. Pure.
//!
//! A replica that is cut off from the store goes on taking its share of the heartbeats, and cannot tell what is in
//! them. The broker still counts it, so its silence shows, and from then on the silence of a publisher proves nothing.
//!
//! So it is with a node of the broker that hangs: the others go on delivering to its consumers. Their replica is not sure
//! to hear any more, leaves that node, and consumes at another one. What it left is counted until the broker knows
//! better, as a consumer more than there are replicas, and takes its share until then.

use std::collections::HashMap;

use crate::heartbeat::Timestamp;
use crate::store::Presence;

/// What is remembered from one meeting to the next.
#[derive(Debug, Default)]
pub(super) struct Company {
    /// Replicas that the broker counts no more, by when they were last heard of: killed, or ended.
    gone: HashMap<String, Timestamp>,
    /// Since when the broker counts a consumer of which nobody told.
    unknown_since: Option<Timestamp>,
}

impl Company {
    /// Until when the shares of all those are known who consume our queue with us. `counted` are the consumers beside
    /// this one by the broker, `ours` the replicas that said that they are among them, lately or not.
    ///
    /// `None` where nobody beside us consumes: what the silent took before has come again, to us.
    pub(super) fn known_until<'a>(
        &mut self,
        now: Timestamp,
        counted: u32,
        ours: impl Iterator<Item = &'a Presence>,
    ) -> Option<Timestamp> {
        let mut ours: Vec<&Presence> = ours.collect();
        self.gone.retain(|id, at| ours.iter().any(|one| one.replica == *id && one.at == *at));
        ours.retain(|one| !self.gone.contains_key(&one.replica));
        ours.sort_by_key(|one| std::cmp::Reverse(one.at));
        let all = usize::try_from(counted).unwrap_or(usize::MAX);
        for one in ours.split_off(all.min(ours.len())) {
            self.gone.insert(one.replica.clone(), one.at);
        }
        let unknown = all > ours.len();
        self.unknown_since = unknown.then(|| self.unknown_since.unwrap_or(now));
        ours.into_iter().map(Presence::known_until).chain(self.unknown_since).min()
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
            confirmed: None,
            active: 0,
            left: false,
        }
    }

    #[test]
    fn one_that_is_counted_and_says_nothing_is_silent() {
        let mut company = Company::default();
        let others = [presence("a", 10), presence("b", 4)];
        assert_eq!(company.known_until(at(10), 2, others.iter()), Some(at(4)));
        assert_eq!(company.known_until(at(11), 0, [].iter()), None);
    }

    #[test]
    fn one_that_is_counted_no_more_is_gone_and_its_successor_is_another() {
        let mut company = Company::default();
        let killed = presence("a", 4);
        assert_eq!(company.known_until(at(5), 1, [killed.clone()].iter()), Some(at(4)));
        assert_eq!(company.known_until(at(6), 0, [killed.clone()].iter()), None);
        // The successor consumes a moment before it is heard of.
        assert_eq!(company.known_until(at(8), 1, [killed.clone()].iter()), Some(at(8)));
        assert_eq!(company.known_until(at(9), 1, [killed.clone(), presence("b", 9)].iter()), Some(at(9)));
        // One whose connection to the broker was away for a moment is back.
        assert_eq!(company.known_until(at(10), 1, [presence("a", 9)].iter()), Some(at(9)));
    }

    /// Its node of the broker hangs from the fourth second on, and it leaves that in the ninth.
    #[test]
    fn one_that_is_not_sure_to_hear_is_missed_until_what_it_left_is_counted_no_more() {
        let mut company = Company::default();
        let killed = presence("b", 4);
        let hangs = |seconds| Presence { confirmed: Some(at(4)), ..presence("a", seconds) };
        assert_eq!(company.known_until(at(5), 2, [hangs(5), killed.clone()].iter()), Some(at(4)));
        assert_eq!(company.known_until(at(8), 1, [hangs(8), killed.clone()].iter()), Some(at(4)));
        // It does not consume, and yet one is counted beside us.
        assert_eq!(company.known_until(at(9), 1, [killed.clone()].iter()), Some(at(9)));
        let elsewhere = |seconds| Presence { confirmed: Some(at(seconds)), ..presence("a", seconds) };
        assert_eq!(company.known_until(at(11), 2, [elsewhere(11), killed.clone()].iter()), Some(at(9)));
        assert_eq!(company.known_until(at(13), 1, [elsewhere(13), killed].iter()), Some(at(13)));
    }

    /// A stranger is one; a replica that starts is one for a moment.
    #[test]
    fn one_of_which_nobody_told_takes_its_share() {
        let mut company = Company::default();
        assert_eq!(company.known_until(at(1), 1, [].iter()), Some(at(1)));
        assert_eq!(company.known_until(at(9), 1, [].iter()), Some(at(1)));
        assert_eq!(company.known_until(at(10), 1, [presence("a", 10)].iter()), Some(at(10)));
        assert_eq!(company.known_until(at(11), 0, [].iter()), None);
    }

    #[test]
    fn what_is_remembered_ends_with_the_replica() {
        let mut company = Company::default();
        company.known_until(at(4), 0, [presence("a", 4)].iter());
        company.known_until(at(5), 0, [].iter());
        assert!(company.gone.is_empty());
    }
}
