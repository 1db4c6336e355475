//! Messages to send, for the tests of the receiver itself.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, exemplar, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

/// One span.
pub fn some_traces() -> ExportTraceServiceRequest {
    let span = Span {
        name: "a span".to_owned(),
        trace_id: vec![0xab; 16],
        span_id: vec![0xcd; 8],
        ..Span::default()
    };
    let scope = ScopeSpans { spans: vec![span], ..ScopeSpans::default() };
    let spans = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![spans] }
}

/// One log record.
pub fn some_logs() -> ExportLogsServiceRequest {
    let record = LogRecord { severity_text: "INFO".to_owned(), ..LogRecord::default() };
    let scope = ScopeLogs { log_records: vec![record], ..ScopeLogs::default() };
    let logs = ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![logs] }
}

/// A sum, a gauge with a value and one without, a histogram.
pub fn some_metrics() -> ExportMetricsServiceRequest {
    let metric = |name: &str, data| Metric {
        name: name.to_owned(),
        unit: "1".to_owned(),
        description: format!("about {name}"),
        data: Some(data),
        ..Metric::default()
    };
    let sum = NumberDataPoint {
        attributes: vec![
            attribute("publisher", any_value::Value::StringValue("p".to_owned())),
            attribute("n", any_value::Value::IntValue(7)),
        ],
        start_time_unix_nano: 10,
        time_unix_nano: 20,
        value: Some(number_data_point::Value::AsInt(5)),
        ..NumberDataPoint::default()
    };
    let here = NumberDataPoint {
        value: Some(number_data_point::Value::AsDouble(0.5)),
        ..NumberDataPoint::default()
    };
    let gone = NumberDataPoint { flags: 1, ..NumberDataPoint::default() };
    let exemplar = Exemplar {
        trace_id: vec![0xab; 16],
        span_id: vec![0xcd; 8],
        value: Some(exemplar::Value::AsDouble(0.7)),
        ..Exemplar::default()
    };
    let observed = HistogramDataPoint {
        count: 3,
        sum: Some(1.5),
        explicit_bounds: vec![0.5],
        bucket_counts: vec![1, 2],
        exemplars: vec![exemplar],
        ..HistogramDataPoint::default()
    };
    let cumulative = AggregationTemporality::Cumulative.into();
    request_of(vec![
        metric(
            "sum",
            metric::Data::Sum(Sum {
                data_points: vec![sum],
                aggregation_temporality: cumulative,
                is_monotonic: true,
            }),
        ),
        metric("gauge", metric::Data::Gauge(Gauge { data_points: vec![here, gone] })),
        metric(
            "histogram",
            metric::Data::Histogram(Histogram {
                data_points: vec![observed],
                aggregation_temporality: cumulative,
            }),
        ),
    ])
}

/// A request of exactly this encoded size.
pub fn sized(bytes: usize) -> ExportMetricsServiceRequest {
    let with =
        |length: usize| request_of(vec![Metric { description: "x".repeat(length), ..Metric::default() }]);
    // Lengths before and around the text take the same room for all texts of about this size.
    let around = with(bytes / 2).encoded_len() - bytes / 2;
    with(bytes - around)
}

/// A request of one resource and one scope.
pub fn request_of(metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let name = attribute("service.name", any_value::Value::StringValue("test".to_owned()));
    let resource = Resource { attributes: vec![name], ..Resource::default() };
    let scope = InstrumentationScope { name: "a scope".to_owned(), ..InstrumentationScope::default() };
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }];
    let of_resource =
        ResourceMetrics { resource: Some(resource), scope_metrics, ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![of_resource] }
}

/// An attribute.
pub fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
