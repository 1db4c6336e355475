//! Metrics: the set on `/metrics` and the set by OTLP, value for value.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::exporting;
use crate::support::bridge::{Bridge, SOON};
use crate::support::otlp::{Answer, Collector, Kind, Options, Point, Transport};
use crate::support::program::{Program, Setup};
use crate::support::scrape::{Sample, Scrape};
use crate::support::v1;
use crate::support::v2::Simulated;
use crate::support::wait::wait_until;

/// The name by OTLP of a sample that Prometheus scrapes, and its unit: the rule of the documentation.
fn otlp_name(sample: &Sample) -> (String, &'static str) {
    let name = sample.name.as_str();
    let named = |name: &str, unit| (name.to_owned(), unit);
    match name {
        "process_cpu_seconds_total" => return named("process.cpu.time", "s"),
        "process_start_time_seconds" => return named("process.start_time", "s"),
        "process_threads" => return named("process.thread.count", ""),
        "process_virtual_memory_bytes" => return named("process.memory.virtual", "By"),
        "process_resident_memory_bytes" => return named("process.memory.usage", "By"),
        "process_open_fds" => return named("process.unix.file_descriptor.count", ""),
        "process_max_fds" => return named("process.unix.file_descriptor.limit", ""),
        _ => {}
    }
    let name = ["_total", "_bucket", "_sum", "_count"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name);
    match name.strip_suffix("_seconds") {
        Some(bare) => (bare.replacen('_', ".", 2), "s"),
        None => (name.replacen('_', ".", 2), ""),
    }
}

/// What moves between a scrape and an export, though nobody sends anything: only that it is there is compared.
fn moves(name: &str) -> bool {
    ["process.", "heartbeat.otlp.", "heartbeat.http."].iter().any(|prefix| name.starts_with(prefix))
        || name == "heartbeat.subscriber.view_lag"
}

type Series = (String, BTreeMap<String, String>);

/// The series of a scrape with their values; a histogram by its count.
fn scraped(scrape: &Scrape) -> BTreeMap<Series, (f64, &'static str)> {
    let samples = scrape
        .samples
        .iter()
        .filter(|sample| !sample.name.ends_with("_bucket") && !sample.name.ends_with("_sum"));
    samples
        .map(|sample| {
            let (name, unit) = otlp_name(sample);
            ((name, sample.labels.clone()), (sample.value, unit))
        })
        .collect()
}

/// The points of the newest export as a whole.
fn newest_export(collector: &Collector) -> Option<Vec<Point>> {
    let ends = ends(collector);
    let [.., before, last] = ends[..] else { return None };
    let of_export = |point: &Point| point.request > before && point.request <= last;
    Some(collector.data_points().into_iter().filter(of_export).collect())
}

/// A subscriber with something of everything to tell.
async fn subscriber_with_state(bridge: &Bridge, setup: Setup) -> Program {
    let subscriber = setup.env("EXPECTED_PUBLISHERS", "never-seen").start_ready().await;
    let mut fleet: Vec<Simulated> =
        ["oslo \"1\" \\ æ", "bergen", "tromsø"].map(Simulated::new).into_iter().collect();
    for publisher in &mut fleet {
        publisher.interval = Duration::from_secs(600);
        publisher.components[0].outcome = "down";
        publisher.components[1].outcome = if publisher.id == "bergen" { "unknown" } else { "up" };
        bridge.send([publisher.beat(), publisher.beat()]).await;
    }
    let original = v1::Publisher::new();
    bridge.send([original.message(&[("legacy", true)], &[("old", false)], &[("ingest", true)])]).await;
    bridge.send([b"no heartbeat".to_vec(), br#"{"v2":{}}"#.to_vec()]).await;
    bridge.drained(&subscriber, SOON).await;
    subscriber.wait_value(SOON, "heartbeat_subscriber_publishers", &[], 4.0).await;
    subscriber
}

/// Requests after which an export was whole: the program's own metrics come last in each.
fn ends(collector: &Collector) -> Vec<usize> {
    let points = collector.data_points();
    let last = points.iter().filter(|point| point.name == "heartbeat.build.info").map(|point| point.request);
    last.collect::<BTreeSet<_>>().into_iter().collect()
}

/// What an export tells, by series.
fn told(points: &[Point]) -> BTreeMap<Series, (f64, &str)> {
    let mut told = BTreeMap::new();
    for point in points {
        let value = point.value.or(point.histogram.as_ref().map(|bins| bins.count as f64));
        let series = (point.name.clone(), point.attributes.clone());
        let twice = told.insert(series, (value.unwrap(), &*point.unit));
        assert!(twice.is_none(), "{point:?} is there twice");
    }
    told
}

/// Waits for an export that tells what a scrape tells, and returns its points.
async fn assert_same(subscriber: &Program, collector: &Collector) -> Vec<Point> {
    wait_until("an export tells what a scrape tells", SOON, async || {
        let before = ends(collector).len();
        let scrape = subscriber.open_metrics().await?;
        // The one under way, and one that began after the scrape.
        wait_until("two exports came", SOON, async || match ends(collector).len() - before {
            0 | 1 => Err(format!("{before} before")),
            _ => Ok(()),
        })
        .await;
        let points = newest_export(collector).ok_or("no export yet")?;
        let (mut expected, mut found) = (scraped(&scrape), told(&points));
        for ((name, _), (value, _)) in expected.iter_mut().chain(&mut found) {
            if moves(name) {
                *value = 0.0;
            }
        }
        if expected == found {
            return Ok(points);
        }
        let missing = expected
            .iter()
            .filter(|(series, told)| found.get(*series) != Some(told))
            .map(|(series, told)| format!("{series:?}: scraped {told:?}, exported {:?}", found.get(series)));
        let alone = found.keys().filter(|series| !expected.contains_key(*series));
        let alone = alone.map(|series| format!("{series:?} is exported alone"));
        Err(missing.chain(alone).take(5).collect::<Vec<_>>().join("\n"))
    })
    .await
}

async fn every_metric_arrives(transport: Transport, tls: bool) {
    let bridge = Bridge::new().await;
    let collector = Collector::start(Options { tls, require_client_certificate: tls, ..Options::default() });
    let compression = if tls { "gzip" } else { "none" };
    let setup = exporting(bridge.subscriber(), &collector, transport)
        .env("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=a%20b,authorization=Basic%20canary")
        .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test%20field,service.name=other")
        .env("OTEL_SERVICE_NAME", "bridge");
    let subscriber = subscriber_with_state(&bridge, setup).await;
    let points = assert_same(&subscriber, &collector).await;

    let types = subscriber.open_metrics().await.unwrap().types;
    let kinds: BTreeMap<&str, (Kind, bool)> =
        points.iter().map(|point| (point.name.as_str(), (point.kind, point.monotonic))).collect();
    let mut seen = 0;
    for (family, kind) in &types {
        let suffix = if kind == "info" { "_info" } else { "" };
        let sample = Sample { name: format!("{family}{suffix}"), labels: BTreeMap::new(), value: 0.0 };
        let (name, _) = otlp_name(&sample);
        let expected = match kind.as_str() {
            "counter" => (Kind::Sum, true),
            "gauge" | "info" => (Kind::Gauge, false),
            "histogram" => (Kind::Histogram, false),
            other => panic!("{family} is a {other}"),
        };
        // The one family that has no sample yet is no metric either.
        if let Some(found) = kinds.get(&*name) {
            assert_eq!(*found, expected, "{family}");
            seen += 1;
        }
    }
    assert!(seen > 55, "{seen} families of {}", types.len());
    for point in &points {
        assert!(!point.description.is_empty(), "{point:?}");
        let expected = [
            ("service.name", "bridge"),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("deployment.environment.name", "test field"),
        ];
        for (key, value) in expected {
            assert_eq!(point.resource.get(key).map(String::as_str), Some(value), "{key}");
        }
        let port = subscriber.http().port().to_string();
        assert!(point.resource["service.instance.id"].ends_with(&format!(":{port}")), "{:?}", point.resource);
        if point.kind == Kind::Sum {
            assert!(point.start_time_unix_nano <= point.time_unix_nano, "{point:?}");
        }
    }
    for received in collector.received() {
        assert_eq!(received.transport, transport);
        assert_eq!(received.headers.get("x-tenant").map(String::as_str), Some("a b"));
        assert!(received.headers["user-agent"].contains("heartbeat/"), "{:?}", received.headers);
    }
    assert!(!subscriber.log().contains("canary"), "a key is in the log");
    let failures = subscriber.metrics().await.unwrap().sum("heartbeat_otlp_export_failures_total", &[]);
    assert_eq!(failures, 0.0, "{}", subscriber.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_arrives_by_grpc() {
    every_metric_arrives(Transport::Grpc, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_arrives_by_grpc_with_tls() {
    every_metric_arrives(Transport::Grpc, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_arrives_by_http() {
    every_metric_arrives(Transport::Http, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_arrives_by_http_with_tls() {
    every_metric_arrives(Transport::Http, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_that_was_refused_comes_all_the_same() {
    let bridge = Bridge::new().await;
    let collector = Collector::start(Options::default());
    let subscriber = exporting(bridge.subscriber(), &collector, Transport::Http).start_ready().await;
    let mut publisher = Simulated::new("oslo");
    bridge.send([publisher.beat()]).await;
    let of_host = |gone: bool| {
        let of = |point: &Point| point.attributes.get("name").is_some_and(|name| name == "oslo.db");
        collector.data_points().iter().filter(|point| of(point) && point.no_recorded_value == gone).count()
    };
    wait_until("the component is exported", SOON, async || match of_host(false) {
        0 => Err("not yet".to_owned()),
        _ => Ok(()),
    })
    .await;
    collector.answer(Answer::Refused);
    publisher.components.remove(0);
    bridge.send([publisher.beat()]).await;
    bridge.drained(&subscriber, SOON).await;
    collector.clear();
    wait_until("it was refused thrice", SOON, async || match collector.requests() {
        requests if requests > 12 => Ok(()),
        requests => Err(format!("{requests}")),
    })
    .await;
    collector.answer(Answer::Ok);
    wait_until("the withdrawal came", SOON, async || match of_host(true) {
        0 => Err("not yet".to_owned()),
        _ => Ok(()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_withdrawn_is_gone_from_the_second_export_after() {
    let bridge = Bridge::new().await;
    let collector = Collector::start(Options::default());
    let subscriber = exporting(bridge.subscriber(), &collector, Transport::Grpc).start_ready().await;
    let mut publisher = Simulated::new("oslo");
    bridge.send([publisher.beat()]).await;
    let of_host = |points: &[Point]| -> Vec<bool> {
        let of = |point: &&Point| point.attributes.get("name").is_some_and(|name| name == "oslo.db");
        points.iter().filter(of).map(|point| point.no_recorded_value).collect()
    };
    wait_until("the component is exported", SOON, async || {
        let points = newest_export(&collector).unwrap_or_default();
        if of_host(&points).len() >= 6 { Ok(()) } else { Err(format!("{points:?}")) }
    })
    .await;
    publisher.components.remove(0);
    bridge.send([publisher.beat()]).await;
    bridge.drained(&subscriber, SOON).await;
    collector.clear();
    // Exports from now on, each with what it tells of the component.
    let exports = wait_until("five exports came", SOON, async || {
        let ends = ends(&collector);
        if ends.len() < 5 {
            return Err(format!("{}", ends.len()));
        }
        let mut exports: Vec<Vec<Point>> = vec![Vec::new(); ends.len()];
        for point in collector.data_points() {
            if let Some(export) = ends.iter().position(|end| point.request <= *end) {
                exports[export].push(point);
            }
        }
        Ok(exports)
    })
    .await;
    let told: Vec<Vec<bool>> = exports.iter().map(|export| of_host(export)).collect();
    // The withdrawal may have come just before the record was cleared, or come with the first or second.
    let withdrawals: Vec<&Vec<bool>> = told.iter().filter(|told| told.contains(&true)).collect();
    assert!(withdrawals.len() <= 1, "{told:?}");
    for withdrawal in withdrawals {
        assert!(withdrawal.len() >= 6 && withdrawal.iter().all(|gone| *gone), "{told:?}");
    }
    assert!(told[2..].iter().all(Vec::is_empty), "{told:?}");
    assert!(
        exports[4].iter().any(|point| point.attributes.get("name").is_some_and(|name| name == "oslo.ingest"))
    );
}
