//! Version 2: the `v2` key. Unknown keys are ignored, since it will grow.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::{DecodeError, Limits, Rejection, Text};
use crate::heartbeat::{
    Component, ComponentKey, Epoch, FigureSource, Heartbeat, InvalidTimestamp, Kind, Outcome, PublisherId,
    PublisherTotals, QueueFigures, Reason, Timestamp, check_name,
};

/// Longest announced interval: a week. A longer one would keep a dead publisher fresh for ever.
pub(crate) const INTERVAL_MAX: Duration = Duration::from_secs(7 * 86_400);

/// Highest number of a heartbeat: what every JSON reader holds exactly, and no publisher reaches.
pub(crate) const SEQUENCE_MAX: u64 = 1 << 53;

/// The value of `v2`; `C`: its components, as they are written or as they are read.
#[derive(Deserialize, Serialize)]
#[serde(bound(deserialize = "C: Deserialize<'de>"))]
pub(super) struct Wire<'a, C> {
    #[serde(borrow)]
    publisher: Text<'a>,
    #[serde(borrow)]
    epoch: Text<'a>,
    #[serde(borrow)]
    started_at: Text<'a>,
    uptime_ms: u64,
    sequence: u64,
    #[serde(borrow)]
    sent_at: Text<'a>,
    interval_seconds: f64,
    #[serde(borrow, default = "unknown_version")]
    version: Text<'a>,
    #[serde(default)]
    publish_failures_total: u64,
    #[serde(default)]
    reconnects_total: u64,
    #[serde(default)]
    blocked_seconds_total: f64,
    components: C,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    maintenance: Option<&'a RawValue>,
    /// Read only where somebody asks for it, see [`trace`](super::trace).
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    trace: Option<&'a RawValue>,
}

fn unknown_version() -> Text<'static> {
    "unknown".into()
}

/// How times are written: as text in messages, as numbers in stored records.
pub(crate) trait Time: Sized {
    /// From a time.
    fn write(at: Timestamp) -> Self;
    /// Back to it.
    fn read(&self) -> Result<Timestamp, InvalidTimestamp>;
}

impl Time for Text<'_> {
    fn write(at: Timestamp) -> Self {
        at.to_rfc3339().into()
    }

    fn read(&self) -> Result<Timestamp, InvalidTimestamp> {
        Timestamp::parse_rfc3339(&self.0)
    }
}

/// Milliseconds since the Unix epoch.
impl Time for i64 {
    fn write(at: Timestamp) -> Self {
        at.unix_ms()
    }

    fn read(&self) -> Result<Timestamp, InvalidTimestamp> {
        Ok(Timestamp::from_unix_ms(*self))
    }
}

/// One component, in messages and in stored records alike.
#[derive(Deserialize, Serialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub(crate) struct WireComponent<'a, T> {
    #[serde(borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    queue: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    target: Option<Text<'a>>,
    #[serde(borrow)]
    outcome: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    reason: Option<Text<'a>>,
    checked_at: T,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    changed_at: Option<T>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_up_at: Option<T>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_down_at: Option<T>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_unknown_at: Option<T>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    duration_seconds: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checks_total: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failures_total: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    messages: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    consumers: Option<u64>,
    /// Who told `messages` and `consumers`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    source: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate_not_after: Option<T>,
}

/// Components as they are written.
pub(super) type Written<'a> = Vec<WireComponent<'a, Text<'a>>>;

impl<'a> Wire<'a, Written<'a>> {
    /// `maintenance` and `trace` are the heartbeat's own, encoded.
    pub(super) fn new(
        heartbeat: &'a Heartbeat,
        maintenance: Option<&'a RawValue>,
        trace: Option<&'a RawValue>,
    ) -> Self {
        Self {
            publisher: heartbeat.publisher.as_str().into(),
            epoch: heartbeat.epoch.as_str().into(),
            started_at: heartbeat.started_at.to_rfc3339().into(),
            uptime_ms: u64::try_from(heartbeat.uptime.as_millis()).unwrap_or(u64::MAX),
            sequence: heartbeat.sequence,
            sent_at: heartbeat.sent_at.to_rfc3339().into(),
            interval_seconds: heartbeat.interval.as_secs_f64(),
            version: (&*heartbeat.version).into(),
            publish_failures_total: heartbeat.totals.publish_failures,
            reconnects_total: heartbeat.totals.reconnects,
            blocked_seconds_total: heartbeat.totals.blocked_seconds,
            components: heartbeat.components.iter().map(|component| component.borrowed().into()).collect(),
            maintenance,
            trace,
        }
    }
}

/// Components as they are read: each is taken for what it is before the next one is looked at, since one in its wire form
/// is half a kilobyte to be moved about.
pub(super) struct Read {
    /// How many there are.
    count: usize,
    /// All of them, or the first that breaks a rule.
    components: Result<Vec<Component>, DecodeError>,
}

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ReadVisitor)
    }
}

struct ReadVisitor;

impl<'de> Visitor<'de> for ReadVisitor {
    type Value = Read;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Read, A::Error> {
        let mut read = Read { count: 0, components: Ok(Vec::new()) };
        while let Some(wire) = sequence.next_element::<WireComponent<'de, Text<'de>>>()? {
            if let Ok(components) = &mut read.components {
                match wire.into_component() {
                    Ok(component) => components.push(component),
                    Err(error) => {
                        let detail = format!("components[{}].{}", read.count, error.detail);
                        read.components = Err(DecodeError::new(error.reason, detail));
                    }
                }
            }
            read.count += 1;
        }
        Ok(read)
    }
}

impl Wire<'_, Read> {
    pub(super) fn into_heartbeat(self, limits: &Limits) -> Result<Heartbeat, DecodeError> {
        let count = self.components.count;
        if count > limits.components {
            let detail = format!("{count} components, the limit is {}", limits.components);
            return Err(DecodeError::new(Rejection::TooManyComponents, detail));
        }
        let publisher = PublisherId::new(&self.publisher.0)
            .map_err(|error| DecodeError::new(Rejection::Name, format!("publisher: {error}")))?;
        let epoch = Epoch::parse(&self.epoch.0)
            .ok_or_else(|| DecodeError::new(Rejection::Name, "epoch: not 1 to 64 letters, digits, - or _"))?;
        if check_name(&self.version.0).is_err() {
            return Err(DecodeError::new(Rejection::Name, "version: not a printable name"));
        }
        if !(1..=SEQUENCE_MAX).contains(&self.sequence) {
            return Err(DecodeError::new(Rejection::Value, "sequence: not between 1 and 2^53"));
        }
        let interval = Duration::try_from_secs_f64(self.interval_seconds)
            .ok()
            .filter(|interval| !interval.is_zero() && *interval <= INTERVAL_MAX)
            .ok_or_else(|| {
                DecodeError::new(Rejection::Value, "interval_seconds: not between 0 and 604800")
            })?;
        if !self.blocked_seconds_total.is_finite() || self.blocked_seconds_total < 0.0 {
            return Err(DecodeError::new(Rejection::Value, "blocked_seconds_total: not a duration"));
        }

        let mut components = self.components.components?;
        let trace = self.trace.filter(|_| limits.trace_bytes > 0);
        let trace = trace.and_then(|trace| super::trace::decode(trace, limits.trace_bytes, &components));
        components.sort_by(|a, b| a.key.cmp(&b.key));
        if let Some(twice) = components.windows(2).find(|pair| pair[0].key == pair[1].key) {
            let key = &twice[0].key;
            let detail = format!("{} {:?} is there twice", key.kind, key.name);
            return Err(DecodeError::new(Rejection::DuplicateComponent, detail));
        }

        Ok(Heartbeat {
            publisher,
            epoch,
            started_at: time("started_at", &self.started_at)?,
            uptime: Duration::from_millis(self.uptime_ms),
            sequence: self.sequence,
            sent_at: time("sent_at", &self.sent_at)?,
            interval,
            version: (&*self.version.0).into(),
            totals: PublisherTotals {
                publish_failures: self.publish_failures_total,
                reconnects: self.reconnects_total,
                blocked_seconds: self.blocked_seconds_total,
            },
            components,
            maintenance: self.maintenance.map(super::decode_windows).unwrap_or_default(),
            trace: trace.map(Box::new),
        })
    }
}

impl<'a, T: Time> From<Component<&'a str>> for WireComponent<'a, T> {
    fn from(component: Component<&'a str>) -> Self {
        let written = |at: Option<Timestamp>| at.map(T::write);
        let key = component.key;
        let figures = component.figures;
        Self {
            kind: key.kind.text().into(),
            name: key.name.into(),
            queue: (!key.queue.is_empty()).then(|| key.queue.into()),
            target: component.target.map(Text::from),
            outcome: component.outcome.as_str().into(),
            reason: component.reason.map(|reason| reason.as_str().into()),
            checked_at: T::write(component.checked_at),
            changed_at: written(component.changed_at),
            last_up_at: written(component.last_up_at),
            last_down_at: written(component.last_down_at),
            last_unknown_at: written(component.last_unknown_at),
            duration_seconds: component.duration_seconds,
            checks_total: component.checks_total,
            failures_total: component.failures_total,
            messages: figures.and_then(|figures| figures.messages),
            consumers: figures.and_then(|figures| figures.consumers),
            source: figures.map(|figures| figures.source.as_str().into()),
            certificate_not_after: written(component.certificate_not_after),
        }
    }
}

impl<T: Time> WireComponent<'_, T> {
    /// Reads one component, checking every rule of the message.
    pub(crate) fn into_component(self) -> Result<Component, DecodeError> {
        let name = |field: &str, text: &str| match check_name(text) {
            Ok(()) => Ok(text.into()),
            Err(error) => Err(DecodeError::new(Rejection::Name, format!("{field}: {error}"))),
        };
        let kind = Kind::parse(&self.kind.0)
            .ok_or_else(|| DecodeError::new(Rejection::Name, "kind: not a lower-case word"))?;
        let queue = match &self.queue {
            Some(queue) if kind == Kind::Consumer => name("queue", &queue.0)?,
            _ => empty(),
        };
        let outcome = Outcome::parse(&self.outcome.0);
        let reason = match (outcome, &self.reason) {
            (Outcome::Up, _) => None,
            (_, Some(reason)) => Some(Reason::parse(&reason.0)),
            (_, None) => Some(Reason::Other),
        };
        let duration_ok = self.duration_seconds.is_none_or(|seconds| seconds.is_finite() && seconds >= 0.0);
        if !duration_ok {
            return Err(DecodeError::new(Rejection::Value, "duration_seconds: not a duration"));
        }
        let figures = (self.messages.is_some() || self.consumers.is_some()).then(|| QueueFigures {
            messages: self.messages,
            consumers: self.consumers,
            source: FigureSource::parse(self.source.as_ref().map_or("", |source| &source.0)),
        });
        Ok(Component {
            key: ComponentKey { kind, name: name("name", &self.name.0)?, queue },
            target: self.target.as_ref().map(|target| name("target", &target.0)).transpose()?,
            outcome,
            reason,
            checked_at: time("checked_at", &self.checked_at)?,
            changed_at: maybe_time("changed_at", self.changed_at.as_ref())?,
            last_up_at: maybe_time("last_up_at", self.last_up_at.as_ref())?,
            last_down_at: maybe_time("last_down_at", self.last_down_at.as_ref())?,
            last_unknown_at: maybe_time("last_unknown_at", self.last_unknown_at.as_ref())?,
            duration_seconds: self.duration_seconds,
            checks_total: self.checks_total,
            failures_total: self.failures_total,
            figures,
            certificate_not_after: maybe_time("certificate_not_after", self.certificate_not_after.as_ref())?,
        })
    }
}

/// The queue of what is no consumer: one for all, since every component has one.
fn empty() -> Arc<str> {
    static EMPTY: LazyLock<Arc<str>> = LazyLock::new(|| "".into());
    Arc::clone(&EMPTY)
}

fn time(field: &str, text: &impl Time) -> Result<Timestamp, DecodeError> {
    text.read().map_err(|error| DecodeError::new(Rejection::Time, format!("{field}: {error}")))
}

fn maybe_time(field: &str, text: Option<&impl Time>) -> Result<Option<Timestamp>, DecodeError> {
    text.map(|text| time(field, text)).transpose()
}
