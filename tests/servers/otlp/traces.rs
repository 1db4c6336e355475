//! Traces: one a heartbeat, whole, whoever exports the publisher's part.

use std::collections::BTreeMap;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;

use super::exporting;
use crate::support::bridge::{Bridge, EXCHANGE, KEY, QUEUE, SOON};
use crate::support::otlp::points::text;
use crate::support::otlp::{Collector, Options, Transport};
use crate::support::tcp::Accepting;
use crate::support::v2::Simulated;
use crate::support::wait::wait_until;

/// A span with what it is of.
struct Told {
    resource: BTreeMap<String, String>,
    span: Span,
}

impl Told {
    fn attribute(&self, key: &str) -> Option<String> {
        self.span.attributes.iter().find(|pair| pair.key == key).map(|pair| text(pair.value.as_ref()))
    }
}

fn attributes_of(resource: &Resource) -> BTreeMap<String, String> {
    resource.attributes.iter().map(|pair| (pair.key.clone(), text(pair.value.as_ref()))).collect()
}

/// Every trace that came, by its id.
fn traces(collector: &Collector) -> BTreeMap<Vec<u8>, Vec<Told>> {
    let mut traces: BTreeMap<Vec<u8>, Vec<Told>> = BTreeMap::new();
    for (resource, _, span) in collector.spans() {
        let told = Told { resource: attributes_of(&resource), span };
        traces.entry(told.span.trace_id.clone()).or_default().push(told);
    }
    traces
}

/// Waits for a trace with all of its spans, and asserts its shape. `service` is in whose name the publisher's part
/// comes.
async fn assert_whole_trace(collector: &Collector, checks: &[(&str, &str, Option<&str>)]) -> Vec<Told> {
    let whole = wait_until("a whole trace came", SOON, async || {
        let whole = traces(collector).into_values().find(|trace| {
            let checked = trace.iter().filter(|told| told.span.name.starts_with("check ")).count();
            checked == checks.len() && trace.len() == checked + 4
        });
        whole.ok_or_else(|| {
            let shapes = traces(collector)
                .into_values()
                .map(|trace| trace.iter().map(|told| told.span.name.clone()).collect::<Vec<_>>());
            format!("{:?}", shapes.collect::<Vec<_>>())
        })
    })
    .await;
    let named = |name: &str| {
        let found: Vec<&Told> = whole.iter().filter(|told| told.span.name.starts_with(name)).collect();
        assert_eq!(found.len(), 1, "{name}");
        found[0]
    };
    let roots: Vec<&Told> = whole.iter().filter(|told| told.span.parent_span_id.is_empty()).collect();
    assert_eq!(roots.len(), 1, "one root");
    let (root, send) = (named("heartbeat"), named("send"));
    let (process, store) = (named("process"), named("store"));
    assert_eq!(send.span.parent_span_id, root.span.span_id);
    assert_eq!(process.span.parent_span_id, send.span.span_id);
    assert_eq!(store.span.parent_span_id, process.span.span_id);
    for (told, kind) in [
        (root, SpanKind::Internal),
        (send, SpanKind::Producer),
        (process, SpanKind::Consumer),
        (store, SpanKind::Client),
    ] {
        assert_eq!(told.span.kind, i32::from(kind), "{}", told.span.name);
        assert!(told.span.start_time_unix_nano <= told.span.end_time_unix_nano);
    }
    assert_eq!(send.span.name, format!("send {EXCHANGE}:{KEY}"));
    assert_eq!(process.span.name, format!("process {EXCHANGE}:{KEY}:{QUEUE}"));
    for told in [send, process] {
        assert_eq!(told.attribute("messaging.system").as_deref(), Some("rabbitmq"));
        assert_eq!(told.attribute("messaging.rabbitmq.destination.routing_key").as_deref(), Some(KEY));
        assert!(told.attribute("messaging.message.id").is_some());
    }
    for (kind, name, peer) in checks {
        let check = whole
            .iter()
            .find(|told| {
                told.span.name == format!("check {kind}")
                    && told.attribute("heartbeat.component.name").as_deref() == Some(*name)
            })
            .unwrap_or_else(|| panic!("no span of {kind} {name}"));
        assert_eq!(check.span.parent_span_id, root.span.span_id);
        assert_eq!(check.attribute("network.peer.port").as_deref(), *peer, "{kind} {name}");
        assert!(root.span.start_time_unix_nano <= check.span.start_time_unix_nano);
        assert!(check.span.end_time_unix_nano <= root.span.end_time_unix_nano);
    }
    whole
}

fn publisher_config(up: &Accepting, refused: &Accepting) -> String {
    json!({"heartbeat": {"hosts": [
        {"name": "up", "host": "127.0.0.1", "port": up.address.port()},
        {"name": "closed", "host": "127.0.0.1", "port": refused.address.port()},
        {"name": "nowhere", "host": "does-not-exist.invalid", "port": 1},
    ]}})
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_whole_though_its_publisher_reaches_nobody() {
    let bridge = Bridge::new().await;
    let collector = Collector::start(Options::default());
    let (up, mut refused) = (Accepting::open(), Accepting::open());
    refused.close().await;
    let _subscriber = exporting(bridge.subscriber(), &collector, Transport::Http).start_ready().await;
    let _publisher = bridge.publisher("oslo", &publisher_config(&up, &refused)).start();
    let (up, refused) = (up.address.port().to_string(), refused.address.port().to_string());
    let checks = [("host", "up", Some(&*up)), ("host", "closed", Some(&*refused)), ("host", "nowhere", None)];
    let whole = assert_whole_trace(&collector, &checks).await;
    for told in &whole {
        let by_subscriber = ["process", "store"].iter().any(|name| told.span.name.starts_with(name));
        let service = if by_subscriber { "heartbeat-subscriber" } else { "heartbeat-publisher" };
        assert_eq!(told.resource["service.name"], service, "{}", told.span.name);
        if !by_subscriber {
            assert_eq!(told.resource["service.instance.id"], "oslo");
            assert!(told.resource.contains_key("heartbeat.exported_by"), "{:?}", told.resource);
        }
    }
    let closed =
        whole.iter().find(|told| told.attribute("heartbeat.component.name").as_deref() == Some("closed"));
    let closed = closed.unwrap();
    assert_eq!(closed.attribute("heartbeat.component.outcome").as_deref(), Some("down"));
    assert_eq!(closed.attribute("error.type").as_deref(), Some("refused"));
    assert_eq!(closed.span.status.as_ref().map(|status| status.code), Some(2));
    assert_eq!(closed.attribute("server.address").as_deref(), Some("127.0.0.1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_with_an_endpoint_exports_its_part_itself() {
    let bridge = Bridge::new().await;
    let collector = Collector::start(Options::default());
    let (up, refused) = (Accepting::open(), Accepting::open());
    let _subscriber = exporting(bridge.subscriber(), &collector, Transport::Grpc).start_ready().await;
    let config = publisher_config(&up, &refused);
    let mut publisher = exporting(bridge.publisher("oslo", &config), &collector, Transport::Grpc).start();
    let (up, refused) = (up.address.port().to_string(), refused.address.port().to_string());
    let checks = [("host", "up", Some(&*up)), ("host", "closed", Some(&*refused)), ("host", "nowhere", None)];
    let whole = assert_whole_trace(&collector, &checks).await;
    for told in whole.iter().filter(|told| told.resource["service.name"] == "heartbeat-publisher") {
        assert!(!told.resource.contains_key("heartbeat.exported_by"), "it was not carried");
        assert!(told.resource.contains_key("host.name"));
    }
    assert!(whole.iter().any(|told| told.resource["service.name"] == "heartbeat-publisher"));
    // Its own metrics come from it too, and what is left comes at its end.
    wait_until("its metrics came", SOON, async || {
        let found = collector.data_points().iter().any(|point| {
            point.name == "heartbeat.emitter.published" && point.resource["service.instance.id"] == "oslo"
        });
        if found { Ok(()) } else { Err("none yet".into()) }
    })
    .await;
    publisher.terminate(SOON).await;
    assert!(!publisher.log().contains("Not everything was exported"), "{}", publisher.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_samples_nothing_is_not_traced_and_a_refused_message_gets_a_link_only() {
    let bridge = Bridge::new().await;
    let collector = Collector::start(Options::default());
    let _subscriber = exporting(bridge.subscriber(), &collector, Transport::Grpc).start_ready().await;
    let context =
        |id: char, flags: &str| format!("00-{}-00f067aa0ba902b7-{flags}", id.to_string().repeat(32));
    let send = async |body: &[u8], traceparent: String| {
        let mut headers = FieldTable::default();
        headers.insert("traceparent".into(), AMQPValue::LongString(traceparent.into()));
        let properties = BasicProperties::default().with_headers(headers);
        bridge.vhost.publish(EXCHANGE, KEY, &properties, [body]).await;
    };
    let mut publisher = Simulated::new("oslo");
    send(&publisher.beat(), context('a', "00")).await;
    send(b"no heartbeat", context('b', "01")).await;
    send(&publisher.beat(), context('c', "01")).await;
    wait_until("both came", SOON, async || match traces(&collector).len() {
        2 => Ok(()),
        other => Err(format!("{other} traces")),
    })
    .await;
    let traces = traces(&collector);
    assert!(!traces.contains_key(&[0xaa; 16][..]), "its publisher did not record it");
    assert!(!traces.contains_key(&[0xbb; 16][..]), "nobody knows who wrote it");
    let taken = &traces[&[0xcc; 16][..]];
    assert_eq!(taken.len(), 2, "consumer and store");
    let (_, refused) = traces.iter().find(|(id, _)| ***id != [0xcc; 16]).unwrap();
    let span = &refused[0].span;
    assert!(span.parent_span_id.is_empty());
    assert_eq!(span.links.iter().map(|link| &link.trace_id[..]).collect::<Vec<_>>(), [[0xbb; 16]]);
    assert_eq!(refused[0].attribute("error.type").as_deref(), Some("not_json"));
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_of_delivery_times_name_their_trace() {
    let bridge = Bridge::new().await;
    let collector = Collector::start(Options::default());
    let subscriber = exporting(bridge.subscriber(), &collector, Transport::Grpc).start_ready().await;
    let port = Accepting::open();
    let config =
        json!({"heartbeat": {"hosts": [{"name": "up", "host": "127.0.0.1", "port": port.address.port()}]}});
    let _publisher = bridge.publisher("oslo", &config.to_string()).start();
    let accept = [("accept", "application/openmetrics-text;version=1.0.0")];
    let trace_id = wait_until("an example is scraped", SOON, async || {
        let body =
            crate::support::http::request(subscriber.http(), "GET", "/metrics", &accept, "").await?.text();
        let lines: Vec<&str> =
            body.lines().filter(|line| line.starts_with("heartbeat_delivery_seconds_bucket{")).collect();
        let found = lines.iter().find_map(|line| line.split("# {trace_id=\"").nth(1)?.split('"').next());
        found.map(str::to_owned).ok_or_else(|| lines.join("\n"))
    })
    .await;
    wait_until("its trace is there, and it is exported as an exemplar", SOON, async || {
        let hex = |id: &[u8]| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let traced = traces(&collector).keys().any(|id| hex(id) == trace_id);
        let exemplars =
            collector.data_points().into_iter().filter(|point| point.name == "heartbeat.delivery");
        let exported =
            exemplars.flat_map(|point| point.exemplars).any(|exemplar| exemplar.trace_id == trace_id);
        if traced && exported { Ok(()) } else { Err(format!("traced {traced}, exported {exported}")) }
    })
    .await;
    let classic = crate::support::http::get(subscriber.http(), "/metrics").await.unwrap().text();
    assert!(!classic.contains(" # {"), "the classic format has no exemplars");
}
