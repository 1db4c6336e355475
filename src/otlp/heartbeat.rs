//! The trace of one heartbeat, by the semantic conventions for messaging with RabbitMQ:
//!
//! ```text
//! heartbeat                              the round, the root: publisher
//! ├── check host | consumer | queue      one for each check made since the heartbeat before
//! └── send exchange:key                  producer
//!     └── process exchange:key:queue     consumer: subscriber
//!         └── store redis
//! ```

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use opentelemetry_semantic_conventions::attribute;

use super::span::{Span, SpanKind};
use crate::build_info::NAME;
use crate::exposition::otlp::Origin;
use crate::heartbeat::{CheckSpan, Component, Heartbeat, HeartbeatTrace, Outcome};
use crate::trace::TraceContext;

/// Attributes of our own, on spans and log records alike.
pub mod key {
    /// The publisher's id.
    pub const PUBLISHER: &str = "heartbeat.publisher";
    /// The life of the publisher's process.
    pub const EPOCH: &str = "heartbeat.epoch";
    /// The heartbeat's number within it.
    pub const SEQUENCE: &str = "heartbeat.sequence";
    /// What sort of thing a component is.
    pub const KIND: &str = "heartbeat.component.kind";
    /// Its name.
    pub const NAME: &str = "heartbeat.component.name";
    /// The queue of a consumer.
    pub const QUEUE: &str = "heartbeat.component.queue";
    /// Up, down or unknown.
    pub const OUTCOME: &str = "heartbeat.component.outcome";
    /// Why it is not up.
    pub const REASON: &str = "heartbeat.component.reason";
    /// Components found up, down and unknown.
    pub const UP: &str = "heartbeat.components.up";
    /// See [`UP`].
    pub const DOWN: &str = "heartbeat.components.down";
    /// See [`UP`].
    pub const UNKNOWN: &str = "heartbeat.components.unknown";
    /// Checks that have no span, for want of room in the message.
    pub const LEFT_OUT: &str = "heartbeat.checks.left_out";
    /// Who exports spans that travelled with a heartbeat.
    pub const EXPORTED_BY: &str = "heartbeat.exported_by";
    /// What a message did to the state.
    pub const EFFECT: &str = "heartbeat.effect";
    /// Whether a delivery came straight from its publisher.
    pub const LIVE: &str = "heartbeat.live";
}

/// `messaging.system` where there is a broker.
pub const RABBITMQ: &str = "rabbitmq";

/// `messaging.system` where publisher and subscriber are one process.
pub const IN_PROCESS: &str = "in_process";

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// [`RABBITMQ`] or [`IN_PROCESS`].
    pub system: &'static str,
    /// Name and port of the broker, as far as it is known.
    pub server: Option<(Arc<str>, u16)>,
    /// The exchange.
    pub exchange: Arc<str>,
    /// The routing key.
    pub routing_key: Arc<str>,
}

impl Destination {
    /// `messaging.destination.name` of a producer: what is empty is left out.
    pub fn name(&self) -> String {
        joined(&[&self.exchange, &self.routing_key])
    }

    /// The same of a consumer of `queue`, which is left out where it is called as the key.
    pub fn consumed_from(&self, queue: &str) -> String {
        let queue = if queue == &*self.routing_key { "" } else { queue };
        joined(&[&self.exchange, &self.routing_key, queue])
    }
}

impl Destination {
    /// Says where the broker is.
    pub fn at_server(&self, span: Span) -> Span {
        match &self.server {
            Some((host, port)) => {
                span.with(attribute::SERVER_ADDRESS, host).with_count(attribute::SERVER_PORT, (*port).into())
            }
            None => span,
        }
    }
}

fn joined(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "amq.default".to_owned() } else { parts.join(":") }
}

/// How a heartbeat was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending {
    /// When it was over, in nanoseconds since the Unix epoch; `None` where the publisher could not know yet.
    pub end: Option<u64>,
    /// Why it was not confirmed.
    pub failure: Option<&'static str>,
}

/// The publisher's spans: the round, its checks, and the producer, which is the span of `context`.
pub fn publisher_spans(
    heartbeat: &Heartbeat,
    trace: &HeartbeatTrace,
    context: TraceContext,
    destination: &Destination,
    sending: Sending,
) -> Vec<Span> {
    let round = context.in_span(trace.round);
    let sent_at = heartbeat.sent_at.unix_nanos();
    let end = sending.end.unwrap_or(sent_at);
    let mut began = trace.began_at.unix_nanos().min(sent_at);
    let mut spans = Vec::with_capacity(trace.checks.len() + 2);
    let components: HashMap<_, _> =
        heartbeat.components.iter().map(|component| (&component.key, component)).collect();
    for check in &trace.checks {
        if let Some(component) = components.get(&check.key) {
            let (start, span) = check_span(component, check, round);
            // Times are told in whole milliseconds, durations exactly.
            began = began.min(start);
            spans.push(span);
        }
    }
    spans.push(producer(heartbeat, context, destination, sending, (sent_at, end)).within(trace.round));
    let count = |outcome| heartbeat.components.iter().filter(|c| c.outcome == outcome).count() as u64;
    let root = Span::new(NAME.to_owned(), SpanKind::Internal, round, (began, end));
    let root = of_heartbeat(root, heartbeat)
        .with_count(key::UP, count(Outcome::Up))
        .with_count(key::DOWN, count(Outcome::Down))
        .with_count(key::UNKNOWN, count(Outcome::Unknown));
    let root = if trace.left_out > 0 { root.with_count(key::LEFT_OUT, trace.left_out) } else { root };
    spans.push(root);
    spans
}

/// Says which heartbeat a span is of.
pub fn of_heartbeat(span: Span, heartbeat: &Heartbeat) -> Span {
    span.with(key::PUBLISHER, heartbeat.publisher.as_str())
        .with(key::EPOCH, heartbeat.epoch.as_str())
        .with_count(key::SEQUENCE, heartbeat.sequence)
}

fn producer(
    heartbeat: &Heartbeat,
    context: TraceContext,
    destination: &Destination,
    sending: Sending,
    times: (u64, u64),
) -> Span {
    let name = destination.name();
    let span = Span::new(format!("send {name}"), SpanKind::Producer, context, times)
        .with(attribute::MESSAGING_SYSTEM, destination.system)
        .with(attribute::MESSAGING_OPERATION_NAME, "send")
        .with(attribute::MESSAGING_OPERATION_TYPE, "send")
        .with(attribute::MESSAGING_DESTINATION_NAME, &name)
        .with_some(attribute::MESSAGING_RABBITMQ_DESTINATION_ROUTING_KEY, Some(&destination.routing_key))
        .with(attribute::MESSAGING_MESSAGE_ID, &message_id(heartbeat));
    let span = destination.at_server(span);
    match sending.failure {
        Some(failure) => span.failed(failure),
        None => span,
    }
}

/// `message_id` of a heartbeat.
pub fn message_id(heartbeat: &Heartbeat) -> String {
    format!("{}-{}", heartbeat.epoch, heartbeat.sequence)
}

/// Longest check that is believed, in seconds: longer than any deadline that can be set.
const CHECK_SECONDS_MAX: f64 = 3600.0;

/// The span of one check, and when it began.
fn check_span(component: &Component, check: &CheckSpan, round: TraceContext) -> (u64, Span) {
    let end = component.checked_at.unix_nanos();
    let took = component.duration_seconds.unwrap_or_default().clamp(0.0, CHECK_SECONDS_MAX);
    let took = (took * 1e9) as u64;
    let start = end.saturating_sub(took);
    let key = &component.key;
    let context = round.in_span(check.span);
    let (outcome, reason) = check.found.unwrap_or((component.outcome, component.reason));
    let reason = reason.filter(|_| outcome != Outcome::Up);
    let span = Span::new(format!("check {}", key.kind), SpanKind::Client, context, (start, end))
        .within(round.span_id())
        .with(key::KIND, key.kind.as_str())
        .with(key::NAME, &key.name)
        .with_some(key::QUEUE, Some(&key.queue))
        .with(key::OUTCOME, outcome.as_str())
        .with_some(key::REASON, reason.map(|reason| reason.as_str()));
    let span = at_target(span, component.target.as_deref());
    let span = match check.peer.as_deref().and_then(|peer| peer.parse::<SocketAddr>().ok()) {
        Some(peer) => span
            .with(attribute::NETWORK_PEER_ADDRESS, &peer.ip().to_string())
            .with_count(attribute::NETWORK_PEER_PORT, peer.port().into()),
        None => span,
    };
    let span =
        if outcome == Outcome::Up { span } else { span.failed(reason.map_or("other", |r| r.as_str())) };
    (start, span)
}

/// What was to be reached, as it is configured; several endpoints of one name are told as they are.
fn at_target(span: Span, target: Option<&str>) -> Span {
    let Some(target) = target else { return span };
    match target.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
        Some((host, Ok(port))) if !target.contains(' ') => {
            let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            span.with(attribute::SERVER_ADDRESS, host).with_count(attribute::SERVER_PORT, port.into())
        }
        _ => span.with(attribute::SERVER_ADDRESS, target),
    }
}

/// In whose name carried spans are exported. Everything in it is what the message says of its publisher, or
/// what the subscriber says of itself: a publisher chooses no attribute of a resource.
pub fn origin_of(heartbeat: &Heartbeat, exported_by: &str) -> Origin {
    use opentelemetry_semantic_conventions::resource;
    let attributes = [
        (resource::SERVICE_NAME, PUBLISHER_SERVICE),
        (resource::SERVICE_INSTANCE_ID, heartbeat.publisher.as_str()),
        (resource::SERVICE_VERSION, &*heartbeat.version),
        (key::EXPORTED_BY, exported_by),
    ];
    Origin::new(attributes.map(|(key, value)| (key.to_owned(), value.to_owned())))
}

/// `service.name` of publishers.
pub const PUBLISHER_SERVICE: &str = "heartbeat-publisher";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_named_as_the_conventions_say() {
        let named = |exchange: &str, key: &str, queue: &str| {
            let destination = Destination {
                system: RABBITMQ,
                server: None,
                exchange: exchange.into(),
                routing_key: key.into(),
            };
            (destination.name(), destination.consumed_from(queue))
        };
        assert_eq!(named("sda", "beat", "inbox"), ("sda:beat".into(), "sda:beat:inbox".into()));
        assert_eq!(named("sda", "beat", "beat"), ("sda:beat".into(), "sda:beat".into()));
        assert_eq!(named("", "", ""), ("amq.default".into(), "amq.default".into()));
        assert_eq!(named("", "inbox", "inbox"), ("inbox".into(), "inbox".into()));
    }
}
