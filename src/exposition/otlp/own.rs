//! The program's own metrics, off the registry that `/metrics` shows, so that both tell the same.

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, exemplar, metric, number_data_point,
};
use prometheus_client::encoding::text::encode_registry;
use prost::Message;

use super::chunk::Chunk;
use super::name;
use super::origin::{Origin, key_value, text};
use crate::exposition::Registry;
use crate::exposition::open_metrics::{self, Family, Labels, Sample};

/// One request with every metric of the registry. Its counters began at `start`, and are read at `time`,
/// both in nanoseconds since the Unix epoch.
pub fn own_metrics(registry: &Registry, origin: &Origin, start: u64, time: u64) -> Chunk {
    let mut text = String::new();
    if encode_registry(&mut text, registry).is_err() {
        tracing::error!("Own metrics left out of an export: a collector failed");
        text.clear();
    }
    // A clock that was set back meanwhile must not end before it began.
    let span = Span { start: start.min(time), time };
    let metrics: Vec<Metric> =
        open_metrics::read(&text).iter().filter_map(|family| span.metric(family)).collect();
    let points = metrics.iter().map(points_of).sum();
    let scope = ScopeMetrics { scope: Some(origin.scope.clone()), metrics, ..ScopeMetrics::default() };
    let of_resource = ResourceMetrics {
        resource: Some(origin.resource.clone()),
        scope_metrics: vec![scope],
        ..ResourceMetrics::default()
    };
    let request = ExportMetricsServiceRequest { resource_metrics: vec![of_resource] };
    Chunk { body: request.encode_to_vec(), points }
}

fn points_of(metric: &Metric) -> u64 {
    let points = match &metric.data {
        Some(metric::Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(metric::Data::Sum(sum)) => sum.data_points.len(),
        Some(metric::Data::Histogram(histogram)) => histogram.data_points.len(),
        _ => 0,
    };
    points as u64
}

/// From when to when counters counted.
#[derive(Clone, Copy)]
struct Span {
    start: u64,
    time: u64,
}

impl Span {
    /// `None` for what has no sample, or is of no type that we use.
    fn metric(self, family: &Family<'_>) -> Option<Metric> {
        if family.samples.is_empty() {
            return None;
        }
        let (name, unit) = match family.kind {
            "info" => (name::of_info(family.name), ""),
            _ => name::of(family.name, family.unit),
        };
        let cumulative = i32::from(AggregationTemporality::Cumulative);
        let numbers = |start| family.samples.iter().map(|sample| self.number(sample, start)).collect();
        let data = match family.kind {
            "counter" => metric::Data::Sum(Sum {
                data_points: numbers(self.start),
                aggregation_temporality: cumulative,
                is_monotonic: true,
            }),
            "gauge" | "info" => metric::Data::Gauge(Gauge { data_points: numbers(0) }),
            "histogram" => metric::Data::Histogram(Histogram {
                data_points: self.histograms(&family.samples),
                aggregation_temporality: cumulative,
            }),
            _ => return None,
        };
        let (unit, description) = (unit.to_owned(), family.help.to_string());
        Some(Metric { name, unit, description, data: Some(data), ..Metric::default() })
    }

    fn number(self, sample: &Sample<'_>, start: u64) -> NumberDataPoint {
        // Whole numbers as such, as the state's: up to 2^53 nothing is lost on the way.
        let whole = sample.value.fract() == 0.0 && sample.value.abs() < (1u64 << 53) as f64;
        let value = if whole {
            number_data_point::Value::AsInt(sample.value as i64)
        } else {
            number_data_point::Value::AsDouble(sample.value)
        };
        NumberDataPoint {
            attributes: attributes(&sample.labels),
            start_time_unix_nano: start,
            time_unix_nano: self.time,
            exemplars: self.exemplar(sample).into_iter().collect(),
            value: Some(value),
            ..NumberDataPoint::default()
        }
    }

    /// The samples of each histogram stand together: its sum, its count, its buckets.
    fn histograms(self, samples: &[Sample<'_>]) -> Vec<HistogramDataPoint> {
        let mut points: Vec<HistogramDataPoint> = Vec::new();
        let mut cumulated = 0;
        for sample in samples {
            if sample.suffix == "_sum" {
                cumulated = 0;
                points.push(HistogramDataPoint {
                    attributes: attributes(&sample.labels),
                    start_time_unix_nano: self.start,
                    time_unix_nano: self.time,
                    sum: Some(sample.value),
                    ..HistogramDataPoint::default()
                });
            }
            let Some(point) = points.last_mut() else { continue };
            match sample.suffix {
                "_count" => point.count = sample.value as u64,
                "_bucket" => {
                    // Prometheus counts what is below a bound, OTLP what is between two.
                    let until = sample.value as u64;
                    point.bucket_counts.push(until.saturating_sub(cumulated));
                    cumulated = until;
                    let le = sample.labels.iter().find(|(name, _)| *name == "le");
                    let bound = le.and_then(|(_, bound)| bound.parse::<f64>().ok());
                    point.explicit_bounds.extend(bound.filter(|bound| bound.is_finite()));
                    point.exemplars.extend(self.exemplar(sample));
                }
                _ => {}
            }
        }
        points
    }

    fn exemplar(self, sample: &Sample<'_>) -> Option<Exemplar> {
        let found = sample.exemplar.as_ref()?;
        let label =
            |name: &str| found.labels.iter().find(|(label, _)| *label == name).map(|(_, value)| &**value);
        let trace_id = label("trace_id").and_then(|id| TraceId::from_hex(id).ok());
        let span_id = label("span_id").and_then(|id| SpanId::from_hex(id).ok());
        Some(Exemplar {
            filtered_attributes: Vec::new(),
            time_unix_nano: found.at.map_or(self.time, |seconds| (seconds * 1e9) as u64),
            span_id: span_id.map(|id| id.to_bytes().to_vec()).unwrap_or_default(),
            trace_id: trace_id.map(|id| id.to_bytes().to_vec()).unwrap_or_default(),
            value: Some(exemplar::Value::AsDouble(found.value)),
        })
    }
}

/// `le` is a bound of a bucket, and no attribute.
fn attributes(labels: &Labels<'_>) -> Vec<KeyValue> {
    let labels = labels.iter().filter(|(name, _)| *name != "le");
    labels.map(|(name, value)| key_value(*name, text(&**value))).collect()
}
