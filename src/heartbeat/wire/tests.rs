use std::time::Duration;

use proptest::prelude::*;

use super::*;
use opentelemetry::trace::{SpanId, TraceId};

use crate::heartbeat::*;

const MIXED: &[u8] = include_bytes!("../../../tests/fixtures/v1-mixed.json");
const MANAGEMENT_DOWN: &[u8] = include_bytes!("../../../tests/fixtures/v1-management-down.json");
const EMPTY: &[u8] = include_bytes!("../../../tests/fixtures/v1-empty.json");

fn decode_v1(body: &[u8]) -> LegacyHeartbeat {
    match decode(body, &Limits::default()) {
        Ok(Message::V1(heartbeat)) => heartbeat,
        other => panic!("not a version 1 message: {other:?}"),
    }
}

fn reason_of(body: &str) -> Rejection {
    decode(body.as_bytes(), &Limits { message_bytes: 4096, components: 3, ..Limits::default() })
        .expect_err(body)
        .reason
}

#[test]
fn captured_messages_are_taken_with_what_they_name() {
    let mixed = decode_v1(MIXED);
    assert_eq!(mixed.service.as_str(), "publisher");
    assert_eq!(&*mixed.life, "2026-11-23 16:24:45 UTC");
    // 2 hosts, 9 queues, 9 services of which four bear one name.
    assert_eq!(mixed.components.len(), 2 + 9 + 6);
    let interceptor = &ComponentKey { kind: Kind::Consumer, name: "mq-interceptor".into(), queue: "".into() };
    let merged: Vec<_> = mixed.components.iter().filter(|c| c.key == *interceptor).collect();
    assert_eq!(merged.len(), 1);
    assert_eq!(merged[0].outcome(), Outcome::Up);

    let down = decode_v1(MANAGEMENT_DOWN);
    assert_eq!(down.components.iter().filter(|c| c.outcome() == Outcome::Up).count(), 1);
    assert!(decode_v1(EMPTY).components.is_empty());
}

#[test]
fn entries_of_one_name_are_not_ok_if_any_is_not() {
    let body = r#"{"service":"publisher","timestamp":"x","hosts":[],"rmq_consumers":{"queues_status":[],
        "services_status":[{"name":"a","status":"not_ok","timestamp":"2026-11-23 16:24:49 UTC"},
                           {"name":"a","status":"ok","timestamp":"2026-11-23 16:24:50 UTC"}]}}"#;
    let message = decode_v1(body.as_bytes());
    assert_eq!(message.components.len(), 1);
    let merged = &message.components[0];
    assert_eq!(merged.outcome(), Outcome::Down);
    assert_eq!(merged.checked_at().to_legacy(), "2026-11-23 16:24:50 UTC");
    assert!(merged.ok_at > merged.not_ok_at);
}

#[test]
fn each_fault_has_its_reason() {
    assert_eq!(reason_of(""), Rejection::Empty);
    assert_eq!(reason_of(&" ".repeat(4097)), Rejection::Oversize);
    assert_eq!(reason_of("{"), Rejection::NotJson);
    assert_eq!(reason_of("hello"), Rejection::NotJson);
    assert_eq!(reason_of(&"[".repeat(4000)), Rejection::Shape);
    assert_eq!(reason_of(&format!("{{\"x\":{}", "[".repeat(4000))), Rejection::NotJson);
    assert_eq!(reason_of("[]"), Rejection::Shape);
    assert_eq!(reason_of(r#"{"status":"heartbeat","hosts":[]}"#), Rejection::Shape);
    assert_eq!(reason_of(r#"{"hosts":[],"hosts":[],"rmq_consumers":{}}"#), Rejection::Shape);
    let v1 = |hosts: &str| {
        format!(r#"{{"hosts":[{hosts}],"rmq_consumers":{{"queues_status":[],"services_status":[]}}}}"#)
    };
    let entry = |name: &str, status: &str, at: &str| {
        format!(r#"{{"name":"{name}","status":"{status}","timestamp":"{at}"}}"#)
    };
    let now = "2026-11-23 16:24:49 UTC";
    assert_eq!(reason_of(&v1(&entry("a\\nb", "ok", now))), Rejection::Name);
    assert_eq!(reason_of(&v1(&entry("a", "fine", now))), Rejection::Value);
    assert_eq!(reason_of(&v1(&entry("a", "ok", "yesterday"))), Rejection::Time);
    let four = vec![entry("a", "ok", now); 4].join(",");
    assert_eq!(reason_of(&v1(&four)), Rejection::TooManyComponents);
    // A broken version 2 part is not passed off as version 1.
    let broken = v1(&entry("a", "ok", now)).replacen('{', r#"{"v2":{"publisher":7},"#, 1);
    assert_eq!(reason_of(&broken), Rejection::Shape);
}

#[test]
fn what_a_later_version_says_is_shown_as_far_as_it_is_known() {
    let body = r#"{"hosts":[],"rmq_consumers":{"queues_status":[],"services_status":[]},"new":1,
        "v2":{"publisher":"p","epoch":"e","started_at":"2026-11-23T16:24:49Z","uptime_ms":1,"sequence":1,
        "sent_at":"2026-11-23T16:24:49Z","interval_seconds":60,"novelty":{"x":[1]},
        "components":[{"kind":"certificate","name":"c","outcome":"degraded","reason":"quantum_flux",
                       "checked_at":"2026-11-23T16:24:49Z","days":3}]}}"#;
    let Ok(Message::V2(heartbeat)) = decode(body.as_bytes(), &Limits::default()) else { panic!("refused") };
    let component = &heartbeat.components[0];
    assert_eq!(component.key.kind, Kind::Other("certificate".into()));
    assert_eq!((component.outcome, component.reason), (Outcome::Unknown, Some(Reason::Other)));
}

#[test]
fn a_sequence_that_no_publisher_reaches_is_refused() {
    let numbered = |sequence: u64| {
        let body = format!(
            r#"{{"v2":{{"publisher":"p","epoch":"e","started_at":"2026-11-23T16:24:49Z","uptime_ms":1,
            "sequence":{sequence},"sent_at":"2026-11-23T16:24:49Z","interval_seconds":60,"components":[]}}}}"#
        );
        decode(body.as_bytes(), &Limits::default())
    };
    assert!(numbered(1 << 53).is_ok());
    for sequence in [0, (1 << 53) + 1, u64::MAX] {
        assert_eq!(numbered(sequence).unwrap_err().reason, Rejection::Value, "{sequence}");
    }
}

fn timestamps() -> impl Strategy<Value = Timestamp> {
    (0i64..4_102_444_800_000).prop_map(Timestamp::from_unix_ms)
}

fn names() -> impl Strategy<Value = String> {
    "[^\\p{C}\\u{2028}\\u{2029}]{1,20}".prop_filter("valid", |name| check_name(name).is_ok())
}

fn components() -> impl Strategy<Value = Component> {
    let key = prop_oneof![
        names().prop_map(|name| ComponentKey::host(&name)),
        (names(), names()).prop_map(|(name, queue)| ComponentKey::consumer(&name, &queue)),
        names().prop_map(|name| ComponentKey::queue(&name)),
        names().prop_map(|name| ComponentKey::other("http", &name)),
    ];
    let times = prop::array::uniform5(prop::option::of(timestamps()));
    let counts = prop::array::uniform4(prop::option::of(0u64..1 << 53));
    let reason = prop::sample::select(Reason::ALL);
    (key, 0..3usize, reason, timestamps(), times, counts, prop::option::of(0f64..100.0)).prop_map(
        |(key, outcome, reason, checked_at, times, counts, duration_seconds)| {
            let outcome = [Outcome::Up, Outcome::Down, Outcome::Unknown][outcome];
            Component {
                key,
                target: None,
                outcome,
                reason: (outcome != Outcome::Up).then_some(reason),
                checked_at,
                changed_at: times[0],
                last_up_at: times[1],
                last_down_at: times[2],
                last_unknown_at: times[3],
                duration_seconds,
                checks_total: counts[0],
                failures_total: counts[1],
                figures: (counts[2].is_some() || counts[3].is_some()).then_some(QueueFigures {
                    messages: counts[2],
                    consumers: counts[3],
                    source: FigureSource::Amqp,
                }),
                certificate_not_after: times[4],
            }
        },
    )
}

fn windows() -> impl Strategy<Value = Vec<Window>> {
    let window =
        (timestamps(), 1i64..7 * 86_400_000, prop::option::of(names()), prop::collection::vec(names(), 0..3));
    let window = window.prop_map(|(begins, ms, comment, components)| {
        let components: Vec<&str> = components.iter().map(String::as_str).collect();
        Window::new((begins, begins.plus_ms(ms)), comment.as_deref(), &components).unwrap()
    });
    prop::collection::vec(window, 0..4)
}

fn heartbeats() -> impl Strategy<Value = Heartbeat> {
    let components = prop::collection::vec(components(), 0..8);
    (names(), timestamps(), 1u64..=1 << 53, 1u64..600_000, components, windows()).prop_map(
        |(publisher, at, sequence, interval_ms, mut components, maintenance)| {
            components.sort_by(|a, b| a.key.cmp(&b.key));
            components.dedup_by(|a, b| a.key == b.key);
            Heartbeat {
                publisher: PublisherId::new(&publisher).unwrap(),
                epoch: Epoch::random(),
                started_at: at,
                uptime: Duration::from_millis(interval_ms * 3),
                sequence,
                sent_at: at,
                interval: Duration::from_millis(interval_ms),
                version: "0.1.0".into(),
                totals: PublisherTotals { publish_failures: sequence, reconnects: 2, blocked_seconds: 0.5 },
                components,
                maintenance,
                trace: None,
            }
        },
    )
}

/// The same with a trace: a span for each component, of every sort.
fn traced(mut heartbeat: Heartbeat) -> Heartbeat {
    let sorts = [None, Some((Outcome::Up, None)), Some((Outcome::Down, Some(Reason::Reset)))];
    let spans = heartbeat.components.iter().enumerate().map(|(index, component)| CheckSpan {
        key: component.key.clone(),
        span: SpanId::from(index as u64 + 1),
        peer: (index % 2 == 0).then(|| format!("192.0.2.{index}:443").into()),
        found: sorts[index % sorts.len()],
    });
    let trace = HeartbeatTrace {
        trace_id: TraceId::from(0x4bf9),
        round: SpanId::from(77),
        began_at: heartbeat.started_at,
        checks: spans.collect(),
        left_out: 2,
    };
    heartbeat.trace = Some(Box::new(trace));
    heartbeat
}

const WITH_TRACE: Limits = Limits { message_bytes: 1 << 20, components: 2000, trace_bytes: TRACE_BYTES_MAX };

#[test]
fn a_trace_that_is_none_costs_the_heartbeat_nothing() {
    let checks = r#"[{"component":0,"span":"00f067aa0ba902b7"}]"#;
    let ids = r#""trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","round":"00f067aa0ba902b7""#;
    let at = r#""began_at":"2026-11-23T16:24:49Z""#;
    let read = |trace: &str, limits: &Limits| {
        let body = format!(
            r#"{{"v2":{{"publisher":"p","epoch":"e","started_at":"2026-11-23T16:24:49Z","uptime_ms":1,"sequence":1,
            "sent_at":"2026-11-23T16:24:49Z","interval_seconds":60,"trace":{trace},
            "components":[{{"kind":"host","name":"c","outcome":"up","checked_at":"2026-11-23T16:24:49Z"}}]}}}}"#
        );
        match decode(body.as_bytes(), limits) {
            Ok(Message::V2(heartbeat)) => heartbeat.trace,
            other => panic!("{trace}: {other:?}"),
        }
    };
    let good = format!("{{{ids},{at},\"checks\":{checks},\"later\":1}}");
    assert_eq!(read(&good, &WITH_TRACE).unwrap().checks.len(), 1);
    assert_eq!(read(&good, &Limits::default()), None, "nobody asked for it");
    assert_eq!(read(&good, &Limits { trace_bytes: good.len() - 1, ..WITH_TRACE }), None, "too large");
    for odd in [
        "7",
        "null",
        "{}",
        &good.replace("4bf92f3577b34da6a3ce929d0e0e4736", "00000000000000000000000000000000"),
        &good.replace("00f067aa0ba902b7", "0f067aa0ba902b7"),
        &good.replace("\"component\":0", "\"component\":1"),
        &good.replace("\"component\":0", "\"component\":-1"),
        &good.replace("2026-11-23T16:24:49Z", "yesterday"),
    ] {
        assert_eq!(read(odd, &WITH_TRACE), None, "{odd}");
    }
}

#[test]
fn a_trace_keeps_its_bound_and_what_says_most() {
    let Ok(Message::V2(mut heartbeat)) = decode(
        br#"{"v2":{"publisher":"p","epoch":"e","started_at":"2026-11-23T16:24:49Z","uptime_ms":1,"sequence":1,
        "sent_at":"2026-11-23T16:24:49Z","interval_seconds":60,
        "components":[{"kind":"host","name":"c","outcome":"up","checked_at":"2026-11-23T16:24:49Z"}]}}"#,
        &WITH_TRACE,
    ) else {
        panic!("refused")
    };
    let first = heartbeat.components.remove(0);
    for index in 0..1999 {
        let mut component = first.clone();
        component.key = ComponentKey::host(&format!("host {index:04}"));
        component.duration_seconds = Some(f64::from(index % 100));
        if index % 10 == 0 {
            (component.outcome, component.reason) = (Outcome::Down, Some(Reason::Refused));
        }
        heartbeat.components.push(component);
    }
    let heartbeat = traced(*heartbeat);
    let body = encode(&heartbeat);
    let raw: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let length = raw["v2"]["trace"].to_string().len();
    assert!((TRACE_BYTES_MAX / 2..=TRACE_BYTES_MAX).contains(&length), "{length}");
    let Ok(Message::V2(read)) = decode(&body, &WITH_TRACE) else { panic!("refused") };
    let trace = read.trace.unwrap();
    assert_eq!(trace.checks.len() as u64 + trace.left_out, 1999 + 2);
    let told = |index: usize| trace.checks.iter().any(|check| *check.key.name == format!("host {index:04}"));
    assert!((0..1999).step_by(10).all(told), "what is down is told");
    assert!(told(99) && told(1899) && !told(1), "then the slowest");
}

proptest! {
    #[test]
    fn a_trace_is_read_back_as_it_was_written(heartbeat in heartbeats()) {
        let heartbeat = traced(heartbeat);
        let read = decode(&encode(&heartbeat), &WITH_TRACE).unwrap();
        prop_assert_eq!(read, Message::V2(Box::new(heartbeat)));
    }

    #[test]
    fn a_heartbeat_is_read_back_as_it_was_written(heartbeat in heartbeats()) {
        let bytes = encode(&heartbeat);
        let read = decode(&bytes, &Limits::default());
        prop_assert_eq!(read, Ok(Message::V2(Box::new(heartbeat))));
    }

    /// The original's reader takes the entries' keys as arguments and needs every list.
    #[test]
    fn the_version_1_part_is_complete_and_exact(heartbeat in heartbeats()) {
        let value: serde_json::Value = serde_json::from_slice(&encode(&heartbeat)).unwrap();
        prop_assert_eq!(&value["status"], "heartbeat");
        prop_assert_eq!(&value["service"], "publisher");
        let lists = [&value["hosts"], &value["rmq_consumers"]["queues_status"],
                     &value["rmq_consumers"]["services_status"]];
        let mut entries = 0;
        for list in lists {
            for entry in list.as_array().unwrap() {
                let keys: Vec<&String> = entry.as_object().unwrap().keys().collect();
                prop_assert_eq!(keys, ["name", "status", "timestamp"]);
                entries += 1;
            }
        }
        // The contract knows three kinds.
        let of_contract =
            || heartbeat.components.iter().filter(|component| !matches!(component.key.kind, Kind::Other(_)));
        prop_assert_eq!(entries, of_contract().count());
        let mut stripped = value.clone();
        stripped.as_object_mut().unwrap().remove("v2");
        let v1 = decode_v1(&serde_json::to_vec(&stripped).unwrap());
        for component in of_contract() {
            let seen = v1.components.iter().find(|c| c.key.kind == component.key.kind && c.key.name == component.key.name);
            prop_assert!(seen.is_some());
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes, &Limits::default());
    }

    /// Damage to a valid message is refused or read, never a panic.
    #[test]
    fn no_damage_panics(heartbeat in heartbeats(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = encode(&heartbeat);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = decode(&bytes, &Limits::default());
    }
}

/// The parser repeats what it found, which may be all of the message; it becomes a header of a dead letter.
#[test]
fn the_detail_of_a_refusal_is_short() {
    let body = format!(r#"{{"v2": {{"publisher": "p", "sequence": "{}"}}}}"#, "ø".repeat(100_000));
    let error = decode(body.as_bytes(), &Limits::default()).unwrap_err();
    assert_eq!(error.reason, Rejection::Shape);
    assert!(error.detail.starts_with("invalid type: string") && error.detail.ends_with('…'), "{error}");
    assert!(error.detail.len() <= 512);
}
