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
