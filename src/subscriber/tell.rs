//! What the subscriber tells by OTLP: a record for each change, by a fixed name, and the spans of each
//! message. Without an endpoint it tells nobody, and costs nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::info;

use super::flaps::{Flaps, HeldBack, Subject, TOLD_MAX, Verdict, WINDOW};
use super::trace::{Place, Stored, Traced};
use super::verdicts::{Turn, What};
use crate::amqp::consume::Delivery;
use crate::heartbeat::{Message, Outcome, PublisherId, Reason, Timestamp};
use crate::otlp::heartbeat::{IN_PROCESS, key};
use crate::otlp::record::{Record, Severity};
use crate::otlp::{Recorder, TOLD_TARGET, Tracer};
use crate::state::change::{Changes, Turned};
use crate::trace::TraceContext;

/// Names of events.
mod event {
    pub(super) const COMPONENT_CHANGED: &str = "heartbeat.component.changed";
    pub(super) const PUBLISHER_DISCOVERED: &str = "heartbeat.publisher.discovered";
    pub(super) const PUBLISHER_RESTARTED: &str = "heartbeat.publisher.restarted";
    pub(super) const PUBLISHER_STALE: &str = "heartbeat.publisher.stale";
    pub(super) const PUBLISHER_BACK: &str = "heartbeat.publisher.back";
    pub(super) const PUBLISHER_FORGOTTEN: &str = "heartbeat.publisher.forgotten";
    pub(super) const MESSAGE_REJECTED: &str = "heartbeat.message.rejected";
    pub(super) const FLAPPING: &str = "heartbeat.flapping";
}

/// Attributes of log records alone.
mod attribute {
    pub(super) const PREVIOUS_OUTCOME: &str = "heartbeat.component.previous_outcome";
    pub(super) const PREVIOUS_REASON: &str = "heartbeat.component.previous_reason";
    /// Seconds.
    pub(super) const COMPONENT_PREVIOUS_DURATION: &str = "heartbeat.component.previous_duration";
    pub(super) const STATE: &str = "heartbeat.publisher.state";
    pub(super) const PREVIOUS_STATE: &str = "heartbeat.publisher.previous_state";
    /// Seconds.
    pub(super) const PUBLISHER_PREVIOUS_DURATION: &str = "heartbeat.publisher.previous_duration";
    pub(super) const LAST_SEEN: &str = "heartbeat.publisher.last_seen";
    pub(super) const REASON: &str = "heartbeat.message.reason";
    pub(super) const ROUTING_KEY: &str = "messaging.rabbitmq.destination.routing_key";
    pub(super) const BODY_SIZE: &str = "messaging.message.body.size";
    /// Records of the same subject that were held back before this one.
    pub(super) const HELD_BACK: &str = "heartbeat.records.held_back";
    pub(super) const LIMIT: &str = "heartbeat.records.limit";
    /// Seconds.
    pub(super) const LIMIT_WINDOW: &str = "heartbeat.records.limit_window";
}

/// Where what happens is told.
#[derive(Clone)]
pub struct Outlets {
    /// Spans.
    pub tracer: Tracer,
    /// Log records; `None` where none are exported.
    pub recorder: Option<Recorder>,
    /// Whose they are.
    pub place: Place,
    /// Whether samples of delivery times name their trace.
    pub exemplars: bool,
}

impl Outlets {
    /// Nowhere.
    pub fn none() -> Self {
        let place = Place {
            system: IN_PROCESS,
            server: None,
            store: "memory",
            exchange: "".into(),
            queue: "".into(),
            instance: "".into(),
        };
        Self { tracer: Tracer::off(), recorder: None, place, exemplars: false }
    }
}

/// Tells.
pub(super) struct Teller {
    outlets: Outlets,
    // A std lock: held for a map operation, never across an await.
    flaps: Mutex<Flaps<Record>>,
}

impl Teller {
    pub(super) fn new(outlets: Outlets) -> Self {
        Self { outlets, flaps: Mutex::default() }
    }

    /// Whether records are told, so that what they need is worth keeping.
    pub(super) fn records(&self) -> bool {
        self.outlets.recorder.is_some()
    }

    /// Whether samples of delivery times name their trace.
    pub(super) fn exemplars(&self) -> bool {
        self.outlets.exemplars
    }

    /// Begins to record the taking of a delivery, if its trace is recorded.
    pub(super) fn begin(&self, delivery: &Delivery) -> Option<Box<Traced>> {
        Traced::begin(&self.outlets.tracer, delivery)
    }

    /// Ends the spans of a message.
    pub(super) fn end(
        &self,
        traced: Option<Box<Traced>>,
        message: &Arc<Message>,
        effect: &'static str,
        now: Timestamp,
        stored: Option<Stored>,
    ) {
        if let Some(traced) = traced {
            let spans = traced.end(&self.outlets.place, message, effect, now.unix_ms(), stored);
            self.outlets.tracer.end(spans);
        }
    }

    /// A record for each thing that a message changed.
    pub(super) fn changed(
        &self,
        publisher: &PublisherId,
        changes: &Changes,
        clock_offset_ms: Option<i64>,
        context: Option<TraceContext>,
        now: Timestamp,
    ) {
        if changes.is_empty() || !self.records() {
            return;
        }
        let at = now.unix_ms();
        if changes.is_new {
            let body = format!("Publisher {publisher} is heard of for the first time");
            let record = Record::new(event::PUBLISHER_DISCOVERED, Severity::Info, body, at, at);
            self.tell_of_publisher(publisher, event::PUBLISHER_DISCOVERED, record.in_trace(context), now);
        }
        if changes.restarted {
            let body = format!("The process of publisher {publisher} was started anew");
            let record = Record::new(event::PUBLISHER_RESTARTED, Severity::Warn, body, at, at);
            self.tell_of_publisher(publisher, event::PUBLISHER_RESTARTED, record.in_trace(context), now);
        }
        for turned in &changes.components {
            let record = component_changed(publisher, turned, clock_offset_ms, now).in_trace(context);
            let subject = Subject::Component(publisher.clone(), turned.new.key.clone());
            self.tell(subject, record, now);
        }
    }

    /// A record for a publisher that turned stale, came back, or was forgotten.
    pub(super) fn turned(&self, turn: &Turn, now: Timestamp) {
        let Turn { publisher, what, at, last_seen, lasted, trace, .. } = turn;
        let (name, severity, state, before, does) = match what {
            What::Stale => {
                (event::PUBLISHER_STALE, Severity::Error, "stale", "fresh", "is stale: it fell silent")
            }
            What::Back => (event::PUBLISHER_BACK, Severity::Info, "fresh", "stale", "is heard of again"),
            What::Forgotten => (event::PUBLISHER_FORGOTTEN, Severity::Info, "forgotten", "", "was forgotten"),
        };
        let body = format!("Publisher {publisher} {does}{}", before_that(before, *lasted));
        let mut record = Record::new(name, severity, body, at.unix_ms(), now.unix_ms())
            .with(attribute::STATE, state)
            .in_trace(*trace);
        if !before.is_empty() {
            record = record.with(attribute::PREVIOUS_STATE, before);
        }
        if let Some(lasted) = lasted {
            record = record.with_number(attribute::PUBLISHER_PREVIOUS_DURATION, lasted.as_secs_f64());
        }
        if let Some(last_seen) = last_seen {
            record = record.with(attribute::LAST_SEEN, &last_seen.to_rfc3339());
        }
        self.tell_of_publisher(publisher, name, record, now);
    }

    /// A record and a span for a message that was refused.
    pub(super) fn refused(&self, delivery: &Delivery, reason: &'static str, now: Timestamp) {
        let traced = self.begin(delivery).map(|traced| traced.apart());
        if self.records() {
            let body = format!("A message with routing key {} was refused: {reason}", delivery.routing_key);
            let at = delivery.at.unix_ms();
            let record = Record::new(event::MESSAGE_REJECTED, Severity::Warn, body, at, now.unix_ms())
                .with(attribute::REASON, reason)
                .with(attribute::ROUTING_KEY, &delivery.routing_key)
                .with_count(attribute::BODY_SIZE, delivery.body.len() as u64)
                .in_trace(traced.as_ref().map(|traced| traced.context));
            self.tell(Subject::Refused(reason), record, now);
        }
        if let Some(traced) = traced {
            let spans = traced.refused(&self.outlets.place, reason, now.unix_ms());
            self.outlets.tracer.end(spans);
        }
    }

    /// Tells what was held back for long enough; all of it, where this is the end.
    pub(super) fn tell_held(&self, now: Timestamp, all: bool) {
        let Some(recorder) = &self.outlets.recorder else { return };
        let held = self.flaps().end(now, all);
        for HeldBack { count, last } in held {
            recorder.tell(last.with_count(attribute::HELD_BACK, count - 1));
        }
    }

    fn tell_of_publisher(&self, publisher: &PublisherId, name: &'static str, record: Record, now: Timestamp) {
        let record = record.with(key::PUBLISHER, publisher.as_str());
        self.tell(Subject::Publisher(publisher.clone(), name), record, now);
    }

    fn tell(&self, subject: Subject, record: Record, now: Timestamp) {
        let Some(recorder) = &self.outlets.recorder else { return };
        let verdict = self.flaps().judge(&subject, now, &record);
        match verdict {
            Verdict::Tell => recorder.tell(record),
            Verdict::TellAndStop => {
                recorder.tell(record);
                recorder.tell(bound_reached(&subject, now));
            }
            Verdict::Hold => {}
        }
    }

    fn flaps(&self) -> MutexGuard<'_, Flaps<Record>> {
        self.flaps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that no more is told of a subject for a while.
fn bound_reached(subject: &Subject, now: Timestamp) -> Record {
    let of = match subject {
        Subject::Component(publisher, key) => format!("{} {} of publisher {publisher}", key.kind, key.name),
        Subject::Publisher(publisher, _) => format!("Publisher {publisher}"),
        Subject::Refused(reason) => format!("Messages refused for {reason}"),
    };
    let body = format!(
        "{of}: {TOLD_MAX} records within {} s are the most that is told; further ones are counted, and the last \
         of them is told when the time is over",
        WINDOW.as_secs()
    );
    let record = Record::new(event::FLAPPING, Severity::Warn, body, now.unix_ms(), now.unix_ms())
        .with_count(attribute::LIMIT, TOLD_MAX.into())
        .with_count(attribute::LIMIT_WINDOW, WINDOW.as_secs());
    match subject {
        Subject::Component(publisher, component) => record
            .with(key::PUBLISHER, publisher.as_str())
            .with(key::KIND, component.kind.as_str())
            .with(key::NAME, &component.name)
            .with(key::QUEUE, &component.queue),
        Subject::Publisher(publisher, _) => record.with(key::PUBLISHER, publisher.as_str()),
        Subject::Refused(reason) => record.with(attribute::REASON, reason),
    }
}

fn component_changed(
    publisher: &PublisherId,
    turned: &Turned,
    clock_offset_ms: Option<i64>,
    now: Timestamp,
) -> Record {
    let Turned { old, new } = turned;
    let key = &new.key;
    let severity = match new.outcome {
        Outcome::Up => Severity::Info,
        Outcome::Unknown => Severity::Warn,
        Outcome::Down => Severity::Error,
    };
    // When it turned, from the publisher's clock to the store's; a change of the reason alone is as new as
    // its check.
    let same_outcome = old.as_ref().is_some_and(|old| old.outcome == new.outcome);
    let turned_at = new.changed_at.filter(|_| !same_outcome).unwrap_or(new.checked_at);
    let at = turned_at.plus_ms(clock_offset_ms.unwrap_or(0).saturating_neg()).min(now);
    let lasted = turned.lasted();
    let before = old.as_ref().map(|old| old.outcome.as_str());
    let body = format!(
        "{} {} of publisher {publisher} is {}{}{}",
        key.kind,
        key.name,
        new.outcome,
        new.reason.map(|reason| format!(" ({reason})")).unwrap_or_default(),
        before_that(before.unwrap_or_default(), lasted)
    );
    let mut record = Record::new(event::COMPONENT_CHANGED, severity, body, at.unix_ms(), now.unix_ms())
        .with(key::PUBLISHER, publisher.as_str())
        .with(key::KIND, key.kind.as_str())
        .with(key::NAME, &key.name)
        .with(key::QUEUE, &key.queue)
        .with(key::OUTCOME, new.outcome.as_str());
    let reasons = [(key::REASON, new.reason), (attribute::PREVIOUS_REASON, turned.old_reason())];
    for (key, reason) in reasons {
        if let Some(reason) = reason {
            record = record.with(key, Reason::as_str(reason));
        }
    }
    if let Some(before) = before {
        record = record.with(attribute::PREVIOUS_OUTCOME, before);
    }
    match lasted {
        Some(lasted) => record.with_number(attribute::COMPONENT_PREVIOUS_DURATION, lasted.as_secs_f64()),
        None => record,
    }
}

/// `, was up for 5m` as far as it is known.
fn before_that(state: &str, lasted: Option<Duration>) -> String {
    match (state, lasted) {
        ("", _) => String::new(),
        (state, Some(lasted)) => {
            let lasted = if lasted.as_secs() > 0 { Duration::from_secs(lasted.as_secs()) } else { lasted };
            format!("; it was {state} for {}", humantime::format_duration(lasted))
        }
        (state, None) => format!("; it was {state} before"),
    }
}

/// A line for each thing that a message changed.
pub(super) fn log_changes(after: &crate::state::Record, changes: &Changes) {
    let publisher = after.id.as_str();
    if changes.is_new {
        info!(target: TOLD_TARGET, publisher, components = after.components.len(), "New publisher");
    }
    if changes.restarted {
        info!(target: TOLD_TARGET, publisher, "Publisher restarted");
    }
    for turned in &changes.components {
        let new = &turned.new;
        info!(
            target: TOLD_TARGET,
            publisher,
            kind = new.key.kind.as_str(),
            name = &*new.key.name,
            queue = &*new.key.queue,
            was = turned.old.as_ref().map_or("new", |old| old.outcome.as_str()),
            was_reason = turned.old_reason().map_or("", |reason| reason.as_str()),
            outcome = new.outcome.as_str(),
            reason = new.reason.map_or("", |reason| reason.as_str()),
            "Component changed"
        );
    }
}
