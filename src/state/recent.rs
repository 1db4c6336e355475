//! What happened to a publisher of late: the latest turns of its components, its restarts and its silences.
//!
//! Held as the text in which it is stored, which nobody reads but who is asked for it: a record goes through a subscriber
//! many times for each time that a person looks.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::change::Changes;
use super::record::Record;
use crate::heartbeat::{Kind, Outcome, Reason, Timestamp};

/// Events that are remembered of a publisher.
pub const EVENTS_MAX: usize = 20;

/// Bytes that they take at most. Names may be long; then fewer are remembered.
pub const BYTES_MAX: usize = 2048;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// When, in the store's clock.
    pub at: Timestamp,
    /// What.
    pub what: What<'a>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What<'a> {
    /// It was heard again, after a silence since then.
    Heard {
        /// Its last sign of life before.
        silent_since: Timestamp,
    },
    /// Another process of it took over.
    Restarted,
    /// A component turned.
    Turned {
        /// What it is.
        kind: Cow<'a, str>,
        /// Its name.
        name: Cow<'a, str>,
        /// The queue on which a consumer is expected; empty for every other kind.
        queue: Cow<'a, str>,
        /// What it turned to.
        outcome: Outcome,
        /// Why it is not up.
        reason: Option<Reason>,
    },
}

/// Remembers what a message brought about: `changes` are those between `before` and `record`.
pub fn remember(record: &mut Record, before: Option<&Record>, changes: &Changes) {
    let Some(before) = before.filter(|before| !before.is_forgotten()) else { return };
    let events = events(before, record, changes);
    if !events.is_empty() {
        let recent = record.rare.recent.with(&events);
        record.rare.set(|rare| rare.recent = recent);
    }
}

/// The latest events of a publisher, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Recent(Option<Arc<RawValue>>);

impl PartialEq for Recent {
    fn eq(&self, other: &Self) -> bool {
        self.stored().map(RawValue::get) == other.stored().map(RawValue::get)
    }
}

/// An event as it is written: `[at, "heard", since]`, `[at, "restarted"]`, `[at, "up", kind, name, queue, reason]`.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Written<'a> {
    Turned(
        i64,
        #[serde(borrow)] Cow<'a, str>,
        #[serde(borrow)] Cow<'a, str>,
        #[serde(borrow)] Cow<'a, str>,
        #[serde(borrow)] Cow<'a, str>,
        #[serde(borrow)] Cow<'a, str>,
    ),
    Heard(i64, #[serde(borrow)] Cow<'a, str>, i64),
    Restarted(i64, #[serde(borrow)] Cow<'a, str>),
}

const HEARD: &str = "heard";
const RESTARTED: &str = "restarted";

impl Recent {
    /// Nothing happened yet.
    pub const NOTHING: Self = Self(None);

    /// From the text that was stored. What is too long was not written by us.
    pub fn from_stored(text: &RawValue) -> Self {
        Self((text.get().len() <= BYTES_MAX).then(|| text.to_owned().into()))
    }

    /// The text that is stored; `None` where nothing happened yet.
    pub fn stored(&self) -> Option<&RawValue> {
        self.0.as_deref()
    }

    /// Each event, oldest first. What cannot be read, as of a later version, is left out.
    pub fn events(&self) -> Vec<Event<'_>> {
        self.written().into_iter().filter_map(Written::read).collect()
    }

    fn written(&self) -> Vec<Written<'_>> {
        let each: Vec<&RawValue> =
            self.stored().and_then(|text| serde_json::from_str(text.get()).ok()).unwrap_or_default();
        each.into_iter().filter_map(|one| serde_json::from_str(one.get()).ok()).collect()
    }

    /// The same with more that happened. The oldest make room.
    pub fn with(&self, events: &[Event<'_>]) -> Self {
        if events.is_empty() {
            return self.clone();
        }
        let mut all = self.written();
        all.extend(events.iter().map(Written::from));
        let mut first = all.len().saturating_sub(EVENTS_MAX);
        loop {
            // Strings and numbers can always be written.
            let Ok(text) = serde_json::value::to_raw_value(&all[first..]) else { return Self::NOTHING };
            if text.get().len() <= BYTES_MAX {
                return Self(Some(text.into()));
            }
            first += 1;
        }
    }
}

/// What a message brought about, between two forms of the record that it made one of the other.
fn events<'a>(before: &Record, after: &Record, changes: &'a Changes) -> Vec<Event<'a>> {
    let mut events = Vec::new();
    if let (Some(silent_since), Some(at)) = (before.last_seen, after.last_seen)
        && silent_since.plus(before.default_grace()) < at
    {
        events.push(Event { at, what: What::Heard { silent_since } });
    }
    if changes.restarted {
        let at = after.last_seen.unwrap_or(after.first_received);
        events.push(Event { at, what: What::Restarted });
    }
    let by_the_store = |at: Timestamp| at.plus_ms(after.clock_offset_ms.unwrap_or(0).saturating_neg());
    // What was first heard of has not turned.
    let known = changes.components.iter().filter(|turned| turned.old.is_some());
    events.extend(known.map(|turned| {
        let new = &turned.new;
        Event {
            at: by_the_store(if turned.outcome_is_as_before() {
                new.checked_at
            } else {
                new.changed_at.unwrap_or(new.checked_at)
            }),
            what: What::Turned {
                kind: new.key.kind.as_str().into(),
                name: (&*new.key.name).into(),
                queue: (&*new.key.queue).into(),
                outcome: new.outcome,
                reason: new.reason,
            },
        }
    }));
    events
}

impl<'a> Written<'a> {
    fn read(self) -> Option<Event<'a>> {
        let (at, what) = match self {
            Self::Turned(at, outcome, kind, name, queue, reason) => {
                Kind::parse(&kind)?;
                let outcome = Outcome::parse(&outcome);
                let reason = (outcome != Outcome::Up).then(|| Reason::parse(&reason));
                (at, What::Turned { kind, name, queue, outcome, reason })
            }
            Self::Heard(at, word, since) => {
                let silent_since = Timestamp::from_unix_ms(since);
                (at, (word == HEARD).then_some(What::Heard { silent_since })?)
            }
            Self::Restarted(at, word) => (at, (word == RESTARTED).then_some(What::Restarted)?),
        };
        Some(Event { at: Timestamp::from_unix_ms(at), what })
    }
}

impl<'a> From<&'a Event<'a>> for Written<'a> {
    fn from(event: &'a Event<'a>) -> Self {
        let at = event.at.unix_ms();
        match &event.what {
            What::Heard { silent_since } => Self::Heard(at, HEARD.into(), silent_since.unix_ms()),
            What::Restarted => Self::Restarted(at, RESTARTED.into()),
            What::Turned { kind, name, queue, outcome, reason } => Self::Turned(
                at,
                outcome.as_str().into(),
                Cow::Borrowed(kind),
                Cow::Borrowed(name),
                Cow::Borrowed(queue),
                reason.map_or("", Reason::as_str).into(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events() -> impl Strategy<Value = Event<'static>> {
        let turned = ("[a-z_]{1,32}", "\\PC{1,60}", "\\PC{0,60}", 0usize..3, 0usize..Reason::ALL.len());
        let turned = turned.prop_map(|(kind, name, queue, outcome, reason)| {
            let outcome = [Outcome::Up, Outcome::Down, Outcome::Unknown][outcome];
            let reason = (outcome != Outcome::Up).then(|| Reason::ALL[reason]);
            What::Turned { kind: kind.into(), name: name.into(), queue: queue.into(), outcome, reason }
        });
        let heard =
            any::<i64>().prop_map(|since| What::Heard { silent_since: Timestamp::from_unix_ms(since) });
        let what = prop_oneof![turned, heard, Just(What::Restarted)];
        (any::<i64>(), what).prop_map(|(at, what)| Event { at: Timestamp::from_unix_ms(at), what })
    }

    proptest! {
        #[test]
        fn the_latest_are_remembered_within_the_bounds(batches in prop::collection::vec(prop::collection::vec(events(), 0..6), 0..12)) {
            let mut recent = Recent::default();
            for batch in &batches {
                recent = recent.with(batch);
            }
            let all: Vec<&Event<'_>> = batches.iter().flatten().collect();
            let told = recent.events();
            prop_assert!(told.len() <= EVENTS_MAX);
            prop_assert!(recent.stored().map_or(0, |text| text.get().len()) <= BYTES_MAX);
            let expected: Vec<&Event<'_>> = all[all.len() - told.len()..].to_vec();
            prop_assert_eq!(told.iter().collect::<Vec<_>>(), expected);
            prop_assert!(told.len() >= all.len().min(3), "three of the longest fit");
            prop_assert_eq!(recent.stored().map(Recent::from_stored).unwrap_or_default(), recent);
        }

        #[test]
        fn whatever_is_stored_can_be_read(text in "\\PC{0,80}", event in events()) {
            let text = RawValue::from_string(serde_json::to_string(&[text]).unwrap()).unwrap();
            let stored = Recent::from_stored(&text);
            prop_assert_eq!(stored.events(), []);
            let after = stored.with(std::slice::from_ref(&event));
            prop_assert_eq!(after.events(), [event]);
        }
    }

    #[test]
    fn what_a_later_version_wrote_is_left_out() {
        let text =
            r#"[[1,"moved",{"to":"x"}],[2,"restarted"],[3,"heard",1],[4,"sideways","host","db","","fog"],7]"#;
        let recent = Recent::from_stored(&RawValue::from_string(text.to_owned()).unwrap());
        let told: Vec<What<'_>> = recent.events().into_iter().map(|event| event.what).collect();
        let at = Timestamp::from_unix_ms(1);
        let turned = What::Turned {
            kind: "host".into(),
            name: "db".into(),
            queue: "".into(),
            outcome: Outcome::Unknown,
            reason: Some(Reason::Other),
        };
        assert_eq!(told, [What::Restarted, What::Heard { silent_since: at }, turned]);
        let long = RawValue::from_string(format!("{:?}", "x".repeat(BYTES_MAX))).unwrap();
        assert_eq!(Recent::from_stored(&long), Recent::NOTHING);
    }
}
