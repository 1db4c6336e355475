//! The subscriber's part of a heartbeat's trace: the consumer's span, the store's, and those that the
//! publisher could not export itself.

use std::collections::HashSet;
use std::sync::Arc;

use opentelemetry_semantic_conventions::attribute;

use super::metrics::Outcome;
use crate::amqp::consume::Delivery;
use crate::exposition::otlp::Origin;
use crate::heartbeat::{Heartbeat, HeartbeatTrace, Message, PublisherId};
use crate::otlp::Tracer;
use crate::otlp::heartbeat::{
    Destination, RABBITMQ, Sending, key, message_id, of_heartbeat, origin_of, publisher_spans,
};
use crate::otlp::record::nanos;
use crate::otlp::span::{Span, SpanBatch, SpanKind, Spans};
use crate::trace::TraceContext;

/// Whose traces these are, and what stands in each of their spans.
#[derive(Clone, Debug)]
pub struct Place {
    /// What brings the messages, as the conventions name it.
    pub system: &'static str,
    /// The broker, where there is one.
    pub server: Option<(Arc<str>, u16)>,
    /// What keeps the state: `redis` or `memory`.
    pub store: &'static str,
    /// The exchange of heartbeats.
    pub exchange: Arc<str>,
    /// The queue that is consumed.
    pub queue: Arc<str>,
    /// This process, by whom carried spans are exported.
    pub instance: Arc<str>,
}

/// A message whose taking is recorded.
#[derive(Clone, Debug)]
pub(super) struct Traced {
    /// The consumer's span.
    pub(super) context: TraceContext,
    /// The producer's.
    parent: Option<TraceContext>,
    routing_key: Arc<str>,
    tag: u64,
    bytes: usize,
    live: bool,
    /// Milliseconds since the Unix epoch, by the store's clock.
    received_ms: i64,
}

/// How the store took it: from when to when, and with how many others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
    pub(super) batch: usize,
}

impl Traced {
    /// Begins the span of a delivery, if its trace is recorded.
    pub(super) fn begin(tracer: &Tracer, delivery: &Delivery) -> Option<Box<Self>> {
        if !tracer.is_exporting() {
            return None;
        }
        let context = delivery.trace.map_or_else(|| TraceContext::random(true), TraceContext::child);
        let sampled = tracer.samples(delivery.trace.as_ref(), context.trace_id());
        sampled.then(|| {
            Box::new(Self {
                context: context.recorded(sampled),
                parent: delivery.trace,
                routing_key: Arc::clone(&delivery.routing_key),
                tag: delivery.tag,
                bytes: delivery.body.len(),
                live: delivery.live,
                received_ms: delivery.at.unix_ms(),
            })
        })
    }

    /// What is exported once it is known what became of the message.
    pub(super) fn end(
        self,
        place: &Place,
        message: &Arc<Message>,
        effect: &'static str,
        end_ms: i64,
        stored: Option<Stored>,
    ) -> Box<dyn Spans> {
        // What was taken before told its publisher's part then.
        let carries = effect != Outcome::Duplicate.as_str();
        let of = Of::message(message, self.parent.filter(|_| carries));
        Box::new(Taken { traced: self, place: place.clone(), of, effect, end_ms, stored })
    }

    /// In a trace of its own: whoever wrote the message may have written any context into it, which is no
    /// more than a link then.
    pub(super) fn apart(mut self) -> Self {
        self.context = TraceContext::random(true);
        self
    }

    /// The same of a message that was refused, see [`Traced::apart`].
    pub(super) fn refused(self, place: &Place, reason: &'static str, end_ms: i64) -> Box<dyn Spans> {
        Box::new(Unread { traced: self, place: place.clone(), reason, end_ms })
    }

    fn destination(&self, place: &Place) -> Destination {
        Destination {
            system: place.system,
            server: place.server.clone(),
            exchange: Arc::clone(&place.exchange),
            routing_key: Arc::clone(&self.routing_key),
        }
    }

    fn consumer(&self, place: &Place, context: TraceContext, end_ms: i64) -> Span {
        let destination = self.destination(place);
        let name = destination.consumed_from(&place.queue);
        let times = (nanos(self.received_ms), nanos(end_ms));
        let span = Span::new(format!("process {name}"), SpanKind::Consumer, context, times);
        let span = if place.system == RABBITMQ {
            span.with_count(attribute::MESSAGING_RABBITMQ_MESSAGE_DELIVERY_TAG, self.tag)
        } else {
            span
        };
        destination
            .at_server(span)
            .with(attribute::MESSAGING_SYSTEM, place.system)
            .with(attribute::MESSAGING_OPERATION_NAME, "process")
            .with(attribute::MESSAGING_OPERATION_TYPE, "process")
            .with(attribute::MESSAGING_DESTINATION_NAME, &name)
            .with_some(attribute::MESSAGING_RABBITMQ_DESTINATION_ROUTING_KEY, Some(&self.routing_key))
            .with_count(attribute::MESSAGING_MESSAGE_BODY_SIZE, self.bytes as u64)
            .with_flag(key::LIVE, self.live)
    }
}

/// What the spans are of. It waits in a queue that counts spans, so it holds little beside what they need.
enum Of {
    /// The original's message.
    Legacy(PublisherId),
    /// A heartbeat, without components.
    Bare(Heartbeat),
    /// A heartbeat with its publisher's own part, which travelled with it, and the producer's context.
    Carrying(Heartbeat, Box<HeartbeatTrace>, TraceContext),
}

impl Of {
    /// The publisher's own part counts where the message's context says that it belongs there.
    fn message(message: &Message, parent: Option<TraceContext>) -> Self {
        let heartbeat = match message {
            Message::V1(heartbeat) => return Self::Legacy(heartbeat.service.clone()),
            Message::V2(heartbeat) => heartbeat,
        };
        let carried = heartbeat.trace.as_ref().zip(parent);
        match carried.filter(|(trace, parent)| trace.trace_id == parent.trace_id()) {
            None => Self::Bare(heartbeat.bare()),
            Some((trace, parent)) => {
                let named: HashSet<_> = trace.checks.iter().map(|check| &check.key).collect();
                let components =
                    heartbeat.components.iter().filter(|component| named.contains(&component.key));
                let components = components.cloned().collect();
                Self::Carrying(Heartbeat { components, ..heartbeat.bare() }, trace.clone(), parent)
            }
        }
    }
}

/// A message that was taken in.
struct Taken {
    traced: Traced,
    place: Place,
    of: Of,
    effect: &'static str,
    end_ms: i64,
    stored: Option<Stored>,
}

impl Spans for Taken {
    fn count(&self) -> usize {
        let carried = match &self.of {
            Of::Carrying(_, trace, _) => trace.checks.len() + 2,
            Of::Legacy(_) | Of::Bare(_) => 0,
        };
        1 + usize::from(self.stored.is_some()) + carried
    }

    fn write(self: Box<Self>, own: &Origin, out: &mut SpanBatch) {
        let Self { traced, place, of, effect, end_ms, stored } = &*self;
        let mut consumer = traced.consumer(place, traced.context, *end_ms).with(key::EFFECT, effect);
        if let Some(parent) = traced.parent {
            consumer = consumer.within_remote(parent.span_id());
        }
        consumer = match of {
            Of::Bare(heartbeat) | Of::Carrying(heartbeat, ..) => of_heartbeat(consumer, heartbeat)
                .with(attribute::MESSAGING_MESSAGE_ID, &message_id(heartbeat)),
            Of::Legacy(publisher) => consumer.with(key::PUBLISHER, publisher.as_str()),
        };
        let store = stored.map(|stored| {
            let context = traced.context.child();
            let times = (nanos(stored.from_ms), nanos(stored.to_ms));
            let span = Span::new(format!("store {}", place.store), SpanKind::Client, context, times)
                .within(traced.context.span_id())
                .with(attribute::DB_SYSTEM_NAME, place.store)
                .with(attribute::DB_OPERATION_NAME, "store");
            // The conventions have it for batches alone.
            if stored.batch > 1 {
                span.with_count(attribute::DB_OPERATION_BATCH_SIZE, stored.batch as u64)
            } else {
                span
            }
        });
        out.push(own, std::iter::once(consumer).chain(store));
        if let Of::Carrying(heartbeat, trace, parent) = of {
            // Which broker the publisher speaks to, only it knows.
            let destination = Destination { server: None, ..traced.destination(place) };
            let context = parent.recorded(true);
            let sending = Sending { end: None, failure: None };
            let spans = publisher_spans(heartbeat, trace, context, &destination, sending);
            out.push(&origin_of(heartbeat, &place.instance), spans);
        }
    }
}

/// A message that was refused.
struct Unread {
    traced: Traced,
    place: Place,
    reason: &'static str,
    end_ms: i64,
}

impl Spans for Unread {
    fn count(&self) -> usize {
        1
    }

    fn write(self: Box<Self>, own: &Origin, out: &mut SpanBatch) {
        let Self { traced, place, reason, end_ms } = &*self;
        // Whoever may publish chooses the routing key, and a name is one of a few.
        let span = traced.consumer(place, traced.context, *end_ms).named(format!("process {}", place.queue));
        let mut span = span.with(key::EFFECT, "rejected").failed(reason);
        if let Some(parent) = traced.parent {
            span = span.linked_to(parent);
        }
        out.push(own, [span]);
    }
}
