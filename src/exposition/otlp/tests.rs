use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{NumberDataPoint, metric, number_data_point};
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::exposition::Registry;
use crate::exposition::text::Format;
use crate::exposition::text::tests::{any_key, any_name, parse, rendered};
use crate::heartbeat::{ComponentKey, Outcome, Reason, Timestamp};
use crate::state::components::ComponentState;
use crate::state::snapshot::samples::{component, publisher, snapshot, told as packed};
use crate::state::snapshot::{PublisherView, Snapshot};
use crate::state::verdict::Verdict;

/// A collector's limit on a gRPC message.
const LIMIT: usize = 4 << 20;

/// Name and attributes, sorted.
type Series = (String, Vec<(String, String)>);

/// A series with its value; `None` where it is said to have none.
type Told = BTreeMap<Series, Option<f64>>;

fn origin() -> Origin {
    Origin::new([("service.name".into(), "heartbeat-subscriber".into())])
}

fn attributes(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = attributes
        .iter()
        .map(|pair| match pair.value.clone().and_then(|any| any.value) {
            Some(any_value::Value::StringValue(text)) => (pair.key.clone(), text),
            other => panic!("{other:?}"),
        })
        .collect();
    pairs.sort();
    pairs
}

fn number(point: &NumberDataPoint) -> Option<f64> {
    let withdrawn = point.flags == 1;
    assert_eq!(withdrawn, point.value.is_none(), "{point:?}");
    point.value.as_ref().map(|value| match value {
        number_data_point::Value::AsDouble(value) => *value,
        number_data_point::Value::AsInt(value) => *value as f64,
    })
}

/// What requests tell; panics where a series is told twice or a sum is not cumulative.
fn told(chunks: &[Chunk]) -> Told {
    let mut told = Told::new();
    for chunk in chunks {
        let request = ExportMetricsServiceRequest::decode(&*chunk.body).unwrap();
        let mut points = 0;
        for of_resource in request.resource_metrics {
            assert_eq!(of_resource.resource, Some(origin().resource));
            for of_scope in of_resource.scope_metrics {
                assert_eq!(of_scope.scope, Some(origin().scope));
                for of_metric in of_scope.metrics {
                    assert!(!of_metric.description.is_empty(), "{of_metric:?}");
                    let numbers = match of_metric.data {
                        Some(metric::Data::Gauge(gauge)) => gauge.data_points,
                        Some(metric::Data::Sum(sum)) => {
                            assert_eq!((sum.aggregation_temporality, sum.is_monotonic), (2, true));
                            sum.data_points
                        }
                        Some(metric::Data::Histogram(histogram)) => {
                            points += histogram.data_points.len();
                            continue;
                        }
                        other => panic!("{other:?}"),
                    };
                    points += numbers.len();
                    for point in numbers {
                        let series = (of_metric.name.clone(), attributes(&point.attributes));
                        let twice = told.insert(series, number(&point));
                        assert!(twice.is_none(), "{} {point:?} is told twice", of_metric.name);
                    }
                }
            }
        }
        assert_eq!(points as u64, chunk.points);
    }
    told
}

fn export(metrics: &mut StateMetrics, snapshot: &Snapshot, limit: usize, delivered: bool) -> Vec<Chunk> {
    let mut export = metrics.export(snapshot.clone(), limit);
    let chunks: Vec<Chunk> = std::iter::from_fn(|| export.next_chunk()).collect();
    export.settle(delivered);
    chunks
}

/// The name by OTLP, from that of a sample: the rule of the documentation, written down again.
fn otlp_name(sample: &str) -> String {
    let bare = sample.strip_suffix("_total").unwrap_or(sample);
    let bare = bare.strip_suffix("_seconds").unwrap_or(bare);
    bare.replacen('_', ".", 2)
}

/// The samples of a text, as OTLP should tell them.
fn as_told(text: &str) -> Told {
    let samples = parse(text, true).samples.into_iter();
    samples
        .filter(|sample| !["_bucket", "_sum", "_count"].iter().any(|suffix| sample.name.ends_with(suffix)))
        .map(|mut sample| {
            sample.labels.sort();
            ((otlp_name(&sample.name), sample.labels), Some(sample.value))
        })
        .collect()
}

#[test]
fn the_state_is_told_as_the_text_tells_it() {
    let mut metrics = StateMetrics::new(&origin());
    let snapshot = snapshot();
    let expected = as_told(&rendered(&snapshot, &Registry::default(), Format::OpenMetrics1));
    assert!(expected.len() > 60, "{expected:?}");
    assert_eq!(told(&export(&mut metrics, &snapshot, LIMIT, true)), expected);
    assert_eq!(told(&export(&mut metrics, &snapshot, LIMIT, true)), expected, "and again");
}

#[test]
fn the_programs_own_metrics_are_told_as_the_text_tells_them() {
    let registry = crate::exposition::text::own_registry();
    let nothing = Snapshot { publishers: Vec::new(), ..snapshot() };
    let mut expected = as_told(&rendered(&nothing, &registry, Format::OpenMetrics1));
    expected.retain(|(name, _), _| !name.contains(".view_"));
    let chunk = own_metrics(&registry, &origin(), 5, 7);
    assert_eq!(told(std::slice::from_ref(&chunk)), expected);
    let request = ExportMetricsServiceRequest::decode(&*chunk.body).unwrap();
    let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
    let named = |name: &str| metrics.iter().find(|metric| metric.name == name).unwrap();
    let Some(metric::Data::Histogram(histogram)) = &named("heartbeat.delivery").data else { panic!() };
    let point = &histogram.data_points[0];
    assert_eq!((point.count, point.sum, &*point.explicit_bounds), (1, Some(0.05), &[0.01, 0.1][..]));
    assert_eq!((&*point.bucket_counts, point.start_time_unix_nano), (&[0, 1, 0][..], 5));
    assert_eq!((point.time_unix_nano, &*named("heartbeat.delivery").unit), (7, "s"));
    let Some(metric::Data::Sum(sum)) = &named("heartbeat.traced").data else { panic!() };
    let exemplar = &sum.data_points[0].exemplars[0];
    assert_eq!(exemplar.trace_id.len(), 16);
}

#[test]
fn counters_tell_since_when_they_count() {
    let chunks = export(&mut StateMetrics::new(&origin()), &snapshot(), LIMIT, true);
    let request = ExportMetricsServiceRequest::decode(&*chunks[0].body).unwrap();
    let start = |name: &str| {
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        match &metrics.iter().find(|metric| metric.name == name).unwrap().data {
            Some(metric::Data::Sum(sum)) => sum.data_points[0].start_time_unix_nano,
            Some(metric::Data::Gauge(gauge)) => gauge.data_points[0].start_time_unix_nano,
            other => panic!("{other:?}"),
        }
    };
    let view = publisher("x");
    let nanos = |at: Option<crate::heartbeat::Timestamp>| at.unwrap().unix_ms().unsigned_abs() * 1_000_000;
    assert_eq!(start("heartbeat.publisher.lost"), nanos(view.first_received));
    // Its clock is 1.25 s behind the store's.
    let started = view.started_at.map(|at| at.plus_ms(1_250));
    assert_eq!(start("heartbeat.publisher.reconnects"), nanos(started));
    assert_eq!(start("heartbeat.component.checks"), nanos(started));
    assert_eq!(start("heartbeat.publisher.up"), 0);
}

#[test]
fn no_request_is_larger_than_the_limit_and_nothing_is_left_out() {
    let mut large = snapshot();
    for publisher in &mut large.publishers {
        let mut states: Vec<ComponentState> = owned(publisher);
        for number in 0..400 {
            let key = ComponentKey::consumer(&format!("listener {number:03}"), "some queue");
            let outcome = if number % 3 == 0 { Outcome::Up } else { Outcome::Down };
            let reason = (outcome != Outcome::Up).then_some(Reason::NoConsumer);
            states.push(component(key, outcome, reason, true));
        }
        publisher.told = packed(&states);
    }
    let whole = told(&export(&mut StateMetrics::new(&origin()), &large, usize::MAX, true));
    assert!(whole.len() > 10_000);
    for limit in [20_000, 100_000, 1_000_000] {
        let chunks = export(&mut StateMetrics::new(&origin()), &large, limit, true);
        assert!(chunks.len() > 1, "{limit}");
        for chunk in &chunks {
            assert!(chunk.body.len() <= limit, "{} over {limit}", chunk.body.len());
        }
        // Full, save for the last: a request costs more than its bytes.
        let full = chunks.iter().rev().skip(1).all(|chunk| chunk.body.len() * 2 > limit);
        assert!(full, "{:?}", chunks.iter().map(|chunk| chunk.body.len()).collect::<Vec<_>>());
        assert_eq!(told(&chunks), whole);
    }
}

#[test]
fn a_limit_below_a_single_point_still_tells_everything() {
    let chunks = export(&mut StateMetrics::new(&origin()), &snapshot(), 1, true);
    assert_eq!(told(&chunks), told(&export(&mut StateMetrics::new(&origin()), &snapshot(), LIMIT, true)));
    assert!(chunks.iter().all(|chunk| chunk.points == 1));
}

/// The components of a publisher, to be changed.
fn owned(view: &PublisherView) -> Vec<ComponentState> {
    let states = view.told.iter();
    states.map(|state| ComponentState { component: state.component.owned(), seen: state.seen }).collect()
}

/// Series of `told` that say that they have no value.
fn withdrawn(told: &Told) -> Vec<&Series> {
    told.iter().filter(|(_, value)| value.is_none()).map(|(series, _)| series).collect()
}

#[test]
fn what_is_gone_is_withdrawn_once_and_then_silent() {
    let mut metrics = StateMetrics::new(&origin());
    let full = snapshot();
    let first = told(&export(&mut metrics, &full, LIMIT, true));
    let mut less = full.clone();
    // A component of one, a publisher as a whole, and the verdict on another component.
    let mut states = owned(&less.publishers[0]);
    states.remove(0);
    states[1].seen = Some(Timestamp::EPOCH);
    less.publishers[0].told = packed(&states);
    less.publishers.remove(3);
    less.publishers[0].version = Some("0.2.0".into());
    let second = told(&export(&mut metrics, &less, LIMIT, true));
    let now = as_told(&rendered(&less, &Registry::default(), Format::OpenMetrics1));
    let gone: Vec<&Series> = first.keys().filter(|series| !now.contains_key(*series)).collect();
    assert!(gone.len() > 30, "{gone:?}");
    assert_eq!(withdrawn(&second), gone);
    let valued: Told = second.into_iter().filter(|(_, value)| value.is_some()).collect();
    assert_eq!(valued, now);
    assert_eq!(told(&export(&mut metrics, &less, LIMIT, true)), now, "no second withdrawal");
    assert_eq!(told(&export(&mut metrics, &full, LIMIT, true)).len(), first.len() + 2, "all back");
}

#[test]
fn a_withdrawal_that_did_not_arrive_is_told_again() {
    let mut metrics = StateMetrics::new(&origin());
    let full = snapshot();
    let empty = Snapshot { publishers: Vec::new(), ..full.clone() };
    let first = told(&export(&mut metrics, &full, LIMIT, true));
    for _ in 0..3 {
        let again = told(&export(&mut metrics, &empty, LIMIT, false));
        assert_eq!(withdrawn(&again).len(), first.len() - 2, "{again:?}");
    }
    assert_eq!(withdrawn(&told(&export(&mut metrics, &empty, LIMIT, true))).len(), first.len() - 2);
    assert_eq!(told(&export(&mut metrics, &empty, LIMIT, true)).len(), 2);
}

#[test]
fn what_is_owed_does_not_grow_for_ever() {
    let mut metrics = StateMetrics::new(&origin());
    let full = snapshot();
    let empty = Snapshot { publishers: Vec::new(), ..full.clone() };
    export(&mut metrics, &full, LIMIT, true);
    for _ in 0..10 {
        assert!(told(&export(&mut metrics, &empty, LIMIT, false)).len() > 2);
    }
    assert_eq!(told(&export(&mut metrics, &empty, LIMIT, false)).len(), 2);
}

#[test]
fn an_export_that_was_broken_off_forgets_nothing() {
    let mut metrics = StateMetrics::new(&origin());
    let full = snapshot();
    let first = told(&export(&mut metrics, &full, LIMIT, true));
    let mut broken = metrics.export(full.clone(), 2_000);
    assert!(broken.next_chunk().is_some());
    // Even where its caller takes it for delivered.
    broken.settle(true);
    let empty = Snapshot { publishers: Vec::new(), ..full };
    let gone = told(&export(&mut metrics, &empty, LIMIT, true));
    assert_eq!(withdrawn(&gone).len(), first.len() - 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever changes from one export to the next: the receiver, which forgets what is withdrawn and keeps
    /// the rest, has what the text tells at each moment.
    #[test]
    fn the_receiver_has_what_the_text_tells(
        steps in proptest::collection::vec(
            (proptest::collection::btree_map(
                0usize..5, proptest::collection::btree_map(0usize..12, 0u8..5, 0..8), 0..5), any::<bool>()),
            1..6),
        names in proptest::collection::vec(any_name(), 5),
        keys in proptest::collection::vec(any_key(), 12),
        limit in 500usize..5_000,
    ) {
        let mut metrics = StateMetrics::new(&origin());
        let mut held: BTreeMap<Series, f64> = BTreeMap::new();
        for (publishers, delivered) in steps {
            let mut views = BTreeMap::new();
            for (id, components) in publishers {
                let mut view = publisher(&names[id]);
                let mut found = BTreeMap::new();
                for (key, sort) in components {
                    let (outcome, reason, checked_now) = match sort {
                        0 => (Outcome::Up, None, true),
                        1 => (Outcome::Down, Some(Reason::Refused), true),
                        2 => (Outcome::Down, Some(Reason::Timeout), true),
                        3 => (Outcome::Up, None, false),
                        _ => {
                            view.verdict = Verdict::Withheld;
                            (Outcome::Up, None, true)
                        }
                    };
                    found.insert(keys[key].clone(), component(keys[key].clone(), outcome, reason, checked_now));
                }
                view.told = packed(&found.into_values().collect::<Vec<_>>());
                views.insert(view.id.clone(), view);
            }
            let snapshot = Snapshot { publishers: views.into_values().collect(), ..snapshot() };
            let told = told(&export(&mut metrics, &snapshot, limit, delivered));
            if delivered {
                for (series, value) in told {
                    match value {
                        Some(value) => held.insert(series, value),
                        None => held.remove(&series),
                    };
                }
                let expected = as_told(&rendered(&snapshot, &Registry::default(), Format::OpenMetrics1));
                let held: Told = held.iter().map(|(series, value)| (series.clone(), Some(*value))).collect();
                prop_assert_eq!(held, expected);
            }
        }
    }
}
