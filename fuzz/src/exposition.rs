//! A state made of messages with any names and numbers, shown in each form and read back by others.

use heartbeat_bridge::exposition::text::Format;
use heartbeat_bridge::heartbeat::wire::{Limits, decode};
use heartbeat_bridge::heartbeat::{Kind, Outcome, Timestamp};
use heartbeat_bridge::state::snapshot::{ComponentView, PublisherView};
use heartbeat_bridge::state::{Snapshot, View, apply};
use serde_json::{Value, json};

use super::shown::{Series, Shown, in_otlp, in_text};
use super::state::{NOW_MS, receipt, snapshot};

/// Each line is a publisher, `P` and its id, or a component of the one before: a letter for its kind, one
/// for its outcome, one for its figures, and its name, with a consumer's queue after a tab.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut view = View::default();
    let mut publisher: Option<(String, Vec<Value>)> = None;
    // Enough to meet every pair of names; more only takes time.
    for line in text.split('\n').take(64) {
        if let Some(id) = line.strip_prefix('P') {
            take(&mut view, publisher.replace((id.to_owned(), Vec::new())));
        } else if let Some((_, components)) = &mut publisher {
            components.extend(component(line));
        }
    }
    take(&mut view, publisher);
    // Fresh, stale, and not in step.
    for (ms, synced) in [(NOW_MS + 5_000, true), (NOW_MS + 500_000, true), (NOW_MS + 5_000, false)] {
        is_shown_as_it_is(&snapshot(&view, ms, synced));
    }
}

/// Takes a publisher's message in, if it is one.
fn take(view: &mut View, publisher: Option<(String, Vec<Value>)>) {
    let Some((id, components)) = publisher else { return };
    let at = Timestamp::from_unix_ms(NOW_MS).to_rfc3339();
    let message = json!({"v2": {
        "publisher": id, "epoch": "e1", "started_at": at, "uptime_ms": 1000, "sequence": 7, "sent_at": at,
        "interval_seconds": 10, "version": format!("1.{id}"), "components": components,
    }});
    if let Ok(message) = decode(message.to_string().as_bytes(), &Limits::default()) {
        let (record, _) = apply(None, &message, &receipt(NOW_MS, true));
        view.put(record.into());
    }
}

fn component(line: &str) -> Option<Value> {
    let mut letters = line.chars();
    let mut letter = || letters.next().map(u32::from);
    let (kind, outcome, figures) = (letter()?, letter()?, letter()?);
    let (name, queue) = letters.as_str().split_once('\t').unwrap_or((letters.as_str(), ""));
    let kind = ["host", "consumer", "queue", "later_kind"][kind as usize % 4];
    let outcome = ["up", "down", "unknown", "later"][outcome as usize % 4];
    let at = |ago: i64| Timestamp::from_unix_ms(NOW_MS - ago).to_rfc3339();
    let mut wire =
        json!({"kind": kind, "name": name, "outcome": outcome, "checked_at": at(1), "reason": "refused"});
    if !queue.is_empty() {
        wire["queue"] = json!(queue);
    }
    if figures & 1 != 0 {
        wire["messages"] = json!(u64::from(figures) << 20);
        wire["consumers"] = json!(figures);
    }
    if figures & 2 != 0 {
        wire["duration_seconds"] = json!(f64::from(figures) / 7e3);
        wire["changed_at"] = json!(at(i64::from(figures)));
        wire["last_up_at"] = json!(at(i64::from(figures) * 3));
    }
    if figures & 8 != 0 {
        wire["certificate_not_after"] = json!(at(i64::from(figures) * 5));
    }
    if figures & 4 != 0 {
        wire["checks_total"] = json!(u64::MAX - u64::from(figures));
        wire["failures_total"] = json!(figures);
    }
    Some(wire)
}

/// All forms say the same, and that is what the state is.
pub(crate) fn is_shown_as_it_is(snapshot: &Snapshot) {
    let classic = in_text(snapshot, Format::Text);
    assert_eq!(classic, in_text(snapshot, Format::OpenMetrics1), "both texts say the same");
    // OTLP's whole numbers have a sign, so that the largest counts are shown as the largest that it has.
    let bounded: Shown =
        classic.iter().map(|(series, value)| (series.clone(), value.min(i64::MAX as f64))).collect();
    assert_eq!(bounded, in_otlp(snapshot), "OTLP says what the texts say");

    let mut left = classic;
    for publisher in &snapshot.publishers {
        holds_publisher(&mut left, publisher);
        for component in publisher.components() {
            holds_component(&mut left, publisher, &component);
        }
    }
    left.retain(|(name, _), _| !name.starts_with("heartbeat_subscriber_view_"));
    assert_eq!(left, Shown::new(), "nothing is shown that is not there");
}

fn series(name: &str, labels: &[(&str, &str)]) -> Series {
    let mut labels: Vec<_> = labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    labels.sort();
    (format!("heartbeat_{name}"), labels)
}

/// Takes one series out, which has to have this value; `None` where it must not be there.
fn holds(left: &mut Shown, series: &Series, value: Option<f64>) {
    assert_eq!(left.remove(series), value, "{series:?}");
}

fn holds_publisher(left: &mut Shown, view: &PublisherView) {
    let id = ("publisher", view.id.as_str());
    let mut row = |name: &str, value: Option<f64>| holds(left, &series(name, &[id]), value);
    let seconds = |at: Option<Timestamp>| at.map(|at| at.unix_ms() as f64 / 1e3);
    row("publisher_up", view.up.map(f64::from));
    row("publisher_expected", view.expected.then_some(1.0));
    row("publisher_last_seen_timestamp_seconds", seconds(view.last_seen));
    row("publisher_deadline_timestamp_seconds", seconds(view.deadline));
    row("publisher_interval_seconds", view.interval.map(|interval| interval.as_secs_f64()));
    row("publisher_clock_offset_seconds", view.clock_offset_ms.map(|offset| offset as f64 / 1e3));
    row("publisher_start_time_seconds", seconds(view.started_at));
    row("publisher_sequence", view.sequence.map(|sequence| sequence as f64));
    row("publisher_maintenance_end_timestamp_seconds", seconds(view.maintenance.of_publisher()));
    row("publisher_conflict", Some(f64::from(view.conflict)));
    let counts = view.counts.expect("it was seen");
    row("publisher_heartbeats_total", Some(counts.heartbeats as f64));
    row("publisher_lost_total", Some(counts.lost as f64));
    row("publisher_duplicate_total", Some(counts.duplicates as f64));
    row("publisher_superseded_total", Some(counts.superseded as f64));
    row("publisher_restarts_total", Some(counts.restarts as f64));
    let totals = view.totals;
    row("publisher_publish_failures_total", totals.map(|totals| totals.publish_failures as f64));
    row("publisher_reconnects_total", totals.map(|totals| totals.reconnects as f64));
    row("publisher_blocked_seconds_total", totals.map(|totals| totals.blocked_seconds));
    if let Some(version) = &view.version {
        let epoch = view.epoch.as_deref().unwrap_or_default();
        holds(left, &series("publisher_info", &[id, ("version", version), ("epoch", epoch)]), Some(1.0));
    }
}

fn holds_component(left: &mut Shown, publisher: &PublisherView, view: &ComponentView<'_>) {
    let key = &view.component.key;
    let id = ("publisher", publisher.id.as_str());
    let labels = [id, ("kind", key.kind.as_str()), ("name", key.name), ("queue", key.queue)];
    let mut row = |name: &str, value: Option<f64>| holds(left, &series(name, &labels), value);
    let component = &view.component;
    let seconds = |at: Option<Timestamp>| at.map(|at| at.unix_ms() as f64 / 1e3);
    let up = match view.outcome {
        Some(Outcome::Up) => Some(1.0),
        Some(Outcome::Down) => Some(0.0),
        Some(Outcome::Unknown) | None => None,
    };
    row("component_up", up);
    row("component_unknown", view.outcome.map(|outcome| f64::from(outcome == Outcome::Unknown)));
    row("component_last_change_timestamp_seconds", seconds(component.changed_at));
    row("component_last_up_timestamp_seconds", seconds(component.last_up_at));
    row("component_maintenance_end_timestamp_seconds", seconds(view.maintenance));
    row("component_certificate_not_after_timestamp_seconds", seconds(component.certificate_not_after));
    let current = view.is_current();
    row("component_check_duration_seconds", component.duration_seconds.filter(|_| current));
    row("component_checks_total", component.checks_total.map(|total| total as f64));
    row("component_check_failures_total", component.failures_total.map(|total| total as f64));
    if let (Some(Outcome::Down | Outcome::Unknown), Some(reason)) = (view.outcome, view.reason) {
        let [id, kind, name, queue] = labels;
        let labels = [id, kind, name, queue, ("reason", reason.as_str())];
        holds(left, &series("component_reason", &labels), Some(1.0));
    }
    if let (Kind::Queue, Some(figures), true) = (&key.kind, component.figures, current) {
        let labels = [id, ("queue", key.name)];
        holds(left, &series("queue_messages", &labels), figures.messages.map(|messages| messages as f64));
        holds(left, &series("queue_consumers", &labels), figures.consumers.map(|consumers| consumers as f64));
    }
}
