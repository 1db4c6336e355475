//! The families that tell the state: what each is called, means, and when it has a sample.
//!
//! Of a stale publisher or component only what may be mistaken for the present is withdrawn; timestamps,
//! counters and reasons stay, so that no alert resolves itself (design, §2.8).

use super::family::{Family, FamilyType, Number, Since};
use crate::heartbeat::{Outcome, QueueFigures, Timestamp};
use crate::state::snapshot::{ComponentView, PublisherCounts, PublisherView, Snapshot};

/// A family and the value of its sample for one `T`; `None` where it has none.
pub(super) struct Row<T> {
    pub(super) family: Family,
    pub(super) value: fn(&T) -> Option<Number>,
}

/// As [`Row`], of a component, whose view borrows.
pub(super) struct ComponentRow {
    pub(super) family: Family,
    pub(super) value: fn(&ComponentView<'_>) -> Option<Number>,
}

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: FamilyType::Gauge, unit: None, help }
}

const fn seconds(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: FamilyType::Gauge, unit: Some("seconds"), help }
}

/// What all replicas together count about a publisher.
const fn counter(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: FamilyType::Counter(Since::FirstReceived), unit: None, help }
}

/// What a publisher counts itself.
const fn own_counter(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: FamilyType::Counter(Since::ProcessStart), unit: None, help }
}

fn moment(at: Option<Timestamp>) -> Option<Number> {
    at.map(|at| Number::Thousandths(at.unix_ms()))
}

fn count(view: &PublisherView, of: fn(&PublisherCounts) -> u64) -> Option<Number> {
    view.counts.as_ref().map(|counts| Number::Whole(of(counts)))
}

pub(super) const SNAPSHOT: &[Row<Snapshot>] = &[
    Row {
        family: gauge(
            "heartbeat_subscriber_view_synced",
            "Whether this replica's view is in step with the store; without it, it gives no verdicts.",
        ),
        value: |snapshot| Some(snapshot.view_synced.into()),
    },
    Row {
        family: seconds(
            "heartbeat_subscriber_view_lag_seconds",
            "How far this replica's view may be behind the store.",
        ),
        value: |snapshot| Some(Number::Real(snapshot.view_lag.as_secs_f64())),
    },
];

pub(super) const PUBLISHERS: &[Row<PublisherView>] = &[
    Row {
        family: gauge(
            "heartbeat_publisher_up",
            "1 while heartbeats of the publisher come in time, 0 when it is stale or expected and never seen; \
             absent where this replica cannot judge.",
        ),
        value: |view| view.up.map(Number::from),
    },
    Row {
        family: gauge("heartbeat_publisher_expected", "1 for each publisher that the configuration expects."),
        value: |view| view.expected.then_some(Number::Whole(1)),
    },
    Row {
        family: seconds(
            "heartbeat_publisher_last_seen_timestamp_seconds",
            "When the publisher's newest heartbeat was emitted, by the store's clock.",
        ),
        value: |view| moment(view.last_seen),
    },
    Row {
        family: seconds(
            "heartbeat_publisher_deadline_timestamp_seconds",
            "When the publisher turns, or turned, stale.",
        ),
        value: |view| moment(view.deadline),
    },
    Row {
        family: seconds(
            "heartbeat_publisher_interval_seconds",
            "Announced time between two heartbeats; the longest recent gap for message version 1.",
        ),
        value: |view| view.interval.map(|interval| Number::Real(interval.as_secs_f64())),
    },
    Row {
        family: seconds(
            "heartbeat_publisher_clock_offset_seconds",
            "The publisher's clock minus the store's.",
        ),
        value: |view| view.clock_offset_ms.map(Number::Thousandths),
    },
    Row {
        family: seconds(
            "heartbeat_publisher_start_time_seconds",
            "When the publisher's process began, by its own clock.",
        ),
        value: |view| moment(view.started_at),
    },
    Row {
        family: gauge(
            "heartbeat_publisher_sequence",
            "Number of the publisher's newest heartbeat within the life of its process.",
        ),
        value: |view| view.sequence.map(Number::Whole),
    },
    Row {
        family: gauge(
            "heartbeat_publisher_conflict",
            "1 while two processes go on under the same publisher id.",
        ),
        value: |view| {
            let seen = view.counts.is_some() || view.last_seen.is_some();
            seen.then_some(view.conflict.into())
        },
    },
    Row {
        family: seconds(
            "heartbeat_publisher_maintenance_end_timestamp_seconds",
            "When the publisher's window of maintenance ends, by the store's clock; only while one is on.",
        ),
        value: |view| moment(view.maintenance.of_publisher()),
    },
    Row {
        family: counter(
            "heartbeat_publisher_heartbeats",
            "Heartbeats taken of the publisher, the same on every replica.",
        ),
        value: |view| count(view, |counts| counts.heartbeats),
    },
    Row {
        family: counter("heartbeat_publisher_lost", "Heartbeats of the publisher that never came."),
        value: |view| count(view, |counts| counts.lost),
    },
    Row {
        family: counter(
            "heartbeat_publisher_duplicate",
            "Deliveries of a heartbeat that had been taken before.",
        ),
        value: |view| count(view, |counts| counts.duplicates),
    },
    Row {
        family: counter("heartbeat_publisher_superseded", "Heartbeats that came after a newer one."),
        value: |view| count(view, |counts| counts.superseded),
    },
    Row {
        family: counter("heartbeat_publisher_restarts", "Lives of the publisher's process after the first."),
        value: |view| count(view, |counts| counts.restarts),
    },
    Row {
        family: own_counter(
            "heartbeat_publisher_publish_failures",
            "Heartbeats that the broker did not confirm to the publisher, as it counts itself.",
        ),
        value: |view| view.totals.map(|totals| Number::Whole(totals.publish_failures)),
    },
    Row {
        family: own_counter(
            "heartbeat_publisher_reconnects",
            "Connections of the publisher to its broker after the first, as it counts itself.",
        ),
        value: |view| view.totals.map(|totals| Number::Whole(totals.reconnects)),
    },
    Row {
        family: Family {
            name: "heartbeat_publisher_blocked_seconds",
            kind: FamilyType::Counter(Since::ProcessStart),
            unit: Some("seconds"),
            help: "Time for which the broker had blocked the publisher's connection, as it counts itself.",
        },
        value: |view| view.totals.map(|totals| Number::Real(totals.blocked_seconds)),
    },
];

pub(super) const PUBLISHER_INFO: Family = Family {
    name: "heartbeat_publisher",
    kind: FamilyType::Info,
    unit: None,
    help: "Version of the publisher's program and the epoch, which names one life of its process.",
};

pub(super) const COMPONENTS: &[ComponentRow] = &[
    ComponentRow {
        family: gauge(
            "heartbeat_component_up",
            "1 if the component was found up, 0 if down; absent while that is unknown.",
        ),
        value: |view| match view.outcome? {
            Outcome::Up => Some(Number::Whole(1)),
            Outcome::Down => Some(Number::Whole(0)),
            Outcome::Unknown => None,
        },
    },
    ComponentRow {
        family: gauge(
            "heartbeat_component_unknown",
            "1 while the component could not be checked or was not heard of in time, else 0.",
        ),
        value: |view| view.outcome.map(|outcome| (outcome == Outcome::Unknown).into()),
    },
    ComponentRow {
        family: seconds(
            "heartbeat_component_last_change_timestamp_seconds",
            "When the outcome last became another one, by the publisher's clock.",
        ),
        value: |view| moment(view.component.changed_at),
    },
    ComponentRow {
        family: seconds(
            "heartbeat_component_last_up_timestamp_seconds",
            "When the component was last found up, by the publisher's clock.",
        ),
        value: |view| moment(view.component.last_up_at),
    },
    ComponentRow {
        family: seconds(
            "heartbeat_component_check_duration_seconds",
            "How long the latest check of the component took.",
        ),
        value: |view| view.component.duration_seconds.filter(|_| view.is_current()).map(Number::Real),
    },
    ComponentRow {
        family: own_counter(
            "heartbeat_component_checks",
            "Checks of the component, counted by the publisher since its start.",
        ),
        value: |view| view.component.checks_total.map(Number::Whole),
    },
    ComponentRow {
        family: own_counter(
            "heartbeat_component_check_failures",
            "Checks that did not find the component up, counted by the publisher since its start.",
        ),
        value: |view| view.component.failures_total.map(Number::Whole),
    },
    ComponentRow {
        family: seconds(
            "heartbeat_component_certificate_not_after_timestamp_seconds",
            "When the certificate ends that a check of the component saw last; of what is checked with TLS.",
        ),
        value: |view| moment(view.component.certificate_not_after),
    },
    ComponentRow {
        family: seconds(
            "heartbeat_component_maintenance_end_timestamp_seconds",
            "When the window of maintenance of the component, or of its publisher, ends, by the store's clock; only while one \
             is on.",
        ),
        value: |view| moment(view.maintenance),
    },
];

pub(super) const COMPONENT_REASON: Family =
    gauge("heartbeat_component_reason", "Why the component is not up; only while it is not.");

/// Both are of queues alone, under the queue's name.
pub(super) const QUEUES: &[Row<QueueFigures>] = &[
    Row {
        family: gauge(
            "heartbeat_queue_messages",
            "Messages in the queue; ready ones alone where the source is AMQP.",
        ),
        value: |figures| figures.messages.map(Number::Whole),
    },
    Row {
        family: gauge("heartbeat_queue_consumers", "Consumers of the queue."),
        value: |figures| figures.consumers.map(Number::Whole),
    },
];

/// Every family of this file, in the order of the exposition.
pub(super) fn all() -> Vec<Family> {
    let mut all: Vec<Family> = SNAPSHOT.iter().map(|row| row.family).collect();
    all.extend(PUBLISHERS.iter().map(|row| row.family));
    all.push(PUBLISHER_INFO);
    all.extend(COMPONENTS.iter().map(|row| row.family));
    all.push(COMPONENT_REASON);
    all.extend(QUEUES.iter().map(|row| row.family));
    all
}
