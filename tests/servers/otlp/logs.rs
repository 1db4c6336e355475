//! Logs: a record for each change, told once, and bounded.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry_proto::tonic::logs::v1::LogRecord;

use super::exporting;
use crate::support::bridge::{Bridge, SOON};
use crate::support::otlp::points::text;
use crate::support::otlp::{Collector, Options, Transport};
use crate::support::v2::Simulated;
use crate::support::wait::{holds_for, wait_until};

/// One log record, as text.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) body: String,
    pub(crate) severity: i32,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) trace_id: Vec<u8>,
}

/// Every log record that came.
pub(crate) fn events(collector: &Collector) -> Vec<Event> {
    let event = |record: LogRecord| Event {
        name: record.event_name,
        body: text(record.body.as_ref()),
        severity: record.severity_number,
        attributes: record
            .attributes
            .iter()
            .map(|pair| (pair.key.clone(), text(pair.value.as_ref())))
            .collect(),
        trace_id: record.trace_id,
    };
    collector.logs().into_iter().map(|(_, _, record)| event(record)).collect()
}

fn of_component(collector: &Collector, name: &str) -> Vec<Event> {
    let of =
        |event: &Event| event.attributes.get("heartbeat.component.name").is_some_and(|held| held == name);
    events(collector).into_iter().filter(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_is_one_record_with_how_long_it_was_before() {
    let bridge = Bridge::new().await;
    let collector = Collector::start(Options::default());
    let _subscriber = exporting(bridge.subscriber(), &collector, Transport::Grpc).start_ready().await;
    let mut publisher = Simulated::small("oslo");
    publisher.interval = Duration::from_secs(600);
    // As of 60, 50, 43, 41 and 40 seconds ago.
    let now = publisher.uptime();
    for (ago, outcome) in [(60, "up"), (50, "up"), (43, "down"), (41, "unknown"), (40, "up")] {
        publisher.components[0].outcome = outcome;
        bridge.send([publisher.beat_at(now - Duration::from_secs(ago))]).await;
    }
    let records = wait_until("three records came", SOON, async || {
        let records = of_component(&collector, "oslo.db");
        if records.len() >= 3 { Ok(records) } else { Err(format!("{records:?}")) }
    })
    .await;
    holds_for("there are no more", Duration::from_millis(1000), async || {
        let records = of_component(&collector, "oslo.db");
        if records.len() == 3 { Ok(()) } else { Err(format!("{records:?}")) }
    })
    .await;
    let get = |record: &Event, key: &str| record.attributes.get(key).cloned().unwrap_or_default();
    let told: Vec<_> = records
        .iter()
        .map(|record| {
            assert_eq!(record.name, "heartbeat.component.changed");
            assert_eq!(get(record, "heartbeat.publisher"), "oslo");
            assert_eq!(record.trace_id.len(), 16, "{record:?}");
            let outcomes = (
                get(record, "heartbeat.component.previous_outcome"),
                get(record, "heartbeat.component.outcome"),
            );
            let lasted: f64 = get(record, "heartbeat.component.previous_duration").parse().unwrap();
            (outcomes, get(record, "heartbeat.component.reason"), lasted.round() as u64, record.severity)
        })
        .collect();
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        told,
        [
            (pair("up", "down"), "refused".to_owned(), 17, 17),
            (pair("down", "unknown"), "refused".to_owned(), 2, 13),
            (pair("unknown", "up"), String::new(), 1, 9),
        ],
        "ERROR, WARN and INFO, and how long each lasted"
    );
    assert!(records[0].body.contains("it was up for 17s"), "{}", records[0].body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_flaps_are_bounded_and_the_bound_is_said() {
    let bridge = Bridge::new().await;
    let collector = Collector::start(Options::default());
    let mut subscriber = exporting(bridge.subscriber(), &collector, Transport::Http).start_ready().await;
    let mut publisher = Simulated::small("flapping");
    let bodies: Vec<Vec<u8>> = (0..1001)
        .map(|number| {
            publisher.components[0].outcome = if number % 2 == 0 { "up" } else { "down" };
            publisher.beat()
        })
        .collect();
    bridge.send(bodies).await;
    bridge.drained(&subscriber, SOON).await;
    let limited =
        |records: &[Event]| records.iter().filter(|record| record.name == "heartbeat.flapping").count();
    wait_until("the bound was said", SOON, async || {
        match limited(&of_component(&collector, "flapping.db")) {
            0 => Err("not yet".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    // What was held back is told at the end.
    subscriber.terminate(SOON).await;
    let records = of_component(&collector, "flapping.db");
    let held: u64 = records
        .iter()
        .filter_map(|record| record.attributes.get("heartbeat.records.held_back")?.parse::<u64>().ok())
        .sum();
    let changes = records.iter().filter(|record| record.name == "heartbeat.component.changed").count() as u64;
    assert_eq!(changes + held, 1000, "each is told or counted: {records:?}");
    // A minute may have ended in between.
    assert!(records.len() <= 24, "{}", records.len());
    assert!(limited(&records) <= 2);
    let last = records.last().unwrap();
    assert_eq!(last.attributes["heartbeat.component.outcome"], "up", "the present state is told last");
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_are_told_of_once_by_all_replicas() {
    let bridge = Bridge::new().await;
    let collector = Collector::start(Options::default());
    let setup = || {
        exporting(bridge.subscriber(), &collector, Transport::Grpc)
            .env("PUBLISHER_GRACE", "*=3s")
            .env("OTLP_PROGRAM_LOG", "true")
    };
    let (first, second) = (setup().start_ready().await, setup().start_ready().await);
    let mut publisher = Simulated::small("oslo");
    let of = |name: &str| -> Vec<Event> {
        let of = |event: &Event| {
            event.name == name
                && event.attributes.get("heartbeat.publisher").is_some_and(|held| held == "oslo")
        };
        events(&collector).into_iter().filter(of).collect()
    };
    let wait_for = async |name: &str, publisher: &mut Simulated, beats: bool| {
        wait_until(name, SOON, async || {
            if beats {
                bridge.send([publisher.beat()]).await;
            }
            if of(name).is_empty() { Err(format!("{:?}", events(&collector))) } else { Ok(()) }
        })
        .await;
    };
    // Heard by both, so that both know when it falls silent.
    for subscriber in [&first, &second] {
        wait_until("it is shown as up", SOON, async || {
            bridge.send([publisher.beat()]).await;
            match subscriber.metrics().await?.value("heartbeat_publisher_up", &[("publisher", "oslo")]) {
                Some(1.0) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
    wait_for("heartbeat.publisher.discovered", &mut publisher, true).await;
    wait_for("heartbeat.publisher.stale", &mut publisher, false).await;
    wait_for("heartbeat.publisher.back", &mut publisher, true).await;
    publisher = publisher.restarted();
    wait_for("heartbeat.publisher.restarted", &mut publisher, true).await;
    bridge.send([b"refused".to_vec()]).await;
    wait_until("the refusal is told", SOON, async || {
        let found = events(&collector).into_iter().find(|event| event.name == "heartbeat.message.rejected");
        found
            .filter(|event| event.attributes["heartbeat.message.reason"] == "not_json")
            .ok_or("none".to_owned())
    })
    .await;
    bridge.role("forget").arg("oslo").start().exit_code(SOON).await;
    wait_for("heartbeat.publisher.forgotten", &mut publisher, false).await;
    holds_for("nothing is told twice", Duration::from_secs(2), async || {
        for name in ["discovered", "stale", "back", "restarted", "forgotten"] {
            let told = of(&format!("heartbeat.publisher.{name}"));
            if told.len() != 1 {
                return Err(format!("{name}: {told:?}"));
            }
        }
        Ok(())
    })
    .await;
    let stale = &of("heartbeat.publisher.stale")[0];
    assert_eq!(stale.trace_id.len(), 16, "the trace of its last heartbeat: {stale:?}");
    let back = &of("heartbeat.publisher.back")[0];
    assert!(back.attributes.contains_key("heartbeat.publisher.previous_duration"), "{back:?}");
    // The program's own log came too, and nothing of its own export, nor what has a record of its own.
    let own: Vec<Event> = events(&collector).into_iter().filter(|event| event.name.is_empty()).collect();
    assert!(own.iter().any(|event| event.body == "Consuming"), "{own:?}");
    assert!(
        own.iter().all(|event| !event.body.contains("Component changed") && !event.body.contains("stale"))
    );
    assert!(own.len() < 60, "it feeds on itself: {own:?}");
}
