//! What happened to a publisher of late, and what is planned for it, as it is written.

use std::sync::Arc;

use super::ago::{When, span};
use super::words::words;
use crate::heartbeat::{Timestamp, Window};
use crate::state::recent::{Event, What};
use crate::state::snapshot::PublisherView;
use crate::telemetry::visible;

/// A window of maintenance, as it is written.
pub(super) struct Planned {
    pub(super) begins: When,
    pub(super) ends: When,
    pub(super) on: bool,
    /// For whom it is, where not for all.
    pub(super) components: Vec<Covered>,
    pub(super) comment: String,
}

/// What a window names, as it is written.
pub(super) struct Covered {
    pub(super) name: String,
    /// Whether the publisher tells of something of this name.
    pub(super) is_there: bool,
}

impl Planned {
    /// A window of this publisher.
    pub(super) fn of(window: &Window, publisher: &PublisherView, now: Timestamp) -> Self {
        let covered = |name: &Arc<str>| Covered {
            name: visible(name).into_owned(),
            is_there: publisher.told.iter().any(|state| *state.component.key.name == **name),
        };
        Self {
            begins: When::of(window.begins_at(), now),
            ends: When::of(window.ends_at(), now),
            on: window.is_on(now),
            components: window.components().iter().map(covered).collect(),
            comment: visible(window.comment().unwrap_or_default()).into_owned(),
        }
    }
}

/// Something that happened, as it is written.
pub(super) struct Past {
    pub(super) at: When,
    /// The outcome that a component turned to, or another word.
    pub(super) word: &'static str,
    /// What turned, where that is a component.
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) queue: String,
    pub(super) why: String,
}

impl Past {
    pub(super) fn of(event: &Event<'_>, now: Timestamp) -> Self {
        let at = When::of(event.at, now);
        let of_publisher = |word, why| Self {
            at: When::of(event.at, now),
            word,
            name: String::new(),
            kind: String::new(),
            queue: String::new(),
            why,
        };
        match &event.what {
            What::Heard { silent_since } => {
                of_publisher("heard again", format!("silent for {}", span(event.at, *silent_since)))
            }
            What::Restarted => of_publisher("restarted", "another process of it".to_owned()),
            What::Turned { kind, name, queue, outcome, reason } => Self {
                at,
                word: outcome.as_str(),
                name: visible(name).into_owned(),
                kind: kind.clone().into_owned(),
                queue: visible(queue).into_owned(),
                why: reason.map_or("", words).to_owned(),
            },
        }
    }
}
