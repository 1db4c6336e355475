//! Data points as a test compares them: flat, with attributes as text.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, DataPointFlags, HistogramDataPoint, Metric, NumberDataPoint, exemplar, metric,
    number_data_point,
};

use super::received::{Received, metrics};

/// What a point is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A gauge.
    Gauge,
    /// A sum.
    Sum,
    /// A histogram with explicit bounds.
    Histogram,
}

/// A histogram's figures.
#[derive(Clone, Debug, PartialEq)]
pub struct Bins {
    /// How many were observed.
    pub count: u64,
    /// Their sum.
    pub sum: Option<f64>,
    /// The bounds between buckets.
    pub bounds: Vec<f64>,
    /// How many in each bucket, one more than bounds.
    pub counts: Vec<u64>,
}

/// An example of what was observed.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// What was observed.
    pub value: Option<f64>,
    /// In which trace, in hexadecimal digits.
    pub trace_id: String,
    /// In which span, in hexadecimal digits.
    pub span_id: String,
}

/// One data point.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Which of [`super::Collector::received`] brought it.
    pub request: usize,
    /// The metric's name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// Its description.
    pub description: String,
    /// What it is of.
    pub kind: Kind,
    /// Whether the sum only grows.
    pub monotonic: bool,
    /// Since when a sum or a histogram counts: the start, or the last export.
    pub temporality: Option<AggregationTemporality>,
    /// The resource's attributes.
    pub resource: BTreeMap<String, String>,
    /// The point's attributes.
    pub attributes: BTreeMap<String, String>,
    /// The value of a gauge or sum; none where none was recorded.
    pub value: Option<f64>,
    /// Says that there is no value any more.
    pub no_recorded_value: bool,
    /// When counting began.
    pub start_time_unix_nano: u64,
    /// When it was so.
    pub time_unix_nano: u64,
    /// A histogram's figures.
    pub histogram: Option<Bins>,
    /// Examples.
    pub exemplars: Vec<Exemplar>,
}

/// The points of a request. Panics on kinds that this program has no reason to send.
pub(super) fn points(request: usize, received: &Received) -> Vec<Point> {
    let mut points = Vec::new();
    for (resource, _, metric) in metrics(received) {
        let resource = attributes(&resource.attributes);
        let point = |kind| Point {
            request,
            name: metric.name.clone(),
            unit: metric.unit.clone(),
            description: metric.description.clone(),
            kind,
            monotonic: false,
            temporality: None,
            resource: resource.clone(),
            attributes: BTreeMap::new(),
            value: None,
            no_recorded_value: false,
            start_time_unix_nano: 0,
            time_unix_nano: 0,
            histogram: None,
            exemplars: Vec::new(),
        };
        match &metric.data {
            Some(metric::Data::Gauge(gauge)) => {
                points.extend(gauge.data_points.iter().map(|data| number(data, point(Kind::Gauge))));
            }
            Some(metric::Data::Sum(sum)) => points.extend(sum.data_points.iter().map(|data| Point {
                monotonic: sum.is_monotonic,
                temporality: Some(sum.aggregation_temporality()),
                ..number(data, point(Kind::Sum))
            })),
            Some(metric::Data::Histogram(data)) => points.extend(data.data_points.iter().map(|one| Point {
                temporality: Some(data.aggregation_temporality()),
                ..histogram(one, point(Kind::Histogram))
            })),
            other => panic!("{}: neither gauge, sum nor histogram: {other:?}", name(&metric)),
        }
    }
    points
}

fn name(metric: &Metric) -> &str {
    if metric.name.is_empty() { "a metric without a name" } else { &metric.name }
}

fn number(data: &NumberDataPoint, point: Point) -> Point {
    let no_recorded_value = without_value(data.flags);
    let value = data.value.map(|value| match value {
        number_data_point::Value::AsDouble(value) => value,
        number_data_point::Value::AsInt(value) => float(value),
    });
    Point {
        attributes: attributes(&data.attributes),
        value: value.filter(|_| !no_recorded_value),
        no_recorded_value,
        start_time_unix_nano: data.start_time_unix_nano,
        time_unix_nano: data.time_unix_nano,
        exemplars: data.exemplars.iter().map(exemplar).collect(),
        ..point
    }
}

fn histogram(data: &HistogramDataPoint, point: Point) -> Point {
    let no_recorded_value = without_value(data.flags);
    let bins = Bins {
        count: data.count,
        sum: data.sum,
        bounds: data.explicit_bounds.clone(),
        counts: data.bucket_counts.clone(),
    };
    Point {
        attributes: attributes(&data.attributes),
        no_recorded_value,
        start_time_unix_nano: data.start_time_unix_nano,
        time_unix_nano: data.time_unix_nano,
        histogram: Some(bins).filter(|_| !no_recorded_value),
        exemplars: data.exemplars.iter().map(exemplar).collect(),
        ..point
    }
}

fn without_value(flags: u32) -> bool {
    flags & DataPointFlags::NoRecordedValueMask as u32 != 0
}

fn exemplar(data: &opentelemetry_proto::tonic::metrics::v1::Exemplar) -> Exemplar {
    let value = data.value.map(|value| match value {
        exemplar::Value::AsDouble(value) => value,
        exemplar::Value::AsInt(value) => float(value),
    });
    Exemplar { value, trace_id: hex(&data.trace_id), span_id: hex(&data.span_id) }
}

#[expect(clippy::cast_precision_loss, reason = "tests send small numbers")]
fn float(value: i64) -> f64 {
    value as f64
}

/// Attributes by key, each value as text; a key that comes twice is against the protocol, and panics.
fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let mut map = BTreeMap::new();
    for KeyValue { key, value, .. } in attributes {
        let earlier = map.insert(key.clone(), text(value.as_ref()));
        assert!(earlier.is_none(), "the attribute {key} comes twice: {attributes:?}");
    }
    map
}

/// An attribute's value, or a log record's body, as text.
pub fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        None => String::new(),
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::BoolValue(value)) => value.to_string(),
        Some(any_value::Value::IntValue(value)) => value.to_string(),
        Some(any_value::Value::DoubleValue(value)) => value.to_string(),
        Some(any_value::Value::BytesValue(bytes)) => hex(bytes),
        Some(any_value::Value::ArrayValue(array)) => {
            let values: Vec<String> = array.values.iter().map(|value| text(Some(value))).collect();
            format!("[{}]", values.join(","))
        }
        Some(other) => format!("{other:?}"),
    }
}

/// Bytes in hexadecimal digits, as ids of traces and spans are written.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
