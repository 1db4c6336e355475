//! The value of `trace` in version 2. It is read only by who exports traces, and what cannot be read of it
//! is nobody's loss: the heartbeat counts without it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use opentelemetry::trace::{SpanId, TraceId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::heartbeat::{
    CheckSpan, Component, Heartbeat, HeartbeatTrace, Outcome, Reason, Timestamp, check_name,
};

/// Bytes that a trace may take in a message (design, limits).
pub const TRACE_BYTES_MAX: usize = 64 << 10;

#[derive(Deserialize, Serialize)]
struct Wire<'a> {
    #[serde(borrow)]
    trace_id: Cow<'a, str>,
    #[serde(borrow)]
    round: Cow<'a, str>,
    #[serde(borrow)]
    began_at: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "is_zero")]
    left_out: u64,
    #[serde(borrow)]
    checks: Vec<Check<'a>>,
}

#[derive(Clone, Deserialize, Serialize)]
struct Check<'a> {
    /// Place in the message's components.
    component: usize,
    #[serde(borrow)]
    span: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    peer: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    outcome: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Writes the heartbeat's trace, if it has one, in at most [`TRACE_BYTES_MAX`]. Where not all checks fit,
/// those that did not find their component up come first, then the slowest.
pub(super) fn encode(heartbeat: &Heartbeat) -> Option<Box<RawValue>> {
    let trace = heartbeat.trace.as_ref()?;
    let places: HashMap<_, _> =
        heartbeat.components.iter().enumerate().map(|(index, component)| (&component.key, index)).collect();
    let told = trace.checks.iter().filter_map(|check| {
        let index = *places.get(&check.key)?;
        Some((&heartbeat.components[index], Check::new(index, check)))
    });
    let mut checks: Vec<(&Component, Check<'_>)> = told.collect();
    let told = checks.len();
    loop {
        let left_out = trace.left_out + (told - checks.len()) as u64;
        let wire = Wire {
            trace_id: trace.trace_id.to_string().into(),
            round: trace.round.to_string().into(),
            began_at: trace.began_at.to_rfc3339().into(),
            left_out,
            checks: checks.iter().map(|(_, check)| check.clone()).collect(),
        };
        let text = serde_json::value::to_raw_value(&wire).ok()?;
        let length = text.get().len();
        if length <= TRACE_BYTES_MAX {
            return Some(text);
        }
        if checks.len() == told {
            checks.sort_by(|(a, _), (b, _)| interest(b).total_cmp(&interest(a)));
        }
        // As many as their share of the room, and some fewer, for they differ in length.
        checks.truncate((checks.len() * TRACE_BYTES_MAX / length).saturating_sub(1));
    }
}

/// How much a check says that others do not: seconds, and more than any duration where it was not good.
fn interest(component: &Component) -> f64 {
    let failed = if component.outcome == Outcome::Up { 0.0 } else { 1e9 };
    failed + component.duration_seconds.unwrap_or_default()
}

impl<'a> Check<'a> {
    fn new(component: usize, check: &'a CheckSpan) -> Self {
        let found = check.found;
        Self {
            component,
            span: check.span.to_string().into(),
            peer: check.peer.as_deref().map(Cow::from),
            outcome: found.map(|(outcome, _)| outcome.as_str().into()),
            reason: found.and_then(|(_, reason)| reason).map(|reason| reason.as_str().into()),
        }
    }
}

/// Reads a trace of at most `bytes_max`; `components` are in the order of the message.
pub(super) fn decode(raw: &RawValue, bytes_max: usize, components: &[Component]) -> Option<HeartbeatTrace> {
    let text = raw.get();
    if text.len() > bytes_max {
        return None;
    }
    let wire: Wire<'_> = serde_json::from_str(text).ok()?;
    let checks = wire.checks.into_iter().take(components.len()).map(|check| check.read(components));
    Some(HeartbeatTrace {
        trace_id: trace_id(&wire.trace_id)?,
        round: span_id(&wire.round)?,
        began_at: Timestamp::parse_rfc3339(&wire.began_at).ok()?,
        checks: checks.collect::<Option<_>>()?,
        left_out: wire.left_out,
    })
}

impl Check<'_> {
    fn read(self, components: &[Component]) -> Option<CheckSpan> {
        let key = components.get(self.component)?.key.clone();
        let outcome = self.outcome.map(|outcome| Outcome::parse(&outcome));
        let reason = self.reason.map(|reason| Reason::parse(&reason));
        let found = outcome.map(|outcome| match outcome {
            Outcome::Up => (outcome, None),
            Outcome::Down | Outcome::Unknown => (outcome, Some(reason.unwrap_or(Reason::Other))),
        });
        let peer: Option<Arc<str>> =
            self.peer.filter(|peer| check_name(peer).is_ok()).map(|peer| (&*peer).into());
        Some(CheckSpan { key, span: span_id(&self.span)?, peer, found })
    }
}

fn trace_id(text: &str) -> Option<TraceId> {
    let id = TraceId::from_hex(text).ok().filter(|_| text.len() == 32)?;
    (id != TraceId::INVALID).then_some(id)
}

fn span_id(text: &str) -> Option<SpanId> {
    let id = SpanId::from_hex(text).ok().filter(|_| text.len() == 16)?;
    (id != SpanId::INVALID).then_some(id)
}
