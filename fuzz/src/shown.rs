//! What an exposition says, read by others than its writer.

use std::collections::BTreeMap;

use heartbeat_bridge::exposition::Registry;
use heartbeat_bridge::exposition::otlp::{Origin, StateMetrics};
use heartbeat_bridge::exposition::text::{Coding, Format, render};
use heartbeat_bridge::state::Snapshot;
use nom_openmetrics::parser;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
use prost::Message;

/// A name and its labels, sorted.
pub(crate) type Series = (String, Vec<(String, String)>);

/// Every series with its value.
pub(crate) type Shown = BTreeMap<Series, f64>;

/// A request that a receiver's limit cuts often.
const REQUEST_BYTES: usize = 2048;

/// As one of the texts shows it.
pub(crate) fn in_text(snapshot: &Snapshot, format: Format) -> Shown {
    let text = render(Some(snapshot), Some(&Registry::default()), format, Coding::Identity).concat();
    let text = String::from_utf8(text).expect("the exposition is UTF-8");
    let parsed = match format {
        Format::Text => parser::prometheus(&text),
        Format::OpenMetrics0 | Format::OpenMetrics1 => parser::openmetrics(&text),
    };
    let (rest, families) = parsed.unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(rest, "", "read to its end");
    let mut shown = Shown::new();
    for sample in families.iter().flat_map(|family| &family.samples) {
        let labels = sample.labels().iter().map(|label| (label.name.to_owned(), label.value.clone()));
        add(&mut shown, sample.name(), labels.collect(), sample.number());
    }
    shown
}

/// As OTLP tells it, each series by the name that the text has for it.
pub(crate) fn in_otlp(snapshot: &Snapshot) -> Shown {
    let mut metrics = StateMetrics::new(&Origin::new([]));
    let mut export = metrics.export(snapshot.clone(), REQUEST_BYTES);
    let mut shown = Shown::new();
    while let Some(chunk) = export.next_chunk() {
        let request = ExportMetricsServiceRequest::decode(&*chunk.body).expect("a request of OTLP");
        let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
        for metric in scopes.flat_map(|scope| scope.metrics) {
            let (points, suffix) = match metric.data {
                Some(metric::Data::Gauge(gauge)) => (gauge.data_points, ""),
                Some(metric::Data::Sum(sum)) => (sum.data_points, "_total"),
                other => panic!("{} is {other:?}", metric.name),
            };
            let unit = if metric.unit == "s" { "_seconds" } else { "" };
            let name = [&metric.name.replace('.', "_"), unit, suffix].concat();
            for point in points {
                let value = match point.value.expect("nothing was shown before that could be withdrawn") {
                    number_data_point::Value::AsDouble(value) => value,
                    number_data_point::Value::AsInt(value) => value as f64,
                };
                add(&mut shown, &name, point.attributes.into_iter().map(text).collect(), value);
            }
        }
    }
    export.settle(true);
    shown
}

fn text(attribute: KeyValue) -> (String, String) {
    match attribute.value.and_then(|any| any.value) {
        Some(any_value::Value::StringValue(text)) => (attribute.key, text),
        other => panic!("{} is {other:?}", attribute.key),
    }
}

/// A series that is there twice fails a scrape.
fn add(shown: &mut Shown, name: &str, mut labels: Vec<(String, String)>, value: f64) {
    labels.sort();
    let series = (name.to_owned(), labels);
    assert!(!shown.contains_key(&series), "{series:?} is there twice");
    shown.insert(series, value);
}
