//! Requests of bounded size: points gathered by family until no more fit.

use std::collections::VecDeque;

use super::name;
use super::protobuf::{field_len, push_attribute, push_bytes, push_fixed64, push_length, push_number};
use crate::exposition::family::{Family, FamilyType, Number};

/// One request, encoded: an `ExportMetricsServiceRequest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The encoded message.
    pub body: Vec<u8>,
    /// Points in it.
    pub points: u64,
}

/// Numbers of the fields that are written (opentelemetry-proto, `metrics.proto`).
mod field {
    pub(super) const RESOURCE_METRICS: u64 = 1;
    pub(super) const RESOURCE: u64 = 1;
    pub(super) const SCOPE_METRICS: u64 = 2;
    pub(super) const SCOPE: u64 = 1;
    pub(super) const METRICS: u64 = 2;
    pub(super) const METRIC_NAME: u64 = 1;
    pub(super) const METRIC_DESCRIPTION: u64 = 2;
    pub(super) const METRIC_UNIT: u64 = 3;
    pub(super) const METRIC_GAUGE: u64 = 5;
    pub(super) const METRIC_SUM: u64 = 7;
    pub(super) const DATA_POINTS: u64 = 1;
    pub(super) const AGGREGATION_TEMPORALITY: u64 = 2;
    pub(super) const IS_MONOTONIC: u64 = 3;
    pub(super) const POINT_START: u64 = 2;
    pub(super) const POINT_TIME: u64 = 3;
    pub(super) const POINT_DOUBLE: u64 = 4;
    pub(super) const POINT_INT: u64 = 6;
    pub(super) const POINT_ATTRIBUTES: u64 = 7;
    pub(super) const POINT_FLAGS: u64 = 8;
}

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u64 = 2;

/// `DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK`.
const NO_RECORDED_VALUE: u64 = 1;

/// A point without its family.
pub(super) struct Point<'a> {
    /// As [`push_point_attribute`] makes them, one after the other.
    pub(super) attributes: &'a [u8],
    /// When its counter began, in nanoseconds; `None` where that is not known, and for gauges.
    pub(super) start: Option<u64>,
    /// In nanoseconds.
    pub(super) time: u64,
    /// `None`: there is no value any more.
    pub(super) value: Option<Number>,
}

/// Appends an attribute of a point.
pub(super) fn push_point_attribute(out: &mut Vec<u8>, key: &str, value: &str) {
    push_attribute(out, field::POINT_ATTRIBUTES, key, value);
}

/// Gathers points into requests.
pub(super) struct Chunks {
    families: Vec<Gathered>,
    /// The encoded resource and scope.
    resource: Vec<u8>,
    scope: Vec<u8>,
    bytes_max: usize,
    /// What a request takes beside its points, with every family in it.
    overhead: usize,
    bytes: usize,
    points: u64,
    finished: VecDeque<Chunk>,
}

/// One family's points in the request that is being gathered.
struct Gathered {
    /// Encoded: everything of the `Metric` but its data.
    header: Vec<u8>,
    kind: FamilyType,
    points: Vec<u8>,
}

impl Chunks {
    /// For points of these families, which are named by their place. `resource` and `scope` are encoded.
    pub(super) fn new(families: &[Family], resource: &[u8], scope: &[u8], bytes_max: usize) -> Self {
        let families: Vec<Gathered> = families.iter().map(Gathered::new).collect();
        // Tags and lengths take at most 6 bytes each, and a sum has two more fields.
        let of_families: usize = families.iter().map(|family| family.header.len() + 24).sum();
        let overhead = of_families + resource.len() + scope.len() + 32;
        Self {
            families,
            resource: resource.to_vec(),
            scope: scope.to_vec(),
            bytes_max,
            overhead,
            bytes: overhead,
            points: 0,
            finished: VecDeque::new(),
        }
    }

    /// Adds a point to a family.
    pub(super) fn push(&mut self, family: usize, point: &Point<'_>) {
        let length = point.encoded_len();
        if self.points > 0 && self.bytes + field_len(length) > self.bytes_max {
            self.finish();
        }
        self.bytes += field_len(length);
        self.points += 1;
        let out = &mut self.families[family].points;
        push_length(out, field::DATA_POINTS, length);
        point.write(out);
    }

    /// The next request that is full.
    pub(super) fn take(&mut self) -> Option<Chunk> {
        self.finished.pop_front()
    }

    /// Ends the request that is being gathered; an empty one is none.
    pub(super) fn finish(&mut self) {
        if self.points == 0 {
            return;
        }
        let mut metrics = Vec::with_capacity(self.bytes);
        for family in &mut self.families {
            family.write(&mut metrics);
        }
        let of_scope = field_len(self.scope.len()) + metrics.len();
        let of_resource = field_len(self.resource.len()) + field_len(of_scope);
        let mut body = Vec::with_capacity(of_resource + 16);
        push_length(&mut body, field::RESOURCE_METRICS, of_resource);
        push_bytes(&mut body, field::RESOURCE, &self.resource);
        push_length(&mut body, field::SCOPE_METRICS, of_scope);
        push_bytes(&mut body, field::SCOPE, &self.scope);
        body.extend_from_slice(&metrics);
        self.finished.push_back(Chunk { body, points: self.points });
        self.points = 0;
        self.bytes = self.overhead;
    }
}

impl Gathered {
    fn new(family: &Family) -> Self {
        let (name, unit) = match family.kind {
            FamilyType::Info => (name::of_info(family.name), ""),
            FamilyType::Gauge | FamilyType::Counter(_) => name::of(family.name, family.unit),
        };
        let mut header = Vec::new();
        push_bytes(&mut header, field::METRIC_NAME, name.as_bytes());
        push_bytes(&mut header, field::METRIC_DESCRIPTION, family.help.as_bytes());
        push_bytes(&mut header, field::METRIC_UNIT, unit.as_bytes());
        Self { header, kind: family.kind, points: Vec::new() }
    }

    /// Appends the metric with its points, which are gone then.
    fn write(&mut self, out: &mut Vec<u8>) {
        if self.points.is_empty() {
            return;
        }
        let data_field = match self.kind {
            FamilyType::Counter(_) => {
                push_number(&mut self.points, field::AGGREGATION_TEMPORALITY, CUMULATIVE);
                push_number(&mut self.points, field::IS_MONOTONIC, 1);
                field::METRIC_SUM
            }
            FamilyType::Gauge | FamilyType::Info => field::METRIC_GAUGE,
        };
        push_length(out, field::METRICS, self.header.len() + field_len(self.points.len()));
        out.extend_from_slice(&self.header);
        push_bytes(out, data_field, &self.points);
        self.points.clear();
    }
}

/// Bytes of a field of eight, its tag included.
const FIXED_FIELD: usize = 9;

impl Point<'_> {
    fn encoded_len(&self) -> usize {
        let start = if self.start.is_some() { FIXED_FIELD } else { 0 };
        let value = if self.value.is_some() { FIXED_FIELD } else { 2 };
        self.attributes.len() + start + FIXED_FIELD + value
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.attributes);
        if let Some(start) = self.start {
            push_fixed64(out, field::POINT_START, start);
        }
        push_fixed64(out, field::POINT_TIME, self.time);
        match self.value {
            None => push_number(out, field::POINT_FLAGS, NO_RECORDED_VALUE),
            Some(Number::Whole(value)) => {
                let value = i64::try_from(value).unwrap_or(i64::MAX);
                push_fixed64(out, field::POINT_INT, value.cast_unsigned());
            }
            Some(Number::Thousandths(value)) => {
                push_fixed64(out, field::POINT_DOUBLE, (value as f64 / 1000.0).to_bits());
            }
            Some(Number::Real(value)) => push_fixed64(out, field::POINT_DOUBLE, value.to_bits()),
        }
    }
}
