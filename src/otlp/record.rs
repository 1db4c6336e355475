//! A log record: something that happened, by a name of its own, with what belongs to it.

use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};

use crate::exposition::otlp::origin::{key_value, text};
use crate::heartbeat::Timestamp;
use crate::trace::TraceContext;

/// How much an event matters to whoever reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It is as it should be.
    Info,
    /// It should be looked at.
    Warn,
    /// Something does not work.
    Error,
}

/// One event, being put together.
#[derive(Clone, Debug, PartialEq)]
pub struct Record(LogRecord);

impl Record {
    /// An event that happened at `at_ms` and was noticed at `noticed_ms`, in milliseconds since the Unix
    /// epoch. `name` is one of a fixed set; `body` is a sentence for people.
    pub fn new(name: &'static str, severity: Severity, body: String, at_ms: i64, noticed_ms: i64) -> Self {
        let (number, word) = match severity {
            Severity::Info => (SeverityNumber::Info, "INFO"),
            Severity::Warn => (SeverityNumber::Warn, "WARN"),
            Severity::Error => (SeverityNumber::Error, "ERROR"),
        };
        Self(LogRecord {
            time_unix_nano: nanos(at_ms),
            observed_time_unix_nano: nanos(noticed_ms),
            severity_number: number.into(),
            severity_text: word.into(),
            body: Some(AnyValue { value: Some(text(body)) }),
            event_name: name.into(),
            ..LogRecord::default()
        })
    }

    /// Adds text.
    #[must_use]
    pub fn with(self, key: &'static str, value: &str) -> Self {
        self.with_value(key, text(value))
    }

    /// Adds a whole number.
    #[must_use]
    pub fn with_count(self, key: &'static str, value: u64) -> Self {
        self.with_value(key, any_value::Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
    }

    /// Adds a number.
    #[must_use]
    pub fn with_number(self, key: &'static str, value: f64) -> Self {
        self.with_value(key, any_value::Value::DoubleValue(value))
    }

    fn with_value(mut self, key: &'static str, value: any_value::Value) -> Self {
        self.0.attributes.push(key_value(key, value));
        self
    }

    /// Ties it to the span in which it was noticed.
    #[must_use]
    pub fn in_trace(mut self, context: Option<TraceContext>) -> Self {
        if let Some(context) = context {
            self.0.trace_id = context.trace_id().to_bytes().to_vec();
            self.0.span_id = context.span_id().to_bytes().to_vec();
            self.0.flags = u32::from(context.sampled);
        }
        self
    }

    pub(super) fn into_proto(self) -> LogRecord {
        self.0
    }
}

/// Nanoseconds since the Unix epoch; what was before it is at it.
pub fn nanos(ms: i64) -> u64 {
    Timestamp::from_unix_ms(ms).unix_nanos()
}
