//! What is done with a message that does not prove whose it is, publisher by publisher.

use std::collections::BTreeMap;

use crate::heartbeat::PublisherId;

/// What is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stance {
    /// It is taken, and nothing is looked at.
    #[default]
    Accept,
    /// It is taken and told of.
    Warn,
    /// It is refused.
    Refuse,
}

/// A stance towards each publisher.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Towards those that are not named.
    pub everybody: Stance,
    /// Towards publishers by id.
    pub by_publisher: BTreeMap<PublisherId, Stance>,
}

impl Policy {
    /// The same towards everybody.
    pub fn towards_all(everybody: Stance) -> Self {
        Self { everybody, by_publisher: BTreeMap::new() }
    }

    /// The stance towards a publisher.
    pub fn of(&self, id: &PublisherId) -> Stance {
        // Most name nobody, and ids are long to compare.
        if self.by_publisher.is_empty() {
            return self.everybody;
        }
        self.by_publisher.get(id).copied().unwrap_or(self.everybody)
    }

    fn all(&self) -> impl Iterator<Item = Stance> {
        self.by_publisher.values().copied().chain([self.everybody])
    }

    /// The strictest stance towards anybody: at [`Stance::Accept`] nothing has to be looked at.
    pub fn strictest(&self) -> Stance {
        self.all().max().unwrap_or_default()
    }

    /// The mildest stance towards anybody: at [`Stance::Refuse`] it does not matter whom a message names.
    pub fn mildest(&self) -> Stance {
        self.all().min().unwrap_or_default()
    }
}

/// Which user of the broker a publisher is, where the two are not called the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserNames(pub BTreeMap<PublisherId, String>);

impl UserNames {
    /// The user of a publisher.
    pub fn of<'a>(&'a self, id: &'a PublisherId) -> &'a str {
        self.0.get(id).map_or(id.as_str(), String::as_str)
    }
}

/// What a subscriber asks of messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// What is done without the signature of a key that may speak for the publisher.
    pub signatures: Policy,
    /// What is done where the broker does not say that the publisher's own user sent it.
    pub users: Policy,
    /// The users of publishers.
    pub user_names: UserNames,
}

impl Rules {
    /// Whether messages' signatures matter.
    pub fn ask_for_signatures(&self) -> bool {
        self.signatures.strictest() > Stance::Accept
    }

    /// Whether nothing is asked.
    pub fn are_none(&self) -> bool {
        !self.ask_for_signatures() && self.users.strictest() == Stance::Accept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publisher_that_is_named_has_its_own_stance() {
        let id = |id: &str| PublisherId::new(id).expect("an id");
        let mut policy = Policy::towards_all(Stance::Warn);
        assert_eq!((policy.strictest(), policy.mildest()), (Stance::Warn, Stance::Warn));
        policy.by_publisher.insert(id("oslo"), Stance::Refuse);
        assert_eq!((policy.of(&id("oslo")), policy.of(&id("bergen"))), (Stance::Refuse, Stance::Warn));
        assert_eq!((policy.strictest(), policy.mildest()), (Stance::Refuse, Stance::Warn));
        assert!(Rules::default().are_none());
        assert!(Rules { signatures: policy, ..Rules::default() }.ask_for_signatures());
    }
}
