//! What a message changed in the record of its publisher: what is worth telling.

use std::time::Duration;

use super::record::Record;
use crate::heartbeat::{Component, Outcome, Reason};

/// Everything that one message changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// The publisher was not known before, or was forgotten.
    pub is_new: bool,
    /// Its process is another one than before.
    pub restarted: bool,
    /// Components whose outcome or reason is another than before; not what is up from the beginning.
    pub components: Vec<Turned>,
}

/// A component whose outcome or reason is another than before.
#[derive(Clone, Debug, PartialEq)]
pub struct Turned {
    /// As it was; `None` if it is new.
    pub old: Option<Component>,
    /// As it is.
    pub new: Component,
}

impl Changes {
    /// What lies between two states of one publisher.
    pub fn between(before: Option<&Record>, after: &Record) -> Self {
        let before = before.filter(|before| !before.is_forgotten());
        let mut changes = Self {
            is_new: before.is_none() && !after.is_forgotten(),
            restarted: before.is_some_and(|before| before.counts.restarts < after.counts.restarts),
            components: Vec::new(),
        };
        // Both are in the order of their keys.
        let mut old_ones = before.into_iter().flat_map(|record| record.components.iter()).peekable();
        for new in after.components.iter() {
            let new = new.component;
            while old_ones.next_if(|old| old.component.key < new.key).is_some() {}
            let old = old_ones.next_if(|old| old.component.key == new.key).map(|old| old.component);
            let same = match old {
                Some(old) => {
                    old.outcome == new.outcome && (old.outcome == Outcome::Up || old.reason == new.reason)
                }
                None => new.outcome == Outcome::Up,
            };
            if !same {
                changes.components.push(Turned { old: old.map(|old| old.owned()), new: new.owned() });
            }
        }
        changes
    }

    /// Whether nothing is worth telling.
    pub fn is_empty(&self) -> bool {
        !self.is_new && !self.restarted && self.components.is_empty()
    }
}

impl Turned {
    /// The former reason, if there was one.
    pub fn old_reason(&self) -> Option<Reason> {
        self.old.as_ref().and_then(|component| component.reason)
    }

    /// Whether only the reason is another.
    pub fn outcome_is_as_before(&self) -> bool {
        self.old.as_ref().is_some_and(|old| old.outcome == self.new.outcome)
    }

    /// How long the former outcome lasted, by the publisher's clock, as far as that is told.
    pub fn lasted(&self) -> Option<Duration> {
        let old = self.old.as_ref()?;
        let until = if self.outcome_is_as_before() { self.new.checked_at } else { self.new.changed_at? };
        let ms = until.ms_since(old.changed_at?);
        Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
    }
}
