//! The program's own log as records, by OpenTelemetry's bridge from `tracing`.
//!
//! It never hears of its own export: what this module and the crates below it say stays on stderr, and so
//! does what has a record of its own already.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::InstrumentationScope;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord, SdkLoggerProvider};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use super::queue::Queue;
use crate::exposition::otlp::origin::{key_value, text};

/// Target of events that have a record of their own.
pub const TOLD_TARGET: &str = "heartbeat_bridge::told";

/// Characters of a message that are exported.
const MESSAGE_BYTES_MAX: usize = 4096;

/// Puts each record into the queue.
#[derive(Debug)]
struct ToQueue(Arc<Queue<LogRecord>>);

impl LogProcessor for ToQueue {
    fn emit(&self, record: &mut SdkLogRecord, _: &InstrumentationScope) {
        let target = record.target().map(|target| key_value("target", text(target.to_string())));
        let mut record = LogRecord::from(&*record);
        // The bridge tells when an event was observed, which is when it happened.
        record.time_unix_nano = record.observed_time_unix_nano;
        record.attributes.extend(target);
        cut(&mut record);
        // Where an event has no name of its own, the bridge makes one up of a place in the source.
        if record.event_name.starts_with("event ") {
            record.event_name.clear();
        }
        self.0.push(1, record);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Bounds what one record may weigh.
fn cut(record: &mut LogRecord) {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let attributes = record.attributes.iter_mut().filter_map(|attribute| attribute.value.as_mut());
    for value in attributes.chain(record.body.as_mut()) {
        if let Some(Value::StringValue(text)) = &mut value.value
            && text.len() > MESSAGE_BYTES_MAX
        {
            let end = (0..=MESSAGE_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            text.truncate(end);
        }
    }
}

/// The layer that exports what the program logs at `level` and above.
pub(super) fn layer<S>(queue: Arc<Queue<LogRecord>>, level: LevelFilter) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let provider = SdkLoggerProvider::builder().with_log_processor(ToQueue(queue)).build();
    // By name, so that nobody else is heard: not what the export itself is made of.
    let targets = Targets::new()
        .with_target("heartbeat", level)
        .with_target("heartbeat_bridge", level)
        .with_target("heartbeat_bridge::otlp", LevelFilter::OFF)
        .with_target(TOLD_TARGET, LevelFilter::OFF);
    OpenTelemetryTracingBridge::new(&provider).with_filter(targets)
}
