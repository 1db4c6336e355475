//! The documented schema of the message, and what is written and read, say the same.
// Helpers of tests may end them.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use heartbeat_bridge::heartbeat::wire::{Limits, decode, encode};
use heartbeat_bridge::heartbeat::{
    CheckSpan, Component, ComponentKey, Epoch, FigureSource, Heartbeat, HeartbeatTrace, Outcome, PublisherId,
    PublisherTotals, QueueFigures, Reason, Timestamp, Window,
};
use jsonschema::Validator;
use opentelemetry::trace::{SpanId, TraceId};
use serde_json::{Value, json};

const SCHEMA: &str = include_str!("../docs/heartbeat-v2.schema.json");

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

/// For the whole message, or for the definition of a part.
fn validator(part: Option<&str>) -> Validator {
    let mut schema = schema();
    if let Some(part) = part {
        let definitions = schema["$defs"].take();
        schema =
            json!({ "$schema": schema["$schema"], "$ref": format!("#/$defs/{part}"), "$defs": definitions });
    }
    jsonschema::options().build(&schema).unwrap()
}

#[track_caller]
fn assert_valid(validator: &Validator, message: &Value) {
    let errors: Vec<String> =
        validator.iter_errors(message).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{message:#}");
}

fn component(key: ComponentKey, outcome: Outcome, reason: Option<Reason>) -> Component {
    let at = Timestamp::from_unix_ms(1_795_451_090_123);
    Component {
        key,
        target: None,
        outcome,
        reason,
        checked_at: at,
        changed_at: None,
        last_up_at: None,
        last_down_at: None,
        last_unknown_at: None,
        duration_seconds: None,
        checks_total: None,
        failures_total: None,
        figures: None,
        certificate_not_after: None,
    }
}

/// One component with everything, and one for each outcome and reason with nothing more than it must have.
fn heartbeat() -> Heartbeat {
    let at = Timestamp::from_unix_ms(1_795_451_090_000);
    let mut full = component(ComponentKey::host("db \"ø\" 😀"), Outcome::Down, Some(Reason::Refused));
    full.target = Some("db:5432".into());
    (full.changed_at, full.last_up_at) = (Some(at), Some(at));
    (full.last_down_at, full.last_unknown_at) = (Some(at), Some(at));
    (full.duration_seconds, full.checks_total, full.failures_total) = (Some(0.25), Some(42), Some(7));
    full.certificate_not_after = Some(at);
    let mut queue = component(ComponentKey::queue("inbox"), Outcome::Up, None);
    queue.figures =
        Some(QueueFigures { messages: Some(3), consumers: Some(1), source: FigureSource::Management });
    let mut components = vec![full, queue];
    for reason in Reason::ALL {
        let key = ComponentKey::consumer(&format!("listener-{reason}"), "inbox");
        components.push(component(key, Outcome::Unknown, Some(*reason)));
    }
    let span = |number: u64, peer: Option<&str>, found| CheckSpan {
        key: components[0].key.clone(),
        span: SpanId::from(number),
        peer: peer.map(Into::into),
        found,
    };
    let trace = HeartbeatTrace {
        trace_id: TraceId::from(7),
        round: SpanId::from(8),
        began_at: at,
        checks: vec![
            span(9, Some("[::1]:5432"), Some((Outcome::Down, Some(Reason::Refused)))),
            span(10, None, Some((Outcome::Up, None))),
        ],
        left_out: 1,
    };
    Heartbeat {
        publisher: PublisherId::new("oslo").unwrap(),
        epoch: Epoch::random(),
        started_at: at,
        uptime: Duration::from_millis(123),
        sequence: 1,
        sent_at: at,
        interval: Duration::from_secs(60),
        version: "0.1.0".into(),
        totals: PublisherTotals { publish_failures: 1, reconnects: 2, blocked_seconds: 0.5 },
        components,
        maintenance: windows(at),
        trace: Some(Box::new(trace)),
    }
}

/// One for the publisher, and one for a component, with what it is for.
fn windows(at: Timestamp) -> Vec<Window> {
    let night = (at, at.plus(Duration::from_secs(7200)));
    vec![
        Window::new(night, None, &[]).unwrap(),
        Window::new(night, Some("new disks"), &["database"]).unwrap(),
    ]
}

fn encoded() -> Value {
    serde_json::from_slice(&encode(&heartbeat())).unwrap()
}

#[test]
fn the_schema_is_one() {
    jsonschema::meta::validate(&schema()).unwrap();
}

#[test]
fn what_we_send_is_valid() {
    assert_valid(&validator(None), &encoded());
}

/// A field that is added to the message and not to the schema fails here.
#[test]
fn every_key_that_we_send_is_documented() {
    let (message, schema) = (encoded(), schema());
    let documented = |part: &str, object: &Value| {
        let properties = schema["$defs"][part]["properties"].as_object().unwrap();
        for key in object.as_object().unwrap().keys() {
            assert!(properties.contains_key(key), "{part}.{key} is not in the schema");
        }
    };
    documented("version2", &message["v2"]);
    for component in message["v2"]["components"].as_array().unwrap() {
        documented("component", component);
    }
    // The reverse: the two first components have every key between them, and a consumer has its queue.
    let sent = &message["v2"]["components"];
    for key in schema["$defs"]["component"]["properties"].as_object().unwrap().keys() {
        assert!((0..3).any(|index| sent[index].get(key).is_some()), "{key} is in the schema and never sent");
    }
}

#[test]
fn captured_messages_of_the_original_are_valid_as_version_1() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let version1 = validator(Some("version1"));
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("v1-") {
            assert_valid(&version1, &serde_json::from_slice(&fs::read(path).unwrap()).unwrap());
            seen += 1;
        }
    }
    assert!(seen >= 3);
}

#[test]
fn unknown_keys_are_allowed_where_the_original_takes_them() {
    let mut message = encoded();
    message["later"] = json!({ "key": 1 });
    message["v2"]["later"] = json!([1]);
    message["v2"]["components"][0]["later"] = json!(null);
    let validator = validator(None);
    assert_valid(&validator, &message);
    decode(message.to_string().as_bytes(), &Limits::default()).unwrap();
    message["hosts"][0]["later"] = json!(1);
    assert!(!validator.is_valid(&message), "the original's subscriber dies of this");
}

/// What the schema refuses, the decoder refuses.
#[test]
fn both_refuse_the_same() {
    let validator = validator(None);
    for (pointer, value) in [
        ("/v2/publisher", json!("")),
        ("/v2/publisher", json!("a\u{7}b")),
        ("/v2/epoch", json!("a b")),
        ("/v2/sequence", json!(0)),
        ("/v2/sequence", json!("1")),
        ("/v2/interval_seconds", json!(0)),
        ("/v2/interval_seconds", json!(1e9)),
        ("/v2/sent_at", json!("yesterday")),
        ("/v2/components", json!({})),
        ("/v2/components/0/kind", json!("No Word")),
        ("/v2/components/0/name", json!("x".repeat(129))),
        ("/v2/components/0/checked_at", json!("2026-11-23 16:24:49 UTC")),
        ("/v2/components/0/duration_seconds", json!(-1)),
        ("/v2/components/0/checks_total", json!(-1)),
    ] {
        let mut message = encoded();
        *message.pointer_mut(pointer).unwrap() = value;
        assert!(!validator.is_valid(&message), "the schema takes a wrong {pointer}");
        let read = decode(message.to_string().as_bytes(), &Limits::default());
        assert!(read.is_err(), "the decoder takes a wrong {pointer}");
    }
}
