//! A span: some work, from when to when, within a trace.

use opentelemetry::trace::SpanId;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span as ProtoSpan, Status, span, status,
};

use crate::exposition::otlp::Origin;
use crate::exposition::otlp::origin::{key_value, text};
use crate::trace::TraceContext;

/// Spans that wait to be exported as what they were made of: making them is left to the export.
pub trait Spans: Send {
    /// How many there are.
    fn count(&self) -> usize;

    /// Appends them, those of this process under `own`.
    fn write(self: Box<Self>, own: &Origin, out: &mut SpanBatch);
}

/// Spans of one request, by whose they are.
#[derive(Debug, Default)]
pub struct SpanBatch(Vec<ResourceSpans>);

impl SpanBatch {
    /// Appends spans under the resource and scope of an origin, beside those that are there already.
    pub fn push(&mut self, origin: &Origin, spans: impl IntoIterator<Item = Span>) {
        let spans = spans.into_iter().map(Span::into_proto);
        let same = |of_resource: &&mut ResourceSpans| of_resource.resource.as_ref() == Some(&origin.resource);
        // Most are of this process, whose resource stands first or second.
        if let Some(held) = self.0.iter_mut().take(2).find(same).and_then(|held| held.scope_spans.first_mut())
        {
            held.spans.extend(spans);
            return;
        }
        let scope = Some(origin.scope.clone());
        let of_scope = ScopeSpans { scope, spans: spans.collect(), ..ScopeSpans::default() };
        self.0.push(ResourceSpans {
            resource: Some(origin.resource.clone()),
            scope_spans: vec![of_scope],
            ..ResourceSpans::default()
        });
    }

    pub(super) fn into_proto(self) -> Vec<ResourceSpans> {
        self.0
    }
}

/// What sort of work a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Within a process.
    Internal,
    /// A request to somebody else.
    Client,
    /// A message that is sent.
    Producer,
    /// A message that is taken.
    Consumer,
}

/// Flag of a span whose parent is known to be of this or of another process (`trace.proto`).
const HAS_IS_REMOTE: u32 = 0x100;
/// Its parent is of another process.
const IS_REMOTE: u32 = 0x200;

/// One span, being put together.
#[derive(Clone, Debug, PartialEq)]
pub struct Span(ProtoSpan);

impl Span {
    /// The span that `context` names, from `start` to `end` in nanoseconds since the Unix epoch.
    pub fn new(name: String, kind: SpanKind, context: TraceContext, (start, end): (u64, u64)) -> Self {
        let kind = match kind {
            SpanKind::Internal => span::SpanKind::Internal,
            SpanKind::Client => span::SpanKind::Client,
            SpanKind::Producer => span::SpanKind::Producer,
            SpanKind::Consumer => span::SpanKind::Consumer,
        };
        Self(ProtoSpan {
            trace_id: context.trace_id().to_bytes().to_vec(),
            span_id: context.span_id().to_bytes().to_vec(),
            name,
            kind: kind.into(),
            start_time_unix_nano: start,
            // Clocks are stepped; work never takes less than no time.
            end_time_unix_nano: end.max(start),
            flags: u32::from(context.sampled) | HAS_IS_REMOTE,
            ..ProtoSpan::default()
        })
    }

    /// Under another name.
    #[must_use]
    pub fn named(mut self, name: String) -> Self {
        self.0.name = name;
        self
    }

    /// Within this span of the same process.
    #[must_use]
    pub fn within(mut self, parent: SpanId) -> Self {
        self.0.parent_span_id = parent.to_bytes().to_vec();
        self
    }

    /// Within this span of another process.
    #[must_use]
    pub fn within_remote(mut self, parent: SpanId) -> Self {
        self.0.flags |= IS_REMOTE;
        self.within(parent)
    }

    /// Beside another trace, whose word on who its parent is is not taken.
    #[must_use]
    pub fn linked_to(mut self, other: TraceContext) -> Self {
        self.0.links.push(span::Link {
            trace_id: other.trace_id().to_bytes().to_vec(),
            span_id: other.span_id().to_bytes().to_vec(),
            flags: u32::from(other.sampled) | HAS_IS_REMOTE | IS_REMOTE,
            ..span::Link::default()
        });
        self
    }

    /// Adds text.
    #[must_use]
    pub fn with(self, key: &'static str, value: &str) -> Self {
        self.with_value(key, text(value))
    }

    /// Adds text, where there is some.
    #[must_use]
    pub fn with_some(self, key: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) if !value.is_empty() => self.with(key, value),
            _ => self,
        }
    }

    /// Adds a yes or no.
    #[must_use]
    pub fn with_flag(self, key: &'static str, value: bool) -> Self {
        self.with_value(key, any_value::Value::BoolValue(value))
    }

    /// Adds a whole number.
    #[must_use]
    pub fn with_count(self, key: &'static str, value: u64) -> Self {
        self.with_value(key, any_value::Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
    }

    fn with_value(mut self, key: &'static str, value: any_value::Value) -> Self {
        self.0.attributes.push(key_value(key, value));
        self
    }

    /// It failed, for a reason of a fixed set.
    #[must_use]
    pub fn failed(mut self, reason: &str) -> Self {
        let code = status::StatusCode::Error.into();
        self.0.status = Some(Status { code, message: reason.to_owned() });
        self.with(opentelemetry_semantic_conventions::attribute::ERROR_TYPE, reason)
    }

    fn into_proto(self) -> ProtoSpan {
        self.0
    }
}
