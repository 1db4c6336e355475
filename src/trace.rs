//! The context of a trace, as it travels with a message: W3C's `traceparent`.

use std::fmt;

use opentelemetry::trace::{SpanId, TraceId};

/// Name of the AMQP header that carries it.
pub const TRACEPARENT: &str = "traceparent";

/// Which trace, which span of it, and whether anybody records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    // As bytes, for one goes with every message, and numbers of this size would take twice the room.
    trace_id: [u8; 16],
    span_id: [u8; 8],
    /// Whether it is recorded.
    pub sampled: bool,
}

impl TraceContext {
    /// A span of a trace.
    pub fn new(trace_id: TraceId, span_id: SpanId, sampled: bool) -> Self {
        Self { trace_id: trace_id.to_bytes(), span_id: span_id.to_bytes(), sampled }
    }

    /// A trace that begins here.
    pub fn random(sampled: bool) -> Self {
        Self::new(TraceId::from(rand::random_range(1..=u128::MAX)), span_id(), sampled)
    }

    /// The trace.
    pub fn trace_id(&self) -> TraceId {
        TraceId::from_bytes(self.trace_id)
    }

    /// The span that whatever comes next is a child of.
    pub fn span_id(&self) -> SpanId {
        SpanId::from_bytes(self.span_id)
    }

    /// The same trace, in this span.
    pub fn in_span(self, span_id: SpanId) -> Self {
        Self { span_id: span_id.to_bytes(), ..self }
    }

    /// The same, recorded or not.
    pub fn recorded(self, sampled: bool) -> Self {
        Self { sampled, ..self }
    }

    /// The same trace, in a span of its own.
    pub fn child(self) -> Self {
        self.in_span(span_id())
    }

    /// Reads `traceparent` (W3C Trace Context, section 3.2.2); `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace_id, span_id, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        // Version 0 has these four parts; later ones may add some, and never use ff.
        if (version == "00" && parts.next().is_some()) || version == "ff" {
            return None;
        }
        let hex = |text: &str, length| {
            text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        if !(hex(version, 2) && hex(trace_id, 32) && hex(span_id, 16) && hex(flags, 2)) {
            return None;
        }
        let trace_id = TraceId::from_hex(trace_id).ok().filter(|id| *id != TraceId::INVALID)?;
        let span_id = SpanId::from_hex(span_id).ok().filter(|id| *id != SpanId::INVALID)?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Some(Self::new(trace_id, span_id, flags & 1 == 1))
    }
}

/// A random one: never all zeroes, which would stand for none.
pub fn span_id() -> SpanId {
    SpanId::from(rand::random_range(1..=u64::MAX))
}

/// As `traceparent` is written.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace_id(), self.span_id(), u8::from(self.sampled))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_context_is_read_as_it_is_written() {
        for sampled in [true, false] {
            let context = TraceContext::random(sampled);
            assert_eq!(TraceContext::parse(&context.to_string()), Some(context));
            assert_eq!(context.child().trace_id, context.trace_id);
            assert_ne!(context.child().span_id, context.span_id);
        }
        assert_eq!(TraceContext::parse(GOOD).unwrap().to_string(), GOOD);
    }

    #[test]
    fn later_versions_are_read_as_far_as_they_are_known() {
        let later = GOOD.replacen("00", "01", 1) + "-and-more";
        assert_eq!(TraceContext::parse(&later), TraceContext::parse(GOOD));
        let flags = GOOD.replace("-01", "-ff");
        assert!(TraceContext::parse(&flags).unwrap().sampled);
        assert!(!TraceContext::parse(&GOOD.replace("-01", "-fe")).unwrap().sampled);
    }

    #[test]
    fn what_is_none_is_none() {
        let zero_trace = format!("00-{:032x}-00f067aa0ba902b7-01", 0);
        let zero_span = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{:016x}-01", 0);
        let upper = GOOD.to_uppercase();
        let longer = format!("{GOOD}-x");
        let last_version = GOOD.replacen("00", "ff", 1);
        let odd = [
            "",
            "-",
            "---",
            "00",
            &GOOD[..54],
            &zero_trace,
            &zero_span,
            &upper,
            &longer,
            &last_version,
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ];
        for text in odd {
            assert_eq!(TraceContext::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "\\PC{0,80}") {
            let _ = TraceContext::parse(&text);
        }
    }
}
