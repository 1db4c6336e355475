//! How a heartbeat came about: the publisher's part of its trace.
//!
//! A publisher in an enclave reaches no collector, so its spans travel with the heartbeat. What the message
//! tells already, when each check ended, how long it took and what was found, is not told twice: here are
//! the ids, and what a check knows beyond it.

use std::sync::Arc;

use opentelemetry::trace::{SpanId, TraceId};

use super::{ComponentKey, Outcome, Reason, Timestamp};

/// The spans of one heartbeat: the round, and a child of it for each check.
#[derive(Clone, Debug, PartialEq)]
pub struct HeartbeatTrace {
    /// The trace; the message's own context must name the same.
    pub trace_id: TraceId,
    /// The span of the round, the root of the trace.
    pub round: SpanId,
    /// When the first of the checks began, by the publisher's clock.
    pub began_at: Timestamp,
    /// Checks made since the heartbeat before.
    pub checks: Vec<CheckSpan>,
    /// Checks that are not told of, since the trace would be too large.
    pub left_out: u64,
}

/// The span of one check.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckSpan {
    /// What was checked.
    pub key: ComponentKey,
    /// Its span.
    pub span: SpanId,
    /// The address and port that answered, or was tried.
    pub peer: Option<Arc<str>>,
    /// What it found, where that is not what the component is shown as: it takes several to turn.
    pub found: Option<(Outcome, Option<Reason>)>,
}
