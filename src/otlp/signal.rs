//! The three kinds of telemetry, and what differs between them on the wire.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message;

/// One kind of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Signal {
    /// Spans.
    Traces,
    /// Points of metrics.
    Metrics,
    /// Log records.
    Logs,
}

impl Signal {
    /// The label value.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    /// The path of the gRPC method.
    pub(super) fn grpc_path(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        }
    }

    /// An encoded request as two, each with half of the items; `None` where there is but one.
    pub(super) fn halves(self, request: &Request) -> Option<[Request; 2]> {
        match self {
            Self::Traces => halves::<ExportTraceServiceRequest>(request),
            Self::Metrics => halves::<ExportMetricsServiceRequest>(request),
            Self::Logs => halves::<ExportLogsServiceRequest>(request),
        }
    }
}

/// One request, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// The encoded `Export…ServiceRequest`.
    pub(super) body: bytes::Bytes,
    /// Spans, points or records in it.
    pub(super) items: u64,
}

/// A request whose items can be thinned out.
trait Items: Message + Default + Clone {
    /// Keeps the items for which `keep` holds, asked in their order, and what holds some of them.
    fn retain(&mut self, keep: &mut dyn FnMut() -> bool);
}

impl Items for ExportTraceServiceRequest {
    fn retain(&mut self, keep: &mut dyn FnMut() -> bool) {
        self.resource_spans.retain_mut(|of_resource| {
            of_resource.scope_spans.retain_mut(|of_scope| {
                of_scope.spans.retain(|_| keep());
                !of_scope.spans.is_empty()
            });
            !of_resource.scope_spans.is_empty()
        });
    }
}

impl Items for ExportLogsServiceRequest {
    fn retain(&mut self, keep: &mut dyn FnMut() -> bool) {
        self.resource_logs.retain_mut(|of_resource| {
            of_resource.scope_logs.retain_mut(|of_scope| {
                of_scope.log_records.retain(|_| keep());
                !of_scope.log_records.is_empty()
            });
            !of_resource.scope_logs.is_empty()
        });
    }
}

impl Items for ExportMetricsServiceRequest {
    fn retain(&mut self, keep: &mut dyn FnMut() -> bool) {
        fn thin<T>(points: &mut Vec<T>, keep: &mut dyn FnMut() -> bool) -> bool {
            points.retain(|_| keep());
            !points.is_empty()
        }
        self.resource_metrics.retain_mut(|of_resource| {
            of_resource.scope_metrics.retain_mut(|of_scope| {
                of_scope.metrics.retain_mut(|metric| match &mut metric.data {
                    Some(Data::Gauge(gauge)) => thin(&mut gauge.data_points, keep),
                    Some(Data::Sum(sum)) => thin(&mut sum.data_points, keep),
                    Some(Data::Histogram(histogram)) => thin(&mut histogram.data_points, keep),
                    Some(Data::ExponentialHistogram(histogram)) => thin(&mut histogram.data_points, keep),
                    Some(Data::Summary(summary)) => thin(&mut summary.data_points, keep),
                    None => false,
                });
                !of_scope.metrics.is_empty()
            });
            !of_resource.scope_metrics.is_empty()
        });
    }
}

fn halves<T: Items>(request: &Request) -> Option<[Request; 2]> {
    let whole = T::decode(&*request.body).ok()?;
    let half = request.items / 2;
    if half == 0 {
        return None;
    }
    let part = |first: bool| {
        let (mut part, mut seen, mut kept) = (whole.clone(), 0, 0);
        part.retain(&mut || {
            seen += 1;
            let keeps = (seen <= half) == first;
            kept += u64::from(keeps);
            keeps
        });
        Request { body: part.encode_to_vec().into(), items: kept }
    };
    Some([part(true), part(false)])
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
    use opentelemetry_proto::tonic::metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
    };
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

    use super::*;

    fn request(message: &impl Message, items: u64) -> Request {
        Request { body: message.encode_to_vec().into(), items }
    }

    /// Halves a request down to its single items, and returns what each holds.
    fn split(signal: Signal, request: &Request) -> Vec<Request> {
        match signal.halves(request) {
            None => vec![request.clone()],
            Some(halves) => halves.iter().flat_map(|half| split(signal, half)).collect(),
        }
    }

    #[test]
    fn traces_and_logs_are_halved_down_to_single_items() {
        let span = |name: u8| Span { name: name.to_string(), ..Span::default() };
        let of_scope = |names: std::ops::Range<u8>| ScopeSpans {
            spans: names.map(span).collect(),
            ..ScopeSpans::default()
        };
        let of_resource =
            |names| ResourceSpans { scope_spans: vec![of_scope(names)], ..ResourceSpans::default() };
        let traces = ExportTraceServiceRequest { resource_spans: vec![of_resource(0..2), of_resource(2..5)] };
        let parts = split(Signal::Traces, &request(&traces, 5));
        let names = parts.iter().map(|part| {
            let traces = ExportTraceServiceRequest::decode(&*part.body).unwrap();
            assert_eq!(traces.resource_spans.len(), 1, "what is empty is left out");
            traces.resource_spans[0].scope_spans[0].spans[0].name.clone()
        });
        assert_eq!(names.collect::<Vec<_>>(), ["0", "1", "2", "3", "4"]);

        let record = |name: u8| LogRecord { event_name: name.to_string(), ..LogRecord::default() };
        let of_scope = ScopeLogs { log_records: (0..3).map(record).collect(), ..ScopeLogs::default() };
        let of_resource = ResourceLogs { scope_logs: vec![of_scope], ..ResourceLogs::default() };
        let logs = ExportLogsServiceRequest { resource_logs: vec![of_resource] };
        assert_eq!(split(Signal::Logs, &request(&logs, 3)).len(), 3);
    }

    #[test]
    fn metrics_are_halved_point_by_point() {
        let point = |value| NumberDataPoint { time_unix_nano: value, ..NumberDataPoint::default() };
        let metric = |name: &str, points: std::ops::Range<u64>| Metric {
            name: name.into(),
            data: Some(Data::Gauge(Gauge { data_points: points.map(point).collect() })),
            ..Metric::default()
        };
        let scope =
            ScopeMetrics { metrics: vec![metric("a", 0..3), metric("b", 3..4)], ..ScopeMetrics::default() };
        let of_resource = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
        let metrics = ExportMetricsServiceRequest { resource_metrics: vec![of_resource] };
        let halves = Signal::Metrics.halves(&request(&metrics, 4)).unwrap();
        assert_eq!(halves.each_ref().map(|half| half.items), [2, 2]);
        let second = ExportMetricsServiceRequest::decode(&*halves[1].body).unwrap();
        let names = second.resource_metrics[0].scope_metrics[0].metrics.iter().map(|metric| &metric.name);
        assert_eq!(names.collect::<Vec<_>>(), ["a", "b"]);
    }
}
