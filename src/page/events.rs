//! What happened to a publisher of late, and what is planned for it, as it is written.

use std::borrow::Cow;

use super::ago::{When, span};
use super::words::words;
use crate::heartbeat::{Timestamp, Window};
use crate::state::recent::{Event, What};
use crate::telemetry::visible;

/// A window of maintenance, as it is written.
pub(super) struct Planned {
    pub(super) begins: When,
    pub(super) ends: When,
    pub(super) on: bool,
    /// For whom it is, where not for all.
    pub(super) components: String,
    pub(super) comment: String,
}

impl Planned {
    pub(super) fn of(window: &Window, now: Timestamp) -> Self {
        let names: Vec<Cow<'_, str>> = window.components().iter().map(|name| visible(name)).collect();
        Self {
            begins: When::of(window.begins_at(), now),
            ends: When::of(window.ends_at(), now),
            on: window.is_on(now),
            components: names.join(", "),
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
