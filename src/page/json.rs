//! Answers of the API, version 1. `openapi.json` beside it describes them; tests hold both together.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;

use super::fleet::{Fleet, Judged};
use super::{Parameter, Query, Standing};
use crate::heartbeat::{Outcome, Reason, Timestamp, Window};
use crate::state::recent::{Event, What};
use crate::state::snapshot::{ComponentView, Snapshot};

/// The description of the API, in OpenAPI 3.1.
pub const OPENAPI: &str = include_str!("openapi.json");

/// By what the fleet is asked for.
pub const OF_FLEET: [Parameter; 3] = [Parameter::Search, Parameter::State, Parameter::Page];

/// By what one publisher is.
pub const OF_ONE: [Parameter; 1] = [Parameter::Id];

/// Every publisher that is asked for, a page at a time.
pub fn publishers(snapshot: &Snapshot, query: &Query, ready: &Result<(), String>) -> Vec<u8> {
    let fleet = Fleet::find(snapshot, query);
    written(&Publishers {
        view: View::of(snapshot, ready),
        totals: fleet.totals.iter().map(|(standing, total)| (standing.as_str(), *total)).collect(),
        found: fleet.found,
        page: fleet.number,
        pages: fleet.pages,
        publishers: fleet.page.iter().map(|judged| Publisher::of(judged, snapshot.now)).collect(),
    })
}

/// One publisher; `None` if there is none of this name.
pub fn publisher(snapshot: &Snapshot, id: &str, ready: &Result<(), String>) -> Option<Vec<u8>> {
    let judged = Fleet::one(snapshot, id)?;
    Some(written(&One {
        view: View::of(snapshot, ready),
        publisher: Publisher::of(&judged, snapshot.now),
        recent: judged.view.recent.events().into_iter().rev().map(Past::from).collect(),
    }))
}

/// Why there is no answer.
pub fn error(text: &str) -> Vec<u8> {
    written(&BTreeMap::from([("error", text)]))
}

fn written(answer: &impl Serialize) -> Vec<u8> {
    // Nothing in these types can fail to be written, and memory takes it.
    let mut json = serde_json::to_vec(answer).unwrap_or_default();
    json.push(b'\n');
    json
}

#[derive(Serialize)]
struct Publishers<'a> {
    view: View<'a>,
    totals: BTreeMap<&'static str, usize>,
    found: usize,
    page: usize,
    pages: usize,
    publishers: Vec<Publisher<'a>>,
}

#[derive(Serialize)]
struct One<'a> {
    view: View<'a>,
    publisher: Publisher<'a>,
    recent: Vec<Past<'a>>,
}

/// How far the answer can be trusted.
#[derive(Serialize)]
struct View<'a> {
    now: String,
    synced: bool,
    lag_seconds: f64,
    ready: bool,
    not_ready_because: Option<&'a str>,
}

impl<'a> View<'a> {
    fn of(snapshot: &Snapshot, ready: &'a Result<(), String>) -> Self {
        Self {
            now: snapshot.now.to_rfc3339(),
            synced: snapshot.view_synced,
            lag_seconds: snapshot.view_lag.as_secs_f64(),
            ready: ready.is_ok(),
            not_ready_because: ready.as_ref().err().map(String::as_str),
        }
    }
}

#[derive(Serialize)]
struct Publisher<'a> {
    id: &'a str,
    state: &'static str,
    expected: bool,
    conflict: bool,
    maintenance_until: Option<String>,
    maintenance: Vec<Planned<'a>>,
    last_seen: Option<String>,
    deadline: Option<String>,
    first_received: Option<String>,
    started_at: Option<String>,
    interval_seconds: Option<f64>,
    clock_offset_seconds: Option<f64>,
    version: Option<&'a str>,
    epoch: Option<&'a str>,
    sequence: Option<u64>,
    heartbeats: Option<Heartbeats>,
    components: Vec<Component<'a>>,
}

#[derive(Serialize)]
struct Planned<'a> {
    begins_at: String,
    ends_at: String,
    comment: Option<&'a str>,
    components: Vec<&'a str>,
}

impl<'a> From<&'a Window> for Planned<'a> {
    fn from(window: &'a Window) -> Self {
        Self {
            begins_at: window.begins_at().to_rfc3339(),
            ends_at: window.ends_at().to_rfc3339(),
            comment: window.comment(),
            components: window.components().iter().map(|name| &**name).collect(),
        }
    }
}

/// What is of a component is `None` for what happened to the publisher.
#[derive(Serialize)]
struct Past<'a> {
    at: String,
    event: &'static str,
    silent_since: Option<String>,
    kind: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
    queue: Option<Cow<'a, str>>,
    reason: Option<&'static str>,
}

impl<'a> From<Event<'a>> for Past<'a> {
    fn from(event: Event<'a>) -> Self {
        let bare = |event| Self {
            at: String::new(),
            event,
            silent_since: None,
            kind: None,
            name: None,
            queue: None,
            reason: None,
        };
        let past = match event.what {
            What::Heard { silent_since } => {
                Self { silent_since: Some(silent_since.to_rfc3339()), ..bare("heard") }
            }
            What::Restarted => bare("restarted"),
            What::Turned { kind, name, queue, outcome, reason } => Self {
                kind: Some(kind),
                name: Some(name),
                queue: Some(queue).filter(|queue| !queue.is_empty()),
                reason: reason.map(Reason::as_str),
                ..bare(outcome.as_str())
            },
        };
        Self { at: event.at.to_rfc3339(), ..past }
    }
}

#[derive(Serialize)]
struct Heartbeats {
    taken: u64,
    lost: u64,
    duplicate: u64,
    superseded: u64,
    restarts: u64,
}

#[derive(Serialize)]
struct Component<'a> {
    kind: &'a str,
    name: &'a str,
    queue: Option<&'a str>,
    target: Option<&'a str>,
    state: &'static str,
    reason: Option<&'static str>,
    maintenance_until: Option<String>,
    checked_at: String,
    changed_at: Option<String>,
    last_up_at: Option<String>,
    last_down_at: Option<String>,
    check_duration_seconds: Option<f64>,
    checks: Option<u64>,
    check_failures: Option<u64>,
    messages: Option<u64>,
    consumers: Option<u64>,
    certificate_not_after: Option<String>,
}

fn time(at: Option<Timestamp>) -> Option<String> {
    at.map(Timestamp::to_rfc3339)
}

impl<'a> Publisher<'a> {
    fn of(judged: &Judged<'a>, now: Timestamp) -> Self {
        let view = judged.view;
        Self {
            id: view.id.as_str(),
            state: judged.standing.as_str(),
            expected: view.expected,
            conflict: view.conflict,
            maintenance_until: time(view.maintenance.of_publisher()),
            maintenance: view.maintenance.windows().map(Planned::from).collect(),
            last_seen: time(view.last_seen),
            deadline: time(view.deadline),
            first_received: time(view.first_received),
            started_at: time(view.started_at.map(|at| judged.by_the_store(at, now))),
            interval_seconds: view.interval.map(|interval| interval.as_secs_f64()),
            clock_offset_seconds: view.clock_offset_ms.map(|ms| ms as f64 / 1e3),
            version: view.version.as_deref(),
            epoch: view.epoch.as_deref(),
            sequence: view.sequence,
            heartbeats: view.counts.map(|counts| Heartbeats {
                taken: counts.heartbeats,
                lost: counts.lost,
                duplicate: counts.duplicates,
                superseded: counts.superseded,
                restarts: counts.restarts,
            }),
            components: judged.components().iter().map(|one| Component::of(one, judged, now)).collect(),
        }
    }
}

impl<'a> Component<'a> {
    fn of(view: &ComponentView<'a>, judged: &Judged<'_>, now: Timestamp) -> Self {
        let component = view.component;
        let by_the_store = |at: Option<Timestamp>| time(at.map(|at| judged.by_the_store(at, now)));
        let key = component.key;
        // What may be mistaken for the present is withdrawn, as it is from the metrics.
        let figures = component.figures.filter(|_| view.is_current());
        Self {
            kind: key.kind.text(),
            name: key.name,
            queue: Some(key.queue).filter(|queue| !queue.is_empty()),
            target: component.target,
            state: view.outcome.map_or(Standing::Unjudged.as_str(), Outcome::as_str),
            reason: view.reason.map(|reason| reason.as_str()),
            maintenance_until: time(view.maintenance),
            checked_at: judged.by_the_store(component.checked_at, now).to_rfc3339(),
            changed_at: by_the_store(component.changed_at),
            last_up_at: by_the_store(component.last_up_at),
            last_down_at: by_the_store(component.last_down_at),
            check_duration_seconds: component.duration_seconds.filter(|_| view.is_current()),
            checks: component.checks_total,
            check_failures: component.failures_total,
            messages: figures.and_then(|figures| figures.messages),
            consumers: figures.and_then(|figures| figures.consumers),
            // By the clock of whoever issued it.
            certificate_not_after: time(component.certificate_not_after),
        }
    }
}
