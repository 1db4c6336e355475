//! The trace of each heartbeat: exported from here where this publisher reaches a collector, and otherwise
//! sent along, for the subscriber to export.

use std::time::Duration;

use super::track::Tracked;
use crate::amqp::publish::PublishFailure;
use crate::clock::SteadyWall;
use crate::exposition::otlp::Origin;
use crate::heartbeat::{Heartbeat, HeartbeatTrace};
use crate::otlp::heartbeat::{Destination, Sending, publisher_spans};
use crate::otlp::span::{SpanBatch, Spans};
use crate::otlp::{Tracer, record};
use crate::trace::{TraceContext, span_id};

/// How heartbeats are traced.
pub struct Tracing {
    /// Exports spans, and says which heartbeats are traced.
    pub tracer: Tracer,
    /// Whether spans travel with the heartbeat where none are exported.
    pub carry: bool,
    /// Where heartbeats go.
    pub destination: Destination,
}

/// The trace of a heartbeat that is being sent.
pub(super) struct Begun {
    /// The producer's span.
    context: TraceContext,
    /// `None`: nobody records it.
    trace: Option<HeartbeatTrace>,
}

impl Begun {
    /// What the message says of it: nothing where this publisher's part would be missing from a trace that
    /// others record.
    pub(super) fn header(&self) -> Option<TraceContext> {
        Some(self.context).filter(|context| self.trace.is_some() || !context.sampled)
    }
}

impl Tracing {
    /// Begins the trace of a heartbeat, which tells the latest check of each component, if there was one
    /// since the heartbeat before.
    pub(super) fn begin(&self, tracked: &mut [Tracked], now: Duration, wall: &SteadyWall) -> Begun {
        let context = TraceContext::random(false);
        let context = context.recorded(self.tracer.samples(None, context.trace_id()));
        let is_told = context.sampled && (self.tracer.is_exporting() || self.carry);
        let made: Vec<_> = tracked.iter_mut().filter_map(Tracked::check_span).collect();
        let trace = is_told.then(|| {
            let began = made.iter().map(|(began, _)| *began).min().unwrap_or(now);
            HeartbeatTrace {
                trace_id: context.trace_id(),
                round: span_id(),
                began_at: wall.at(began),
                checks: made.into_iter().map(|(_, span)| span).collect(),
                left_out: 0,
            }
        });
        Begun { context, trace }
    }

    /// Gives the heartbeat its trace to carry, or returns it to be exported once the heartbeat was sent.
    pub(super) fn attach(&self, begun: Begun, heartbeat: &mut Heartbeat) -> Option<Waiting> {
        let trace = begun.trace?;
        if !self.tracer.is_exporting() {
            heartbeat.trace = Some(Box::new(trace));
            return None;
        }
        let heartbeat = heartbeat.clone();
        Some(Waiting { heartbeat, trace, context: begun.context, destination: self.destination.clone() })
    }

    /// Exports the trace of a heartbeat of which it is known what became of it, at `end_ms` since the Unix
    /// epoch.
    pub(super) fn end(&self, waiting: Waiting, end_ms: i64, result: Result<(), PublishFailure>) {
        let failure = result.err().map(PublishFailure::as_str);
        let sending = Sending { end: Some(record::nanos(end_ms)), failure };
        self.tracer.end(Box::new(Ended { waiting, sending }));
    }
}

/// A trace whose heartbeat is on its way.
pub(super) struct Waiting {
    heartbeat: Heartbeat,
    trace: HeartbeatTrace,
    context: TraceContext,
    destination: Destination,
}

struct Ended {
    waiting: Waiting,
    sending: Sending,
}

impl Spans for Ended {
    fn count(&self) -> usize {
        self.waiting.trace.checks.len() + 2
    }

    fn write(self: Box<Self>, own: &Origin, out: &mut SpanBatch) {
        let Waiting { heartbeat, trace, context, destination } = &self.waiting;
        out.push(own, publisher_spans(heartbeat, trace, *context, destination, self.sending));
    }
}
