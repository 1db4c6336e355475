//! What is known of few publishers: apart from the rest, so that those of whom it is not known have no room for it.

use std::ops::Deref;
use std::sync::Arc;

use super::recent::Recent;
use crate::heartbeat::{Timestamp, Window};
use crate::trace::TraceContext;

/// What most records do not have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rare {
    /// Set where the publisher was forgotten: when, in the store's clock. The record is a tombstone then.
    pub forgotten_at: Option<Timestamp>,
    /// When an older epoch was last heard of while a newer one went on.
    pub conflict_at: Option<Timestamp>,
    /// The trace of the shown heartbeat, where a subscriber that tells of it recorded one.
    pub trace: Option<TraceContext>,
    /// Windows of maintenance that the shown heartbeat declared, by the store's clock.
    pub maintenance: Option<Arc<[Window]>>,
    /// What happened of late.
    pub recent: Recent,
}

static NOTHING: Rare =
    Rare { forgotten_at: None, conflict_at: None, trace: None, maintenance: None, recent: Recent::NOTHING };

/// [`Rare`] in the room of a pointer, and in no other where there is nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seldom(Option<Box<Rare>>);

impl Seldom {
    /// Changes it.
    pub fn set(&mut self, change: impl FnOnce(&mut Rare)) {
        let mut rare = Rare::clone(self);
        change(&mut rare);
        *self = rare.into();
    }
}

impl Deref for Seldom {
    type Target = Rare;

    fn deref(&self) -> &Rare {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl From<Rare> for Seldom {
    fn from(rare: Rare) -> Self {
        Self((rare != NOTHING).then(|| Box::new(rare)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_it_was_given_and_no_room_for_nothing() {
        let at = Timestamp::from_unix_ms(1);
        let mut seldom = Seldom::default();
        assert_eq!(*seldom, Rare::default());
        seldom.set(|rare| rare.conflict_at = Some(at));
        seldom.set(|rare| rare.trace = Some(TraceContext::random(true)));
        assert_eq!(seldom.conflict_at, Some(at));
        assert!(seldom.trace.is_some());
        seldom.set(|rare| *rare = Rare::default());
        assert_eq!(seldom, Seldom::default());
        assert!(seldom.0.is_none());
        assert_eq!(size_of::<Seldom>(), size_of::<usize>());
    }
}
